"""47, 48: random mixes of faults with rollbacks in them, which is where protocols break that pass every single one."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import KafkaError, Message, Producer

from featurestore.contract.partitioner import PARTITIONER
from tests.faults.conftest import SEEDS, MakeRig
from tests.faults.kafka_proxy import COORDINATOR, KafkaProxy
from tests.faults.proxy import Proxy
from tests.faults.rig import SENDERS_TIME, Rig
from tests.run_services import RunServices
from tests.services import KafkaBroker, free_port
from tests.services.kafka_rights import KafkaRights, Right, access
from worker.errors import ExitCode
from worker.pipeline.outputs import RELIABLE

FAULTS: Final = (
    "kill",
    "kill",
    "join",
    "leave",
    "freeze worker",
    "freeze redis",
    "cut",
    "drop",
    "rollback",
    "rollback",
    "flush",
)
HOSTILE: Final = ("future", "oversize", "full bucket", "no write", "no group", "silent coordinator")
"""What producers and operators do, beside what machines do: each is in every mix of `test_hostile_chaos`."""

RECOVERY_S: Final = 90
"""Of a hostile mix: a client that is forgotten is replaced after 12 s, its worker by a supervisor after 24 s."""

HOSTILE_SEEDS: Final = range(first := 197 + 4 * SEEDS[0], first + 4)
"""Four, which follow from the first of `CLICKSTAGE_FAULT_SEEDS`."""


class Mix:
    """Carries out faults, one after the other.

    Args:
        bench: whose workers and servers.
        rng: every choice.
        folder: for snapshots.

    Attributes:
        letters: bad records that were sent.
    """

    def __init__(self, bench: Rig, rng: random.Random, folder: Path) -> None:
        self.bench, self.rng, self._folder = bench, rng, folder
        self.proxy = Proxy(bench.server.port)
        bench.redis_url = self.proxy.url
        bench.meanwhile = self.supervise
        self.letters = 0
        self._snapshots = 0
        self._snapshot: Path | None = None

    def snapshot(self) -> None:
        """Redis as it is now is what a rollback goes back to."""
        self._snapshot = self.bench.server.snapshot(self._folder / f"snapshot-{self._snapshots}")
        self._snapshots += 1

    def run(self, schedule: list[str], rate: int) -> None:
        """All of them, with pauses, under traffic, on two workers to begin with."""
        self.bench.start(ready=False)
        self.bench.start()
        self.bench.send(rate=rate)
        self.bench.serving()
        self.snapshot()
        for fault in schedule:
            self.supervise()
            self.inject(fault)
            self.bench.injected += 1
            time.sleep(self.rng.uniform(0, 1.2))
            if self.rng.random() < 0.4:
                self.snapshot()

    def supervise(self) -> None:
        """Start anew whoever has left by itself, as a supervisor does.

        Without a right a worker may not stay, and without servers it does not start.
        """
        ours = {None, 0, -9, -15}  # -15: stopped before it had begun
        left = [worker for worker in self.bench.workers if worker.status not in ours and not worker.may_fail]
        for worker in left:
            assert worker.status in {ExitCode.USAGE, ExitCode.STUCK, ExitCode.UNSAFE}, worker.tail()
            worker.may_fail = True
            self.bench.start(ready=False)

    def inject(self, fault: str) -> None:
        """One fault, over when this returns."""
        bench, rng = self.bench, self.rng
        victim = rng.choice([worker for worker in bench.workers if worker.status is None])
        match fault:
            case "kill":
                victim.kill9()
                bench.start(ready=False)
            case "join":
                bench.start(ready=False)
            case "leave":
                victim.stop()
                bench.start(ready=False)
            case "freeze worker":
                victim.freeze()
                time.sleep(rng.uniform(0.5, 5))
                victim.thaw()
            case "freeze redis":
                bench.server.freeze()
                time.sleep(rng.uniform(0.2, 1.5))
                bench.server.thaw()
            case "cut":
                for _ in range(3):
                    self.proxy.cut()
                    time.sleep(rng.uniform(0, 0.1))
            case "drop":
                self.proxy.drop_replies += 2
            case "rollback":
                assert self._snapshot is not None
                bench.server.roll_back(self._snapshot)
            case "flush":
                with bench.server.client() as client:
                    client.script_flush()
                    if rng.random() < 0.5:
                        client.flushall()
            case _:
                raise ValueError(fault)


class HostileMix(Mix):
    """A mix with records that aim at the worker, rights that go, and a coordinator that says nothing."""

    def __init__(
        self, bench: Rig, rng: random.Random, folder: Path, broker: KafkaBroker, proxy: KafkaProxy, rights: KafkaRights
    ) -> None:
        super().__init__(bench, rng, folder)
        self._kafka, self._rights = proxy, rights
        config = {"bootstrap.servers": broker.bootstrap, "partitioner": PARTITIONER, "message.max.bytes": 4_000_000}
        # Idempotent: else a record that is sent again is in the log twice, and the letters cannot be counted.
        self._producer = Producer({**RELIABLE, **config, "compression.type": "zstd"})

    def inject(self, fault: str) -> None:
        """See `Mix`."""
        topics, rng = self.bench.topics, self.rng
        match fault:
            case "future":
                self._clicks([f"f-{rng.getrandbits(40)}" for _ in range(3)], ahead_ms=8_000)
            case "full bucket":
                self._clicks([f"b-{rng.getrandbits(40)}" for _ in range(6_000)])
            case "oversize":
                key = b"k" * rng.choice([600_000, 2_000_000])
                self._producer.produce(
                    topics["topic"], rng.choice([b"not json", b"v" * 900_000]), key, on_delivery=self._sent
                )
            case "no write":
                self._without(Right("WRITE", "topic", topics[rng.choice(["decisions_topic", "dlq_topic"])]))
            case "no group":
                self._without(Right("READ", "group", self.bench.unique))
            case "silent coordinator":
                self._kafka.silent = COORDINATOR
                time.sleep(rng.uniform(2, 8))
                self._kafka.silent = frozenset()
            case _:
                super().inject(fault)
        assert self._producer.flush(30) == 0

    def _sent(self, error: KafkaError | None, _message: Message) -> None:
        assert error is None, error.name()
        self.letters += 1

    def _without(self, right: Right) -> None:
        self._rights.revoke("worker", [right])
        time.sleep(self.rng.uniform(1, 5))
        self._rights.allow("worker", [right])

    def _clicks(self, sessions: list[str], ahead_ms: int = 0) -> None:
        """One click each, of one moment."""
        now = time.time_ns() // 1_000_000 + ahead_ms
        for name in sessions:
            event = {"session_id": name, "type": "page_view", "ts": now, "page": "/"}
            self._producer.produce(self.bench.topics["topic"], json.dumps(event), name, timestamp=now)
            self._producer.poll(0)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("seed", [100 + seed for seed in SEEDS])
def test_chaos(rig: MakeRig, tmp_path: Path, seed: int, protocol: str) -> None:
    """Whatever is mixed with whatever, the log and the results agree in the end."""
    rng = random.Random(seed)
    schedule = ["rollback", "kill", *rng.choices(FAULTS, k=8)]
    rng.shuffle(schedule)
    bench = rig(f"47 mixed ({protocol}): 10 faults", seed)
    bench.environment["group_protocol"] = protocol
    mix = Mix(bench, rng, tmp_path)
    try:
        mix.run(schedule, rate=300)
        bench.recovered()
        bench.drained()
        bench.judge()
    finally:
        mix.proxy.close()


def owned(seen: list[dict[str, float]]) -> float:
    """How many partitions workers own, by their metrics."""
    return sum(one["assigned_partitions"] for one in seen)


@pytest.fixture
def guarded(services: RunServices, tmp_path: Path) -> Iterator[tuple[KafkaBroker, KafkaProxy]]:
    """A broker with users and rights, whom only the proxy leads to."""
    proxy = KafkaProxy()
    broker = services.guarded_kafka(tmp_path / "kafka", behind := free_port(), proxy.port)
    proxy.target = behind
    yield broker, proxy
    broker.stop()
    proxy.close()


@pytest.mark.parametrize(("seed", "protocol"), list(zip(HOSTILE_SEEDS, ["classic", "consumer"] * 2, strict=True)))
def test_hostile_chaos(
    rig: MakeRig, guarded: tuple[KafkaBroker, KafkaProxy], tmp_path: Path, seed: int, protocol: str
) -> None:
    """Future record times, oversize records, a full end bucket, revoked rights and a silent coordinator in the mix.

    Log and results agree, and in the end every worker moves or is spare.
    """
    broker, proxy = guarded
    rng = random.Random(seed)
    schedule = [*HOSTILE, "rollback", "kill", *rng.choices(FAULTS, k=6)]
    rng.shuffle(schedule)
    bench = rig(f"48 hostile mix ({protocol}): 14 faults", seed, bootstrap=broker.bootstrap, record_time=SENDERS_TIME)
    rights = KafkaRights(broker.bootstrap)
    rights.add_user("worker")
    outputs = ("decisions_topic", "sessions_topic", "dlq_topic")
    written = [Right("WRITE", "topic", bench.topics[name]) for name in outputs]
    read = [Right("READ", "topic", bench.topics["topic"]), Right("READ", "group", bench.unique)]
    rights.allow("worker", [*read, *written])
    bench.environment |= {"kafka": f"127.0.0.1:{proxy.port}", "group_protocol": protocol, **access("worker")}
    bench.environment |= {"session_timeout_s": "6", "stuck_after_s": "24"}
    mix = HostileMix(bench, rng, tmp_path, broker, proxy, rights)
    try:
        mix.run(schedule, rate=200)
        bench.recovered(RECOVERY_S)

        def well() -> bool:
            """Every worker moves or is spare, and every partition has its owner."""
            try:
                seen = [worker.metrics() for worker in bench.workers if worker.status is None]
            except (OSError, RuntimeError):
                return False  # one is starting, or has just left
            return all(one["ready"] == 1 for one in seen) and owned(seen) == bench.partitions

        bench.until(well, "every worker moves or is spare", RECOVERY_S)
        bench.drained()
        bench.judge(letters=mix.letters)
    finally:
        mix.proxy.close()
