"""Fixtures around `tests.services`: servers start when the first test asks for them, and the summary names them.

CLICKSTAGE_REQUIRE=kafka,redis,valkey,prometheus,node,browser turns the absence of those into failures; without it such
tests skip.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pytest
import redis
from hypothesis import settings

from tests.examples import examples
from tests.run_services import RunServices
from tests.services import FLAVOURS, PrometheusServer, RedisServer
from tests.services.kafka_broker import Kafka, OwnKafka
from tests.services.node import Node

# The first call of a compiled function may compile it, and the machine may be busy: time is no failure.
settings.register_profile("patient", deadline=None, max_examples=examples(25))
settings.load_profile("patient")

RUN = pytest.StashKey[RunServices]()

MARK_OF_FIXTURE = {
    "kafka": "kafka",
    "own_kafka": "kafka",
    "own_prometheus": "prometheus",
    "promtool": "prometheus",
    "flavour": "redis",
    "node": "node",
    "chromium": "browser",
    "own_redis": "redis",
}


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RUN] = RunServices()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[RUN].stop()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes tells the first which servers it used."""
    told: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["services"] = sorted(session.config.stash[RUN].used)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process has ended: its servers served this run; one that crashed has told nothing."""
    node.config.stash[RUN].used.update(getattr(node, "workeroutput", {}).get("services", ()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for a server, so that `-m "not kafka"` needs no marks by hand."""
    for item in items:
        for mark in {MARK_OF_FIXTURE[name] for name in getattr(item, "fixturenames", ()) if name in MARK_OF_FIXTURE}:
            item.add_marker(mark)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which real servers served the tests, and what did not run for which reason."""
    used = sorted(config.stash[RUN].used)
    terminalreporter.section("services")
    terminalreporter.write_line(f"tested on: {', '.join(used) if used else 'no server; only pure code ran'}")
    skipped: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        skipped[reason.removeprefix("Skipped: ")][report.nodeid.split("[")[0]] += 1
    for reason, tests in sorted(skipped.items()):
        terminalreporter.write_line(f"skipped, {reason}:")
        for test, times in sorted(tests.items()):
            terminalreporter.write_line(f"  {test}" + (f" ({times} times)" if times > 1 else ""))
    if not skipped:
        terminalreporter.write_line("skipped: nothing")


@pytest.fixture(scope="session")
def services(request: pytest.FixtureRequest) -> RunServices:
    """The servers of this run."""
    return request.config.stash[RUN]


@pytest.fixture
def unique() -> str:
    """A short name that no other test has, for topics, groups and key prefixes on shared servers."""
    return f"t{uuid4().hex[:10]}"


@pytest.fixture(scope="session")
def kafka(services: RunServices, tmp_path_factory: pytest.TempPathFactory) -> Kafka:
    """The run's real Kafka, shared: use topic and group names of your own (`unique`), and do not kill it."""
    return services.kafka(lambda: tmp_path_factory.mktemp("kafka"))


@pytest.fixture(scope="session")
def node(services: RunServices) -> Node:
    """Node.js with the tracker's tools."""
    return services.node()


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    """First "redis", then "valkey"."""
    return str(request.param)


@pytest.fixture
def redis_server(services: RunServices, tmp_path_factory: pytest.TempPathFactory, flavour: str) -> RedisServer:
    """The run's Redis, then its Valkey, emptied for this test; do not kill it."""
    server = services.redis(flavour, lambda: tmp_path_factory.mktemp(flavour))
    with server.client() as client:
        client.flushall()
        client.script_flush()
    return server


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator["redis.Redis"]:
    """A client of `redis_server`; it answers bytes."""
    with redis_server.client() as client:
        yield client


class StartRedis(Protocol):
    """`own_redis("valkey", {"appendonly": "no"})`: a server that the test may kill, freeze or fill."""

    def __call__(self, flavour: str, config: Mapping[str, str] = ...) -> RedisServer: ...


@pytest.fixture
def own_redis(services: RunServices, tmp_path: Path) -> Iterator[StartRedis]:
    """Starts servers that belong to this test alone."""
    started: list[RedisServer] = []

    def start(flavour: str, config: Mapping[str, str] | None = None) -> RedisServer:
        started.append(services.own_redis(flavour, tmp_path / f"{flavour}-{len(started)}", config or {}))
        return started[-1]

    yield start
    for server in started:
        server.stop()


class StartKafka(Protocol):
    """`own_kafka({"log.retention.ms": "1000"})`: a broker that the test may kill."""

    def __call__(self, config: Mapping[str, str] = ...) -> OwnKafka: ...


@pytest.fixture
def own_kafka(services: RunServices, tmp_path: Path) -> Iterator[StartKafka]:
    """Starts brokers that belong to this test alone; 3 seconds each."""
    started: list[OwnKafka] = []

    def start(config: Mapping[str, str] | None = None) -> OwnKafka:
        started.append(services.own_kafka(tmp_path / f"kafka-{len(started)}", config or {}))
        return started[-1]

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture
def own_prometheus(
    services: RunServices, tmp_path: Path
) -> Iterator[Callable[[list[str], list[Path]], PrometheusServer]]:
    """Starts a Prometheus that scrapes "host:port" targets and evaluates rule files."""
    started: list[PrometheusServer] = []

    def start(targets: list[str], rule_files: list[Path]) -> PrometheusServer:
        started.append(services.own_prometheus(tmp_path / f"prometheus-{len(started)}", targets, rule_files))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def promtool(services: RunServices) -> str:
    """The path of a real promtool."""
    return services.promtool()
