"""Silence is proven by what Kafka says of its log's end, never by a record's time."""

from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException

from featurestore.store.keys import Shard
from featurestore.store.memory import MemoryStore
from tests.unit.worker.pipeline.loop_fakes import FakeClock, FakeOutputs, FakeSource
from tests.unit.worker.pipeline.loop_world import World
from worker.partitions.ownership import Ownership
from worker.partitions.partition import Partition
from worker.pipeline.log_ends import ASK_EVERY_S, LATE_S, RECOVERY_S, LogEnds
from worker.pipeline.timers import GRACE_MS, timer_now
from worker.settings import Settings

HOUR_MS = 3_600_000


class Kafka(FakeSource):
    """Answers when the test says so."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.asked: list[Future[dict[int, int]]] = []

    def ends(self, partitions: object) -> Future[dict[int, int]]:
        self.asked.append(Future())
        return self.asked[-1]


class Desk:
    """One partition that is read, and who asks for its end."""

    def __init__(self) -> None:
        world = World(1, events=1, trouble=0.0)
        self.clock: FakeClock = world.clock
        self.kafka = Kafka(world)
        outputs, settings = FakeOutputs(world), Settings()
        store = MemoryStore(world.engine.namespace)
        self.own = Ownership(self.kafka, store, outputs, settings, self.clock, world.metrics)
        self.partition = Partition(0, [Shard(0)])
        self.partition.runs(10, 10, 0.0, ignore_applied=False)
        self.own.partitions[0] = self.partition
        self.ends = LogEnds(self.kafka, self.own, self.clock)

    def ask(self) -> Future[dict[int, int]]:
        self.clock.sleep(ASK_EVERY_S)
        self.ends.turn()
        return self.kafka.asked[-1]

    def hear(self, high: int, after_s: float = 0.01) -> bool:
        """Ask, let Kafka answer, and take the answer in."""
        asked = self.ask()
        self.clock.sleep(after_s)
        asked.set_result({0: high})
        return self.ends.turn()

    def time(self) -> int | None:
        return timer_now(self.partition, self.clock.now_ms(), "live")


def test_an_end_that_is_read_proves_silence_up_to_the_question() -> None:
    desk = Desk()
    assert desk.time() is None
    assert desk.hear(10, after_s=0.3)
    assert desk.time() == desk.clock.now_ms() - 300 - GRACE_MS


def test_a_record_from_the_future_proves_nothing() -> None:
    """Its producer's clock is ahead by under an hour, which Kafka accepts; then the broker freezes."""
    desk = Desk()
    desk.hear(10)
    proven = desk.time()
    desk.partition.advances(desk.clock.now_ms() + HOUR_MS)
    asked = desk.ask()
    for _ in range(36):
        desk.clock.sleep(0.25)
        desk.ends.turn()
        assert desk.time() == proven
    asked.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
    assert not desk.ends.turn()
    assert desk.time() == proven


def test_what_was_held_back_while_kafka_was_away_is_waited_for() -> None:
    """The first answers after an outage say that nothing is left: producers have not delivered yet."""
    desk = Desk()
    desk.hear(10)
    proven = desk.time()
    assert not desk.hear(10, after_s=LATE_S + 0.1)
    came_back = desk.clock.monotonic()
    while desk.clock.monotonic() < came_back + RECOVERY_S - 2 * ASK_EVERY_S:
        assert not desk.hear(10)
        assert desk.time() == proven
    assert [desk.hear(10) for _ in range(4)][-1]


def test_a_worker_that_lags_goes_by_the_end_as_it_was_told_earlier() -> None:
    """It wakes up with a backlog: nobody in it is silent before all that was there then is read."""
    desk = Desk()
    assert not desk.hear(500)
    then = desk.clock.now_ms() - 10
    desk.partition.read(300, desk.clock.monotonic())
    assert not desk.hear(900)
    assert desk.time() is None
    desk.partition.read(499, desk.clock.monotonic())
    assert desk.time() == then - GRACE_MS


def test_a_long_lag_is_remembered_in_bounded_space() -> None:
    desk = Desk()
    for n in range(3_000):
        desk.hear(1_000 + n)
    assert len(desk.partition.ends_told) <= 512
    desk.partition.read(10_000, desk.clock.monotonic())
    assert desk.time() == desk.clock.now_ms() - 10 - GRACE_MS
    assert not desk.partition.ends_told
