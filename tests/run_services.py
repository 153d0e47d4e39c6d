"""The servers of one test run: started when first asked for, shared by its tests, named at its end."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from tests.revisions import REPOSITORY, compile_kernels
from tests.services import (
    ClusterServers,
    KafkaBroker,
    PrometheusServer,
    RedisServer,
    Unavailable,
    find_kafka,
    find_own_kafka,
    promtool,
)
from tests.services.chromium import Chromium
from tests.services.kafka_broker import Kafka, OwnKafka
from tests.services.node import Node

T = TypeVar("T")


class RunServices:
    """Starts the run's servers; skips the test where one cannot be had, or fails it where that is required.

    Attributes:
        used: name and version of every server that served a test.
        required: services of which CLICKSTAGE_REQUIRE forbids the absence.
    """

    def __init__(self, required: str | None = None) -> None:
        names = os.environ.get("CLICKSTAGE_REQUIRE", "") if required is None else required
        self.required = frozenset(name.strip() for name in names.split(",") if name.strip())
        self.used: set[str] = set()
        self._kafka: Kafka | None = None
        self._redis: dict[str, RedisServer] = {}
        self._clusters: dict[str, ClusterServers] = {}
        self._missing: dict[str, str] = {}
        self._compiled = False

    def kafka(self, folder: Callable[[], Path]) -> Kafka:
        """The run's Kafka; `folder` makes its place when it has to start."""
        self._compile()
        if self._kafka is None:
            self._kafka = self._or_skip("kafka", lambda: find_kafka(folder()))
            self.used.add(self._kafka.version)
        return self._kafka

    def _compile(self) -> None:
        """Once a run: a worker that has to compile beside other tests would not be ready in its two minutes."""
        if not self._compiled:
            self._compiled = True
            compile_kernels(REPOSITORY, REPOSITORY)

    def redis(self, flavour: str, folder: Callable[[], Path]) -> RedisServer:
        """The run's Redis or Valkey; `folder` makes its place when it has to start."""
        if flavour not in self._redis:
            self._redis[flavour] = self.own_redis(flavour, folder(), {})
        return self._redis[flavour]

    def cluster(self, flavour: str, folder: Callable[[], Path]) -> ClusterServers:
        """The run's Cluster of Redis or Valkey; who breaks it mends it (`ClusterServers.healthy`)."""
        if flavour not in self._clusters:
            servers = self._or_skip(flavour, lambda: ClusterServers(flavour, folder()).start())
            self._clusters[flavour] = servers
            self.used.add(servers.version)
        return self._clusters[flavour]

    def own_kafka(self, folder: Path, config: Mapping[str, str]) -> OwnKafka:
        """A new Kafka that the test may kill, started; the caller stops it."""
        self._compile()
        kafka = self._or_skip("kafka", lambda: find_own_kafka(folder, config))
        self.used.add(kafka.version)
        return kafka

    def proxied_kafka(self, folder: Path, advertised: int, behind: int) -> KafkaBroker:
        """A broker of ours with a second listener at ``behind`` that advertises another port: a proxy's."""

        def start() -> KafkaBroker:
            broker = KafkaBroker(folder)
            broker.add_listener("PROXIED", behind, advertised)
            return broker.start()

        return self._or_skip("kafka", start)

    def guarded_kafka(
        self, folder: Path, listener: int, advertised: int, key_and_certificate: Path | None = None
    ) -> KafkaBroker:
        """A broker of ours with a second listener for users with passwords and rights; see `KafkaBroker.guard`."""

        def start() -> KafkaBroker:
            broker = KafkaBroker(folder)
            broker.guard(listener, advertised, key_and_certificate)
            return broker.start()

        return self._or_skip("kafka", start)

    def own_redis(self, flavour: str, folder: Path, config: Mapping[str, str]) -> RedisServer:
        """A new Redis or Valkey that the test may kill, started; the caller stops it."""
        server = self._or_skip(flavour, lambda: RedisServer(flavour, folder, config).start())
        self.used.add(server.version)
        return server

    def own_prometheus(self, folder: Path, targets: list[str], rule_files: list[Path]) -> PrometheusServer:
        """A new Prometheus, started; the caller stops it."""
        server = self._or_skip("prometheus", lambda: PrometheusServer(folder, targets, rule_files).start())
        self.used.add(server.version)
        return server

    def promtool(self) -> str:
        """The path of promtool."""
        return self._or_skip("prometheus", promtool)

    def node(self) -> Node:
        """Node.js with the tracker's tools."""
        node = self._or_skip("node", Node.find)
        self.used.add(node.version)
        return node

    def chromium(self) -> Chromium:
        """Chromium and its driver."""
        chromium = self._or_skip("browser", Chromium.find)
        self.used.add(chromium.version)
        return chromium

    def stop(self) -> None:
        """Stop what the tests shared."""
        for server in self._redis.values():
            server.stop()
        for cluster in self._clusters.values():
            cluster.stop()
        if self._kafka is not None:
            self._kafka.stop()

    def _or_skip(self, service: str, start: Callable[[], T]) -> T:
        if service not in self._missing:
            try:
                return start()
            except Unavailable as reason:
                self._missing[service] = str(reason)  # asked for once: a slow "no" must not repeat for every test
        because = f"no {service.capitalize()} here: {self._missing[service]}"
        if service in self.required:
            pytest.fail(f"{because}; CLICKSTAGE_REQUIRE demands it", pytrace=False)
        pytest.skip(because)
