"""One test's shop: topics of its own on the run's Kafka, a store, workers as an operator starts them, shoppers."""

import json
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Self

from confluent_kafka import Producer

from featurestore.contract.partitioner import PARTITIONER
from featurestore.store.keys import Namespace, Shard, decision_key
from tests.services import ClusterServers, RedisServer, create_topics, free_port, read_topic, topic_id
from tests.services.process import ServerProcess, wait_for

ROOT: Final = Path(__file__).resolve().parents[2]
PARTITIONS: Final = 4
START_S: Final = 240
"""The first start of a tree compiles."""
PATIENCE_S: Final = 90
"""The machine may be busy; what is promised within a second is asserted on clocks, not by this."""

ENDED_MS: Final = 1_800_000


class ClickstageProcess(ServerProcess):
    """A ``clickstage`` command with a metrics port, in a process of its own; `start` blocks until it is ready."""

    verb = "worker"

    def __init__(self, name: str, directory: Path, flags: Sequence[str]) -> None:
        super().__init__(name, directory)
        self.port = free_port()
        self._flags = flags

    @property
    def command(self) -> list[str]:
        own = ["--metrics-host", "127.0.0.1", "--metrics-port", str(self.port)]
        return ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "worker", self.verb, *self._flags, *own]

    def start(self, timeout_s: float = START_S) -> Self:
        return super().start(timeout_s)

    def answers(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=5) as page:
            return bool(page.status == 200)

    def metric(self, series: str) -> float:
        """One series of /metrics, labels as written; 0.0 before its first sample."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")), 0.0)


class WorkerProcess(ClickstageProcess):
    """One ``clickstage worker``."""


class Shopfloor:
    """Topics, a store, workers.

    Args:
        bootstrap: a real Kafka.
        store: a real Redis or Valkey, or a Cluster.
        name: of the topic, the group and what belongs to them; no other test's.
        directory: for the workers' logs.
        flags: more of the worker's.
    """

    def __init__(
        self, bootstrap: str, store: RedisServer | ClusterServers, name: str, directory: Path, *flags: str
    ) -> None:
        self._bootstrap = bootstrap
        self._store = store
        self.topic = name
        self._decisions = f"{name}.decisions"
        self._sessions = f"{name}.sessions"
        self._directory = directory
        self._workers: list[WorkerProcess] = []
        topics = (name, self._decisions, self._sessions, f"{name}.dlq")
        create_topics(bootstrap, dict.fromkeys(topics, PARTITIONS))
        self.namespace = Namespace("prod", name, topic_id(bootstrap, name))
        self.flags = [
            *("--kafka", bootstrap, "--redis", store.url, "--group", name, "--topic", name),
            *("--decisions-topic", self._decisions, "--sessions-topic", self._sessions, "--dlq-topic", f"{name}.dlq"),
            # As short as the broker allows, so that a killed worker's partitions are free soon.
            *("--session-timeout-s", "6", *flags),
        ]
        # Clicks of the past must become readable together: between two of them a worker would rightly see silence.
        self._producer = Producer({"bootstrap.servers": bootstrap, "partitioner": PARTITIONER, "linger.ms": 100})
        self.client: Any = store.client()

    def worker(self, *flags: str) -> WorkerProcess:
        """One more worker, not started yet; others than the usual `flags` if any are given."""
        name = f"worker-{len(self._workers)}"
        self._workers.append(WorkerProcess(name, self._directory / name, flags or self.flags))
        return self._workers[-1]

    def send(self, events: Iterable[dict[str, Any]], *, recorded: bool = False) -> int:
        """Produce events and wait until Kafka has them; how many.

        Args:
            events: documents of the contract.
            recorded: whether a record's own timestamp is its event's ``ts``, as of a producer that stood still; else
                it is now.
        """
        n = 0
        for event in events:
            stamp = {"timestamp": event["ts"]} if recorded else {}
            self._producer.produce(self.topic, json.dumps(event), event["session_id"], **stamp)
            n += 1
        assert self._producer.flush(30) == 0
        return n

    def decision(self, session_id: str) -> dict[str, Any] | None:
        """What the front end reads."""
        document: Any = self.client.get(decision_key(session_id))
        return json.loads(document) if document else None

    def stages(self, session_ids: Sequence[str]) -> list[str | None]:
        """The stages that the front end reads, None where there is no decision."""
        documents: Any = self.client.mget([decision_key(session_id) for session_id in session_ids])
        return [json.loads(document)["stage"] if document else None for document in documents]

    def at_rest(self) -> tuple[int, int]:
        """How many sessions are stored, and how many deadlines; an entry in the list of a bucket is one."""
        shards = [Shard(number) for number in range(PARTITIONS)]
        states: list[Any] = [self.client.hlen(self.namespace.states(shard)) for shard in shards]
        deadlines: list[Any] = [self.client.zcard(self.namespace.idle(shard)) for shard in shards]
        for shard in shards:
            buckets: Any = self.client.zrange(self.namespace.ends(shard), 0, -1)
            deadlines += [self.client.llen(self.namespace.ending(shard, int(bucket))) for bucket in buckets]
        return sum(states), sum(deadlines)

    def stored(self, session: str) -> list[bytes]:
        """The stored record of a session, wherever it is."""
        found: list[Any] = [self.client.hget(self.namespace.states(Shard(n)), session) for n in range(PARTITIONS)]
        return [record for record in found if record]

    def mentions(self, text: str) -> list[str]:
        """The keys in the store that hold ``text``, in their name or their value."""
        found = []
        keys: Any = self.client.scan_iter(count=1_000)
        for key in keys:
            kind: Any = self.client.type(key)
            reader = {
                b"hash": self.client.hgetall,
                b"zset": lambda k: self.client.zrange(k, 0, -1),
                b"list": lambda k: self.client.lrange(k, 0, -1),
            }
            value = reader.get(kind, self.client.get)(key)
            if text in f"{key!r} {value!r}":
                found.append(key.decode())
        return sorted(found)

    def decisions(self) -> list[dict[str, Any]]:
        """Everything on the decisions topic, in each partition's order."""
        return [json.loads(message.value() or b"") for message in read_topic(self._bootstrap, self._decisions)]

    def summaries(self) -> list[dict[str, Any]]:
        """Everything on the sessions topic."""
        return [json.loads(message.value() or b"") for message in read_topic(self._bootstrap, self._sessions)]

    def logs(self) -> str:
        """What the workers said."""
        return "\n".join(f"--- {worker.name}\n{worker.log_tail()}" for worker in self._workers)

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait.

        Raises:
            AssertionError: it did not come; with the workers' logs.
        """
        assert wait_for(condition, timeout_s), f"not within {timeout_s} s: {what}\n{self.logs()}"

    def close(self) -> None:
        """Stop what still runs."""
        for worker in self._workers:
            worker.stop()
        self.client.close()


def now_ms() -> int:
    """Wall clock."""
    return time.time_ns() // 1_000_000


def clicks(session_id: str, last_ms: int, n: int = 5, gap_ms: int = 20_000, **fields: object) -> list[dict[str, Any]]:
    """``n`` page views at equal gaps, the last at ``last_ms``."""
    return [
        {
            "session_id": session_id,
            "type": "view_item",
            "ts": last_ms - gap_ms * back,
            "page": f"/p/{n - back}",
            **fields,
        }
        for back in range(n - 1, -1, -1)
    ]


def unique_documents(documents: Sequence[dict[str, Any]]) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Documents by identity, times of computing left out.

    Raises:
        AssertionError: two of one identity differ.
    """
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    for document in documents:
        identity = (document["source"], document["session_id"], document["seq"])
        rest = {name: value for name, value in document.items() if name not in {"decided_at", "expires_at"}}
        assert found.setdefault(identity, rest) == rest, f"two answers under {identity}"
    return found
