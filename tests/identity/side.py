"""One side: a revision's worker on a Kafka and a Redis of its own, fed with the log phase by phase."""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from tests.identity.log import Erasure, Log, Record
from tests.revisions import clean_environment, compile_kernels
from tests.services import RedisServer, create_topics, find_own_kafka, free_port, read_topic
from tests.services.kafka_broker import OwnKafka
from tests.services.process import ServerProcess, wait_for

HERE: Final = Path(__file__).parent
PARTITIONS: Final = 4
TOPICS: Final = ("clicks", "decisions", "sessions", "clicks.dlq")
OUTPUTS: Final = TOPICS[1:]
GROUP: Final = "identity"
TOPIC_ID: Final = "AAAAAAAAAAAAAAAAAAAAAA"
"""Decisions name the topic that they come from: both sides' has this id."""
POLICIES: Final = ("policy_a.yaml", "policy_a.yaml", "policy_b.yaml", "policy_b.yaml")
NEW_WORKER_BEFORE: Final = 3

STARTED_S: Final = 120
DRAINED_S: Final = 300
CALM_S: Final = 3.0
"""Once all is applied, timers are done when nothing has been produced for so long: they are looked at ten times a
second."""

AT_A_MOMENT: Final = """\
import runpy, sys, time
moment = int(sys.argv.pop(1)) * 1_000_000
time.time_ns = lambda: moment
runpy.run_module("worker", run_name="__main__", alter_sys=True)
"""
"""A command at a fixed wall-clock time: an erasure belongs to a moment of the log."""


class Worker(ServerProcess):
    """``clickstage worker`` of a tree; `start` blocks until it is ready."""

    def __init__(self, name: str, directory: Path, tree: Path, flags: Sequence[str]) -> None:
        super().__init__(name, directory)
        self._port = free_port()
        self._tree = tree
        self._flags = flags

    @property
    def command(self) -> list[str]:
        unset = [part for name in os.environ if name.startswith("CLICKSTAGE_") for part in ("-u", name)]
        own = ["--metrics-host", "127.0.0.1", "--metrics-port", str(self._port)]
        worker = [sys.executable, "-m", "worker", "worker", *self._flags, *own]
        return ["env", *unset, f"PYTHONPATH={self._tree}", *worker]

    def answers(self) -> bool:
        return bool(self._page("ready"))

    def counters(self, *names: str) -> Counter[str]:
        """The series of /metrics whose names begin so, with their labels."""
        pairs = (line.rpartition(" ") for line in self._page("metrics").splitlines() if line.startswith(names))
        return Counter({series: int(float(value)) for series, _, value in pairs})

    def _page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/{path}", timeout=5) as page:
            return bytes(page.read()).decode()


class Side:
    """Runs the log once.

    Args:
        name: for folders and messages.
        tree: of the revision.
        bundle: the model.
        directory: a new folder for servers, logs and the policy file.
        say: called with what is happening.

    Attributes:
        counters: what the workers counted, by series.
        topics: every record of each topic, once `run` has returned.
        stored: the decisions in Redis at the end of each phase, by its number and the key.
    """

    COUNTED: Final = (
        "clickstage_events_total",
        "clickstage_dead_letters_total",
        "clickstage_duplicates_skipped_total",
        "clickstage_late_events_total",
        "clickstage_unknown_types_total",
    )

    def __init__(self, name: str, tree: Path, bundle: Path, directory: Path, say: Callable[[str], None]) -> None:
        self._name = name
        self._tree = tree
        self._directory = directory
        self._say = say
        self._kafka: OwnKafka
        self._store = RedisServer("valkey", directory / "store")
        self._policy = directory / "policy.yaml"
        self._bundle = bundle
        self._workers: list[Worker] = []
        self.counters: Counter[str] = Counter()
        self.topics: dict[str, list[Message]] = {}
        self.stored: dict[str, bytes] = {}

    def run(self, log: Log) -> None:
        """Run all phases and collect what came out; blocks for a minute or more.

        Raises:
            StartError, TimeoutError: with the end of the worker's log.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        compile_kernels(self._tree, self._tree)
        self._store.start()
        self._kafka = find_own_kafka(self._directory / "kafka")
        try:
            create_topics(self._kafka.bootstrap, dict.fromkeys(TOPICS, PARTITIONS), {"retention.ms": "-1"})
            self._asker = Consumer({"bootstrap.servers": self._kafka.bootstrap, "group.id": GROUP, "log_level": 0})
            self._set_policy(0)
            self._start_worker()
            for number, records in enumerate(log.phases):
                self._phase(number, records, log.erasures.get(number, []))
                # Not after the erasures: a partition that is taken anew has no time of its own until its next record,
                # so whether an end that is due just then has been written depends on the moment of the fence.
                self._note_stored(number, log.ending.get(number, frozenset()))
            self._stop_worker()
            self._collect()
        finally:
            for worker in self._workers:
                worker.kill9()
            self._kafka.stop()
            self._store.stop()

    def _phase(self, number: int, records: Sequence[Record], erasures: Sequence[Erasure]) -> None:
        for erasure in erasures:
            self._erase(erasure)
        if erasures:
            self._drain(f"{len(erasures)} erasures")
        if number and POLICIES[number] != POLICIES[number - 1]:
            self._set_policy(number)
            reloaded = 'clickstage_policy_reloads_total{outcome="ok"}'
            self._until(lambda: self._workers[-1].counters(reloaded)[reloaded] == 1, "the policy is reloaded", 30)
            self._say(f"{self._name}: policy reloaded")
        if number == NEW_WORKER_BEFORE:
            self._stop_worker()
            self._start_worker()
        self._produce(records)
        self._drain(f"phase {number}, {len(records):,} records")

    def _set_policy(self, number: int) -> None:
        new = self._policy.with_suffix(".new")
        shutil.copyfile(HERE / POLICIES[number], new)
        new.replace(self._policy)

    def _access(self) -> list[str]:
        return [
            *("--kafka", self._kafka.bootstrap, "--redis", self._store.url, "--group", GROUP),
            *("--topic-id", TOPIC_ID, "--topic", TOPICS[0]),
        ]

    def _start_worker(self) -> None:
        name = f"worker-{len(self._workers)}"
        flags = [
            *self._access(),
            *("--decisions-topic", TOPICS[1], "--sessions-topic", TOPICS[2], "--dlq-topic", TOPICS[3]),
            *("--timers", "event", "--bundle", str(self._bundle), "--policy", str(self._policy)),
            *("--stuck-after-s", str(DRAINED_S)),
        ]
        self._workers.append(Worker(name, self._directory / name, self._tree, flags))
        self._workers[-1].start(STARTED_S)
        self._say(f"{self._name}: {name} is ready")

    def _stop_worker(self) -> None:
        worker = self._workers[-1]
        self.counters += worker.counters(*self.COUNTED)
        worker.stop()

    def _produce(self, records: Sequence[Record]) -> None:
        refused: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                refused.append(error)

        producer = Producer(
            {
                "bootstrap.servers": self._kafka.bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 20,
            }
        )
        for at, key, value, headers in records:
            while True:
                try:
                    producer.produce(TOPICS[0], value, key, timestamp=at, headers=list(headers), on_delivery=delivered)
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
            producer.poll(0)
        if producer.flush(120) or refused:
            raise TimeoutError(f"Kafka did not take the log: {refused[:1]}")

    def _erase(self, erasure: Erasure) -> None:
        command = [sys.executable, "-c", AT_A_MOMENT, str(erasure.at), "erase", f"--{erasure.who}", erasure.name]
        done = subprocess.run(
            [*command, *self._access()],
            env=clean_environment(self._tree),
            cwd=self._directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{self._name}: `clickstage erase` ended with {done.returncode}:\n{done.stderr}")

    def _drain(self, what: str) -> None:
        """Wait until all is applied, every timer that is due has fired, and all outputs are in Kafka."""
        began = time.monotonic()
        ends = self._ends(TOPICS[0])
        self._until(lambda: self._applied() == ends, f"{what}: all is applied", DRAINED_S)
        seen, since = [self._ends(topic) for topic in OUTPUTS], time.monotonic()
        while time.monotonic() - since < CALM_S:
            time.sleep(0.2)
            now = [self._ends(topic) for topic in OUTPUTS]
            if now != seen:
                seen, since = now, time.monotonic()
        self._say(f"{self._name}: {what}: drained after {time.monotonic() - began:.1f} s")

    def _applied(self) -> list[int]:
        """What the group has committed: it commits what is applied and whose outputs are safe."""
        wanted = [TopicPartition(TOPICS[0], number) for number in range(PARTITIONS)]
        return [found.offset for found in self._asker.committed(wanted, timeout=20)]

    def _ends(self, topic: str) -> list[int]:
        parts = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return [self._asker.get_watermark_offsets(part, timeout=20)[1] for part in parts]

    def _until(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        if not wait_for(lambda: not self._workers[-1].running or condition(), timeout_s, 0.1):
            raise TimeoutError(f"{self._name}: not within {timeout_s} s: {what}\n{self._workers[-1].log_tail()}")
        if not self._workers[-1].running:
            raise RuntimeError(f"{self._name}: the worker ended\n{self._workers[-1].log_tail()}")

    def _collect(self) -> None:
        self._asker.close()
        self.topics = {topic: read_topic(self._kafka.bootstrap, topic, 120) for topic in TOPICS}

    def _note_stored(self, phase: int, but: Collection[str]) -> None:
        """Keep what front ends would read now, but for some sessions."""
        with self._store.client() as client:
            keys: list[bytes] = sorted(client.scan_iter("decision:*", count=1_000))
            for start in range(0, len(keys), 1_000):
                part = keys[start : start + 1_000]
                values: Any = client.mget(part)
                for key, value in zip(part, values, strict=True):
                    if (name := key.decode()).removeprefix("decision:") not in but:
                        self.stored[f"{phase} {name}"] = value or b""
