"""One fault's test bench: topics of its own, a Redis, traffic, workers, and the judgement at the end."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import redis
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from featurestore.columns.hashing import hash_text
from featurestore.session.codec import unpack
from featurestore.session.state import LIVE
from featurestore.store.cluster.cluster_connection import AWAY
from featurestore.store.keys import Namespace, Shard, decision_key
from tests.faults.ledger import Row
from tests.faults.pairs import pairs
from tests.faults.patches import FOLD
from tests.faults.traffic import Traffic
from tests.faults.worker_process import Worker
from tests.faults.zygote import Zygote
from tests.services import ClusterServers, RedisServer, create_topics, read_topic, topic_id
from tests.services.process import wait_for
from worker.checks.recompute import Difference, Expected, Identity, compare, engine_for, expect, records_of

PARTITIONS: Final = 4
BROKERS_TIME: Final = "LogAppendTime"
"""A record's time is when the broker got it. Workers cannot see a click before, so they and the recompute agree.

With the senders' time they agree only while every record comes within `timers.GRACE_MS`: not on a busy machine.
"""

SENDERS_TIME: Final = "CreateTime"
"""For tests that give records times of their own."""
FAR_MS: Final = 2**52
SHORT: Final = [["short_sessions"]]

Documents = Mapping[Identity, dict[str, Any]]
Reading = Callable[[str, Documents, list[bytes]], list[bytes]]
"""From the name of a rig's topic, what it should hold and what it holds to the documents to compare."""


def whole(_topic: str, _expected: Documents, found: list[bytes]) -> list[bytes]:
    """Every field of every document counts."""
    return found


class Rig:
    """Everything of one test; `judge` says whether it came out right.

    Args:
        name: of the fault, for the table.
        seed: of everything random in it.
        unique: part of every name, so that tests can share a broker.
        bootstrap: Kafka.
        server: Redis or Valkey.
        zygote: starts workers.
        bundle: the model.
        policy: the policy file.
        folder: for logs.
        record_time: of clicks, `BROKERS_TIME` or `SENDERS_TIME`.
    """

    def __init__(
        self,
        name: str,
        seed: int,
        unique: str,
        bootstrap: str,
        server: RedisServer,
        zygote: Zygote,
        bundle: Path,
        policy: Path,
        folder: Path,
        record_time: str = BROKERS_TIME,
    ) -> None:
        self.name, self.seed, self.unique = name, seed, unique
        self.bootstrap, self.server = bootstrap, server
        self.bundle, self.policy, self._zygote, self._folder = bundle, policy, zygote, folder
        self.redis_url = server.url
        self.partitions = PARTITIONS
        self.injected = 0
        self.recovery_s = 0.0
        self.workers: list[Worker] = []
        self.traffic: Traffic | None = None
        self.cluster: ClusterServers | None = None
        self._reader: redis.RedisCluster | None = None
        self.environment: dict[str, str] = {}
        self.meanwhile: Callable[[], None] = lambda: None  # done time and again in every wait
        self.gone: list[Message] = []  # records that were applied before they went from the log
        self.topics = {
            "topic": f"{unique}.clicks",
            "decisions_topic": f"{unique}.decisions",
            "sessions_topic": f"{unique}.sessions",
            "dlq_topic": f"{unique}.dlq",
        }
        self._record_time = record_time
        outputs = [topic for name, topic in self.topics.items() if name != "topic"]
        create_topics(bootstrap, dict.fromkeys(outputs, PARTITIONS))
        self.create_clicks()
        self.use_topic()
        self._asker = self._new_asker()

    def _new_asker(self) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"{self.unique}-asker",
                "topic.metadata.refresh.interval.ms": 500,
                "log_level": 0,
            }
        )

    def use_cluster(self, cluster: ClusterServers, buckets: int) -> None:
        """Go to a Cluster instead of the one server."""
        self.cluster = cluster
        self.redis_url = cluster.url
        self.environment["buckets"] = str(buckets)

    def create_clicks(self) -> None:
        """Create the clicks topic, or a new one of that name."""
        config = {"message.timestamp.type": self._record_time}
        create_topics(self.bootstrap, {self.topics["topic"]: PARTITIONS}, config)

    def use_topic(self) -> None:
        """Look up the id of the clicks topic as it is now."""
        self.topic_id = topic_id(self.bootstrap, self.topics["topic"])
        self.namespace = Namespace("test", self.unique, self.topic_id)

    def refuse(self, topic: str, *, yes: bool) -> None:
        """Let the broker refuse the records for one of the rig's topics: no record is small enough for it."""
        self.limit(topic, 1 if yes else 4_000_000)

    def limit(self, topic: str, size: int) -> None:
        """Let one of the rig's topics take batches up to so many bytes."""
        entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, self.topics[topic], incremental_configs=[entry])
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for done in admin.incremental_alter_configs([resource]).values():
            done.result(20)
        time.sleep(0.5)  # the controller has it; the broker learns of it in a moment

    # -- workers and traffic -----------------------------------------------------------------------

    def start(self, *, patches: list[list[Any]] | None = None, ready: bool = True, **settings: object) -> Worker:
        """Start a worker; settings are those of `worker.settings`."""
        environment = self.settings(**settings)
        log = self._folder / f"worker-{len(self.workers)}.log"
        pid = self._zygote.fork(environment, log, [*SHORT, *(patches or [])])
        worker = Worker(self._zygote, pid, log)
        self.workers.append(worker)
        if ready and not wait_for(lambda: "worker started" in worker.log or worker.status is not None, 30):
            raise TimeoutError(f"the worker did not start:\n{worker.tail()}")
        return worker

    def settings(self, **settings: object) -> dict[str, str]:
        """The environment of a command."""
        values = {
            "kafka": self.bootstrap,
            "redis": self.redis_url,
            "group": self.unique,
            "env": "test",
            "bundle": self.bundle,
            "policy": self.policy,
            "metrics_port": 0,
            "metrics_host": "127.0.0.1",
            "session_timeout_s": 3,
            "max_poll_interval_s": 10,
            "redis_timeout_s": 0.5,
            "latency_target_ms": 60,
            **self.topics,
            **self.environment,
            **settings,
        }
        return {f"CLICKSTAGE_{name.upper()}": str(value) for name, value in values.items()}

    def command(self, *arguments: str) -> str:
        """Run a `clickstage` command on this rig's servers; what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            env=os.environ | self.settings(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def shards(self, number: int) -> list[Shard]:
        """The shards of a partition."""
        return [Shard(number, bucket) for bucket in range(int(self.environment.get("buckets", 1)))]

    @contextmanager
    def client(self) -> Iterator[Any]:
        """A client of Redis that gives up soon; of a Cluster always the same, since it has much to ask at first."""
        if self.cluster is None:
            with self.server.client(socket_timeout=2, retry=None) as client:
                yield client
            return
        if self._reader is None:
            self._reader = self.cluster.client()
        yield self._reader

    def stored(self, session: str) -> bool:
        """Whether Redis holds a live state or a decision of a session."""
        with self.client() as client:
            return session in self._live(client) or bool(client.exists(decision_key(session)))

    def _live(self, client: Any) -> set[str]:
        """The sessions with a live state. A note that one withdrew its consent stays for a day, and is none."""
        keys = [self.namespace.states(s) for number in range(self.partitions) for s in self.shards(number)]
        found = {name.decode(): blob for key in keys for name, blob in client.hgetall(key).items()}
        states = unpack(list(found.values()), [hash_text(name) for name in found]).states
        return {name for name, flags in zip(found, states["flags"].tolist(), strict=True) if flags & LIVE}

    def send(self, **options: Any) -> Traffic:
        """Start the traffic."""
        self.traffic = Traffic(
            self.bootstrap, self.topics["topic"], self.seed, f"s-{self.unique}-{self.seed}", **options
        )
        return self.traffic.start()

    # -- waiting -----------------------------------------------------------------------------------

    def ends(self) -> dict[int, int]:
        """The end of each partition of the clicks topic."""
        ends = {}
        for number in range(self.partitions):
            tp = TopicPartition(self.topics["topic"], number)
            for attempt in range(50):
                try:
                    ends[number] = self._asker.get_watermark_offsets(tp, timeout=5)[1]
                    break
                except KafkaException:  # a broker that has just come back elects its leaders first
                    if attempt == 49:
                        raise
                    self._asker = self._new_asker()  # one was seen to connect no more after its broker was frozen
                    time.sleep(0.2)
        return ends

    def applied(self) -> dict[int, int]:
        """One past the applied offset of each partition, of its last shard; 0 where Redis cannot say."""
        try:
            with self.client() as client:
                return {
                    number: min(
                        int(client.hget(self.namespace.meta(shard), "applied") or -1) + 1
                        for shard in self.shards(number)
                    )
                    for number in range(self.partitions)
                }
        except AWAY:
            return dict.fromkeys(range(self.partitions), 0)

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 45) -> None:
        """Wait, and show the workers' logs if it takes too long."""

        def met() -> bool:
            self.meanwhile()
            return condition()

        if not wait_for(met, timeout_s, 0.1):
            tails = "\n".join(f"-- worker {w.pid} status {w.status}\n{w.tail(25)}" for w in self.workers)
            raise TimeoutError(
                f"{self.name} seed {self.seed}: not within {timeout_s} s: {what}; applied {self.applied()} of "
                f"{self.ends()}\n{tails}"
            )

    def serving(self) -> None:
        """Wait until every partition's events are applied as they come."""
        self.until(lambda: all(self.ends().values()), "every partition has events")
        self.caught_up("the workers serve every partition")

    def caught_up(self, what: str = "all is applied", timeout_s: float = 45) -> float:
        """Wait until what is in the log now is applied; seconds that took."""
        ends = self.ends()
        began = time.monotonic()
        self.until(lambda: all(self.applied()[n] >= end for n, end in ends.items()), what, timeout_s)
        return time.monotonic() - began

    def recovered(self, timeout_s: float = 45) -> None:
        """The fault is over: measure how long the way back takes."""
        self.recovery_s = max(self.recovery_s, self.caught_up("recovered from the fault", timeout_s))

    def quiet(self, timeout_s: float = 45) -> None:
        """Wait until all is applied and every session has ended."""
        self.caught_up()

        def empty() -> bool:
            with self.client() as client:
                return not self._live(client)

        self.until(empty, "every session has ended", timeout_s)

    def drained(self, timeout_s: float = 45) -> None:
        """Stop the traffic and wait until the group has committed the end of every partition: its lag is 0."""
        if self.traffic is not None:
            self.traffic.stop()
        member = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.unique, "log_level": 0})
        asked = [TopicPartition(self.topics["topic"], number) for number in range(self.partitions)]

        def done() -> bool:
            committed = {tp.partition: max(tp.offset, 0) for tp in member.committed(asked, timeout=10)}
            return committed == self.ends()

        try:
            self.until(done, "the group has committed all that there is", timeout_s)
        finally:
            member.close()

    # -- judgement ---------------------------------------------------------------------------------

    def judge(self, *, letters: int = 0, reading: Reading = whole) -> Row:
        """Stop everything and compare with the batch recompute of the log.

        Args:
            letters: records expected among the dead letters.
            reading: of what the workers produced, given what was expected.
        """
        if self.traffic is not None:
            self.traffic.stop()
        self.quiet()
        self.stop_workers()
        expected = self.expected()
        documents = {
            name: reading(name, wanted, self.documents(name))
            for name, wanted in (("decisions_topic", expected.decisions), ("sessions_topic", expected.summaries))
        }
        decisions = compare(expected.decisions, documents["decisions_topic"])
        summaries = compare(expected.summaries, documents["sessions_topic"])
        found = set(self.letters())
        lost, doubled, pages = self._counted(documents["sessions_topic"])
        row = Row(
            self.name,
            self.seed,
            self.injected,
            self.traffic.events if self.traffic else expected.events,
            lost,
            doubled,
            _size(decisions) + _size(summaries) + len(found ^ expected.letters),
            decisions.repeated + summaries.repeated,
            round(self.recovery_s, 2),
        )
        log = read_topic(self.bootstrap, self.topics["topic"]) if decisions or summaries else []
        report = [
            f"decisions: {decisions}",
            f"summaries: {summaries}",
            pairs(decisions, expected.decisions, documents["decisions_topic"], log),
            pairs(summaries, expected.summaries, documents["sessions_topic"], log),
        ]
        self._check(row, report, expected, letters, pages)
        return row

    def note(self) -> None:
        """Put a row into the table for a test that judges by other means than the recompute."""
        from tests.faults.conftest import ROWS

        sent = self.traffic.events if self.traffic else 0
        ROWS.append(Row(self.name, self.seed, self.injected, sent, 0, 0, 0, 0, round(self.recovery_s, 2)))

    def stop_workers(self) -> None:
        """I5: every worker that runs ends in order, within 15 s, without an error that nobody handled."""
        for worker in self.workers:
            if worker.status is None:
                code = worker.stop()
                assert code == 0, f"exit code {code}:\n{worker.tail()}"
        for worker in self.workers:
            assert worker.may_fail or "Traceback" not in worker.log, worker.tail(60)
            assert f"s-{self.unique}" not in worker.log, "I7: a session id in a log"

    def expected(self) -> Expected:
        """The batch recompute of the log, up to the end of every session."""
        log = records_of([*self.gone, *read_topic(self.bootstrap, self.topics["topic"])])
        return expect(engine_for(self.bundle, FOLD, self.topic_id, self.policy), log, FAR_MS)

    def unsent(self, lost: Iterable[Message]) -> None:
        """Take events out of what was sent: the test has destroyed them."""
        assert self.traffic is not None
        for message in lost:
            self.traffic.sent[msgspec.json.decode(message.value() or b"{}")["session_id"]] -= 1

    def documents(self, topic: str) -> list[bytes]:
        """The values in one of the rig's topics that come from the clicks topic as it is now."""
        values = [message.value() or b"" for message in read_topic(self.bootstrap, self.topics[topic])]
        mine = f'"source":"{self.namespace.source}"'.encode()
        return [value for value in values if mine in value]

    def letters(self) -> dict[tuple[int, int], Message]:
        """The dead letters by partition and offset, without what a restart sent again."""
        letters = {}
        for message in read_topic(self.bootstrap, self.topics["dlq_topic"]):
            headers = headers_of(message)
            place = int(headers["__connect.errors.partition"]), int(headers["__connect.errors.offset"])
            letters[place] = message
        return letters

    def _counted(self, summaries: list[bytes]) -> tuple[int, int, Counter[str]]:
        """Events lost and doubled, by the sessions' own sums (I2): needs no second run of the fold; and the sums."""
        pages: Counter[str] = Counter()
        if self.traffic is None:
            return 0, 0, pages
        doubled = 0
        unique = {(s["session_id"], s["seq"]): s for s in map(msgspec.json.decode, summaries)}
        for summary in unique.values():
            name, events = summary["session_id"], int(summary["features"]["pages_viewed"])
            pages[name] += events
            if name in self.traffic.sent:  # others have clicks of a test's own, and the recompute alone judges them
                doubled += summary["events"] - events
        lost = sum(max(sent - pages[name], 0) for name, sent in self.traffic.sent.items()) if unique else 0
        return lost, doubled, pages

    def _biographies(self, pages: Counter[str]) -> str:
        """Every session whose sum is not what was sent: what the log holds of it."""
        if self.traffic is None:
            return ""
        lives: dict[str, list[str]] = {}
        for message in read_topic(self.bootstrap, self.topics["topic"]):
            key, event = ((part or b"").decode(errors="replace") for part in (message.key(), message.value()))
            lives.setdefault(key, []).append(f"{message.partition()}:{message.offset()} {event}")
        odd = [name for name, sent in self.traffic.sent.items() if sent != pages[name]]
        return "\n".join(
            f"{name}: sent {self.traffic.sent[name]}, counted {pages[name]}, in the log "
            + "; ".join(lives.get(name, ["nothing"]))
            for name in odd[:5]
        )

    def _check(
        self,
        row: Row,
        report: list[str],
        expected: Expected,
        letters: int,
        pages: Counter[str],
    ) -> None:
        from tests.faults.conftest import ROWS

        ROWS.append(row)
        fine = (row.lost, row.doubled, row.differing) == (0, 0, 0)
        assert fine, "\n".join(
            [
                f"{self.name} seed {self.seed}: {row}",
                *report,
                self._biographies(pages),
            ]
        )
        assert len(expected.letters) == letters, f"{len(expected.letters)} records are no events, {letters} were sent"
        assert expected.decisions, "the test had no decision to compare"

    def close(self) -> None:
        for worker in self.workers:
            worker.kill9()
        if self.traffic is not None and self.traffic._thread.is_alive():
            self.traffic._stopped.set()
            self.traffic._thread.join()
        self._asker.close()
        if self._reader is not None:
            self._reader.close()


def place(message: Message) -> tuple[int, int]:
    """Partition and offset."""
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


def headers_of(message: Message) -> dict[str, bytes]:
    """A message's headers; of several with one name the last."""
    pairs: Any = message.headers() or []
    return {name: bytes(value or b"") for name, value in pairs}


def _size(difference: Difference) -> int:
    return len(difference.missing) + len(difference.extra) + len(difference.wrong) + len(difference.unequal)
