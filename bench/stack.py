"""Real Kafka, Redis and a worker for a benchmark, each a process of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self
from urllib.request import urlopen

from confluent_kafka import Producer

from bench.processes import give_way
from featurestore.store.keys import Namespace, Shard
from models.simulator.simulator import SimEvent
from tests.services import KafkaBroker, RedisServer, create_topics, free_port, topic_id

REPOSITORY: Final = Path(__file__).parent.parent
ENV: Final = "bench"
READY_S: Final = 120
SERVING: Final = (
    *("-Xms2g", "-Xmx2g", "-Xmn1200m", "-XX:+AlwaysPreTouch", "-XX:+UseTransparentHugePages"),
    "-XX:+UseParallelGC",
)
"""The broker's JVM: memory at hand from the start, and so much for the young that a collection is a rare event;
none that works beside the application, on two cores (decision 0023)."""
REDIS_CONF: Final = REPOSITORY / "deploy" / "redis" / "redis.conf"


def deployed() -> dict[str, str]:
    """The directives of the configuration that ships, but for the addresses and the limit of memory."""
    lines = (line.split(maxsplit=1) for line in REDIS_CONF.read_text(encoding="utf-8").splitlines() if line[:1] != "#")
    given = {name: value.strip('"') for name, value in filter(None, lines)}
    return {name: value for name, value in given.items() if name not in {"bind", "protected-mode", "maxmemory"}}


class Stack:
    """Servers, started when first asked for, stopped at the end.

    Args:
        flavour: "redis" or "valkey".
    """

    def __init__(self, flavour: str = "redis") -> None:
        self._flavour = flavour
        self._folder = tempfile.TemporaryDirectory(prefix="clickstage-bench-")
        self.directory = Path(self._folder.name)
        self._kafka: KafkaBroker | None = None
        self._stores: dict[str, RedisServer] = {}
        self._filled: dict[tuple[str, int, int], Topics] = {}
        self._groups = 0

    @property
    def kafka(self) -> KafkaBroker:
        """The broker, as it would be run in earnest: its speed and its pauses are part of the figure."""
        if self._kafka is None:
            self._kafka = KafkaBroker(
                self.directory / "kafka", {"log.retention.check.interval.ms": "300000"}, jvm=SERVING
            ).start()
            give_way(self._kafka.pid)
        return self._kafka

    @property
    def redis(self) -> RedisServer:
        """The store of this run, configured as a deployment's."""
        return self.store(self._flavour)

    def store(self, flavour: str) -> RedisServer:
        """A store of this flavour."""
        if flavour not in self._stores:
            self._stores[flavour] = RedisServer(flavour, self.directory / flavour, deployed()).start()
        return self._stores[flavour]

    def group(self) -> str:
        """A name that no worker has used: a worker of this group starts at the beginning, with no state."""
        self._groups += 1
        return f"group-{self._groups}"

    def topics(self, partitions: int) -> "Topics":
        """New, empty topics."""
        self._groups += 1
        names = Topics(f"clicks-{self._groups}", f"out-{self._groups}", partitions)
        counts = {names.clicks: partitions, **dict.fromkeys(names.others, partitions)}
        create_topics(self.kafka.bootstrap, counts, {"retention.ms": "-1", "segment.bytes": str(1 << 28)})
        return names

    def filled(self, name: str, events: Sequence[SimEvent], partitions: int) -> "Topics":
        """Topics with these events; the same ones for the same name, length and partitions."""
        key = (name, len(events), partitions)
        if key not in self._filled:
            topics = self.topics(partitions)
            produce(self.kafka.bootstrap, topics.clicks, events)
            self._filled[key] = topics
        return self._filled[key]

    def renew(self) -> None:
        """Start the store of this run anew: what a million sessions leave behind in its allocator makes it slower."""
        if self._flavour in self._stores:
            self._stores.pop(self._flavour).kill9()
            shutil.rmtree(self.directory / self._flavour)

    def flush(self, flavour: str | None = None) -> Any:
        """A client of the emptied store."""
        client = self.store(flavour or self._flavour).client()
        client.flushall()
        return client

    def close(self) -> None:
        """Stop what was started and remove its data."""
        for store in self._stores.values():
            store.kill9()
        if self._kafka is not None:
            self._kafka.kill9()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Topics:
    """Names of the topics of one benchmark."""

    def __init__(self, clicks: str, prefix: str, partitions: int) -> None:
        self.clicks = clicks
        self.decisions = f"{prefix}.decisions"
        self.sessions = f"{prefix}.sessions"
        self.dlq = f"{prefix}.dlq"
        self.partitions = partitions

    @property
    def others(self) -> tuple[str, str, str]:
        """What the worker writes."""
        return self.decisions, self.sessions, self.dlq


class WorkerProcess:
    """``clickstage worker`` on a stack.

    Args:
        stack: where.
        topics: which.
        group: consumer group.
        options: more flags, such as ``{"batch-max": 1000}``.
        flavour: which store.
        wrapper: put before the interpreter's arguments (profilers).
        tree: the checkout whose worker runs (`bench.turns`).
    """

    def __init__(
        self,
        stack: Stack,
        topics: Topics,
        group: str,
        options: Mapping[str, object] | None = None,
        flavour: str | None = None,
        wrapper: Sequence[str] = ("-m", "worker"),
        tree: Path = REPOSITORY,
    ) -> None:
        self.port = free_port()
        self.store = stack.store(flavour) if flavour else stack.redis
        self.log = stack.directory / f"worker-{group}.log"
        flags = {
            "kafka": stack.kafka.bootstrap,
            "redis": self.store.url,
            "redis-timeout-s": 30,
            "env": ENV,
            "group": group,
            "topic": topics.clicks,
            "decisions-topic": topics.decisions,
            "sessions-topic": topics.sessions,
            "dlq-topic": topics.dlq,
            "metrics-port": self.port,
            "metrics-host": "127.0.0.1",
            **(options or {}),
        }
        arguments = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        self.topic_id = topic_id(stack.kafka.bootstrap, topics.clicks)
        self.namespace = Namespace(ENV, group, self.topic_id)
        self.shards = [Shard(partition) for partition in range(topics.partitions)]
        self._client = self.store.client()
        disown(self._client)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *wrapper, "worker", *arguments],
                cwd=tree,
                env=os.environ | {"PYTHONPATH": str(tree)},
                stdout=log,
                stderr=log,
            )
        self.pid = self._process.pid

    def applied(self) -> list[int]:
        """Offsets applied so far, per partition; -1 for none. The decisions up to there are readable."""
        pipe = self._client.pipeline(transaction=False)
        for shard in self.shards:
            pipe.hget(self.namespace.meta(shard), "applied")
        return [-1 if value is None else int(value) for value in pipe.execute()]

    def count(self) -> int:
        """How many records are applied, of partitions that begin at offset 0."""
        return sum(self.applied()) + len(self.shards)

    def check(self) -> None:
        """Stop the benchmark when the worker has stopped."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the worker ended with {self._process.returncode}:\n{self.tail()}")

    def wait_ready(self) -> None:
        """Block until /ready says so."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            self.check()
            with suppress(OSError), urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=2) as answer:
                if answer.status == 200:
                    return
            time.sleep(0.05)
        raise TimeoutError(f"not ready within {READY_S} s:\n{self.tail()}")

    def metrics(self) -> dict[str, float]:
        """Every series of /metrics, by its name with labels."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (x.rpartition(" ") for x in lines if x[:1] != "#")}

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def disown(client: Any) -> None:
    """Forget which deployment owns the decisions: every benchmark is one of its own, after another on one Redis."""
    for key in client.scan_iter("cs:owner:*", count=10_000):
        client.delete(key)


def produce(bootstrap: str, topic: str, events: Iterable[SimEvent]) -> None:
    """Put events in a topic as a web tier does (murmur2, lz4), each at its own time; block until they are there."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.messages": 500_000,
        }
    )
    for key, value, at in events:
        while True:
            try:
                producer.produce(topic, value, key, timestamp=at)  # produce_batch takes no timestamps
                break
            except BufferError:
                producer.poll(0.05)
    if producer.flush(120):
        raise TimeoutError("Kafka did not take the events")
