"""A real Apache Kafka: one node, broker and controller in one process (KRaft).

Where it comes from, in this order: the address in CLICKSTAGE_TEST_KAFKA, a Docker engine that answers,
Kafka's own jars.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.services.kafka_docker import KafkaContainer
from tests.services.kafka_jars import LOGGING, java, kafka_jars, kafka_version
from tests.services.kafka_settings import settings
from tests.services.process import ServerProcess, StartError, free_port


class Kafka(Protocol):
    """A broker that clients may use at `bootstrap`."""

    @property
    def bootstrap(self) -> str: ...

    @property
    def version(self) -> str:
        """Name, version and origin, for people."""

    def stop(self) -> None:
        """End it, if it is ours."""


class OwnKafka(Kafka, Protocol):
    """A broker of ours: it keeps its port and, except after the `stop` of a container, its data."""

    def start(self) -> Self: ...

    def kill9(self) -> None: ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...


class ExternalKafka:
    """A broker that somebody else runs; it can be used but not killed."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.version = f"Apache Kafka at {bootstrap} (CLICKSTAGE_TEST_KAFKA)"

    def stop(self) -> None:
        """Nothing: it is not ours."""


QUICK: Final = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""A JVM that starts soon and stays small."""


class KafkaBroker(ServerProcess):
    """A broker from the jars, on a port and a data folder that stay the same across restarts.

    Args:
        directory: holds the log segments, the settings and broker.log.
        config: broker settings over those of `kafka_settings.settings`.
        jvm: options of the JVM.

    Raises:
        Unavailable: no Java 17, or the jars cannot be fetched.
    """

    def __init__(self, directory: Path, config: Mapping[str, str] | None = None, *, jvm: Sequence[str] = QUICK) -> None:
        self._jars = kafka_jars()
        super().__init__("broker", directory)
        self._properties = directory / "server.properties"
        self._data = directory / "data"
        self._jvm = jvm
        self.port = free_port()
        self._controller_port = free_port()
        self._config = dict(config or {})
        self.version = f"Apache Kafka {kafka_version()} (jars by Maven)"

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def command(self) -> list[str]:
        own = settings(self.port, self._controller_port, self._data) | self._config
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in own.items()))
        if not (self._data / "meta.properties").exists():
            self._format()
        return self._java("kafka.Kafka", str(self._properties))

    def add_listener(self, name: str, port: int, advertised: int, protocol: str = "PLAINTEXT") -> None:
        """Listen at another port too, and tell who comes by it that the broker is at port ``advertised``."""
        own = settings(self.port, self._controller_port, self._data)
        more = {
            "listeners": f"{name}://127.0.0.1:{port}",
            "advertised.listeners": f"{name}://127.0.0.1:{advertised}",
            "listener.security.protocol.map": f"{name}:{protocol}",
        }
        self._config |= {key: f"{own[key]},{value}" for key, value in more.items()}

    def guard(self, port: int, advertised: int, key_and_certificate: Path | None = None) -> None:
        """Listen at another port for users with passwords (SCRAM) and rights (StandardAuthorizer).

        Who comes by the first port may do everything.

        Args:
            port: to listen at.
            advertised: where users are told that the broker is.
            key_and_certificate: PEM, for TLS; None for none.
        """
        self.add_listener("USERS", port, advertised, "SASL_SSL" if key_and_certificate else "SASL_PLAINTEXT")
        module = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        self._config |= {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.users.scram-sha-512.sasl.jaas.config": module,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
        if key_and_certificate:
            tls = {"keystore.type": "PEM", "keystore.location": str(key_and_certificate)}
            self._config |= {f"listener.name.users.ssl.{name}": value for name, value in tls.items()}

    def answers(self) -> bool:
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "socket.timeout.ms": 2000})
        try:
            return bool(client.list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def _format(self) -> None:
        # Any cluster id will do: a fixed one keeps a client's cached one valid across test runs.
        command = self._java(
            "kafka.tools.StorageTool", "format", "-t", "Q2xpY2tzdGFnZVRlc3RzMQ", "-c", str(self._properties)
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StartError(f"formatting Kafka's storage failed:\n{done.stdout}{done.stderr}")

    def _java(self, main: str, *arguments: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={LOGGING}"
        return [java(), *self._jvm, logging, "-cp", f"{self._jars}/*", main, *arguments]


def find_kafka(directory: Path) -> Kafka:
    """The first Kafka that can be had, started if it is ours; the caller stops it.

    Raises:
        Unavailable: neither an address, nor a Docker engine, nor Java with Maven.
        StartError: it should have started but did not.
    """
    if address := os.environ.get("CLICKSTAGE_TEST_KAFKA"):
        return ExternalKafka(address)
    return find_own_kafka(directory)


def find_own_kafka(directory: Path, config: Mapping[str, str] | None = None) -> OwnKafka:
    """A new Kafka that may be killed, started; the caller stops it.

    Raises:
        Unavailable: neither a Docker engine nor Java with Maven.
        StartError: it should have started but did not.
    """
    own = KafkaContainer(config) if KafkaContainer.engine_answers() else KafkaBroker(directory, config)
    return own.start()
