"""Apache Kafka's own image, where a Docker engine answers."""

import os
import socket
from collections.abc import Mapping
from functools import cache
from typing import Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.services.kafka_jars import kafka_version
from tests.services.kafka_settings import COMMON
from tests.services.process import StartError, free_port, wait_for

START_TIMEOUT_S = 120


class KafkaContainer:
    """A broker in a container, on a host port that stays the same across restarts."""

    def __init__(self, config: Mapping[str, str] | None = None) -> None:
        self._config = dict(config or {})
        self.port = free_port()
        self.version = f"Apache Kafka {kafka_version()} (Docker)"
        self._container: Any = None

    @staticmethod
    @cache
    def engine_answers() -> bool:
        """Whether a Docker engine is there; the client alone, without an engine, does not count."""
        host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        if host.startswith("unix://") and not _listens(host.removeprefix("unix://")):
            return False  # the library would leave an open socket behind
        import docker

        try:
            client = docker.from_env(timeout=5)
            answered = bool(client.ping())
            client.close()
        except Exception:  # the library raises its own, urllib3's and OSError
            return False
        return answered

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start it, the first time or again with its data, and block until it answers.

        Raises:
            StartError: the image cannot be had, or the broker did not answer in time.
        """
        if self._container is None:
            self._container = self._new()
            self._container.start()
        else:
            self._container.get_wrapped_container().start()
        if not wait_for(self._answers, START_TIMEOUT_S, every_s=0.2):
            raise StartError(f"Kafka did not answer within {START_TIMEOUT_S} s in its container")
        return self

    def kill9(self) -> None:
        """End it at once, as a crash does; `start` brings it back with its data."""
        self._container.get_wrapped_container().kill()

    def freeze(self) -> None:
        """Stop it from running: connections stay open, nothing is answered."""
        self._container.get_wrapped_container().pause()

    def thaw(self) -> None:
        """Let it run on."""
        self._container.get_wrapped_container().unpause()

    def stop(self) -> None:
        """End it and remove the container with its data."""
        if self._container is not None:
            self._container.stop()
            self._container = None

    def _new(self) -> Any:
        from testcontainers.core.container import DockerContainer

        container = DockerContainer(f"apache/kafka:{kafka_version()}").with_bind_ports(9092, self.port)
        own = (
            COMMON
            | self._config
            | {
                "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
                "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
                "controller.quorum.voters": "1@localhost:9093",
            }
        )
        for name, value in own.items():
            container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
        return container

    def _answers(self) -> bool:
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "socket.timeout.ms": 2000})
        try:
            return bool(client.list_topics(timeout=2).brokers)
        except KafkaException:
            return False


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0
