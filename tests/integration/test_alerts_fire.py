"""Alerts of a fleet that gets nowhere, in a real Prometheus: each fires while its fault lasts, and ends with it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import StartRedis
from tests.faults.kafka_proxy import COORDINATOR, KafkaProxy
from tests.integration.fleet import Page, WorkerProcess, start_prometheus, until
from tests.integration.shopfloor import Shopfloor, clicks, now_ms
from tests.run_services import RunServices
from tests.services import KafkaBroker, PrometheusServer, RedisServer, free_port

FIRES_WITHIN_S = 60
"""Session timeout, half a minute of silence at most, and the alert's own wait."""

Alerts = Callable[[], set[str]]


@dataclass
class Servers:
    """What the workers run on."""

    broker: KafkaBroker
    proxy: KafkaProxy
    redis: RedisServer
    floor: Shopfloor


@pytest.fixture
def servers(services: RunServices, own_redis: StartRedis, unique: str, tmp_path: Path) -> Iterator[Servers]:
    """Kafka behind a proxy, which workers go through, and a Redis: both may be frozen, they are this test's alone."""
    proxy = KafkaProxy()
    broker = services.proxied_kafka(tmp_path / "kafka", proxy.port, behind := free_port())
    proxy.target = behind
    store = own_redis("valkey")
    floor = Shopfloor(broker.bootstrap, store, unique, tmp_path, "--kafka", f"127.0.0.1:{proxy.port}")
    yield Servers(broker, proxy, store, floor)
    floor.close()
    broker.stop()
    proxy.close()


@pytest.fixture
def workers(servers: Servers, tmp_path: Path) -> Iterator[list[WorkerProcess]]:
    """Two that are not started yet."""
    made = [WorkerProcess(f"fleet-{n}", tmp_path / f"fleet-{n}", servers.floor.flags) for n in range(2)]
    yield made
    for worker in made:
        worker.stop()


@pytest.fixture
def alerts(workers: list[WorkerProcess], tmp_path: Path) -> Iterator[Alerts]:
    """The names of those that fire."""
    page = Page(tmp_path / "truth.prom")
    prometheus: PrometheusServer = start_prometheus(tmp_path / "prometheus", [w.target for w in workers], page.target)
    yield lambda: {a["labels"]["alertname"] for a in prometheus.alerts() if a["state"] == "firing"}
    prometheus.stop()
    page.close()


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_fleet_that_gets_nowhere_is_paged(servers: Servers, workers: list[WorkerProcess], alerts: Alerts) -> None:
    """A frozen broker: nobody owns partitions. A frozen store: events wait. A coordinator that is silent: no lag."""
    floor = servers.floor
    for worker in workers:
        worker.start(120)
    until(lambda: all(worker.metrics()["ready"] for worker in workers), 60, "two workers that are ready")
    floor.send(clicks("early", now_ms()))
    floor.until(lambda: floor.decision("early") is not None, "clicks are decided")

    def fires(*names: str) -> None:
        until(lambda: set(names) <= alerts(), FIRES_WITHIN_S, f"{names}, {alerts()} fire")

    def ends() -> None:
        until(lambda: not alerts() & {*broker_frozen, *store_frozen, *silent}, FIRES_WITHIN_S, f"{alerts()} to end")

    broker_frozen = ("ClickstageNotReady", "ClickstagePartitionsUnowned")
    store_frozen = ("ClickstageNotReady", "ClickstageStalled")
    silent = ("ClickstageNotReady", "ClickstagePartitionsUnowned", "ClickstageLagUnknown")
    ends()
    servers.broker.freeze()
    fires(*broker_frozen)
    servers.broker.thaw()
    ends()
    servers.redis.freeze()
    floor.send(click for n in range(50) for click in clicks(f"waits-{n}", now_ms()))
    fires(*store_frozen)
    servers.redis.thaw()
    ends()
    floor.until(lambda: all(floor.stages([f"waits-{n}" for n in range(50)])), "clicks that waited are decided")
    for worker in workers:
        worker.stop()
    servers.proxy.silent = COORDINATOR
    for worker in workers:
        worker.start(120)
    fires(*silent)
    servers.proxy.silent = frozenset()
    ends()
