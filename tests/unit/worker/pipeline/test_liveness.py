"""A worker is well if its partitions move, are proven to be read, or others own them all; else it starts over once."""

import pytest

from featurestore.store.keys import Shard
from featurestore.store.memory import MemoryStore
from featurestore.store.protocols import FENCED, WriteResult
from tests.unit.worker.pipeline.loop_fakes import FakeOutputs, FakeSource
from tests.unit.worker.pipeline.loop_world import World
from worker.kafka.group_watch import Standing, standing_of
from worker.kafka.source import Changes
from worker.partitions.ownership import Ownership
from worker.partitions.partition import Partition
from worker.pipeline.liveness import PROVEN_FOR_S, Liveness
from worker.pipeline.log_ends import LogEnds
from worker.pipeline.pulse import Pulse
from worker.settings import Settings

STUCK_S = 60.0


class Kafka(FakeSource):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.renewed = 0

    def renew(self) -> None:
        self.renewed += 1


class Coordinator:
    def __init__(self) -> None:
        self.says = Standing.UNKNOWN

    def standing(self) -> Standing:
        return self.says

    def reset(self) -> None:
        self.says = Standing.UNKNOWN


class Desk:
    def __init__(self, *, owns: bool) -> None:
        world = World(1, events=1, trouble=0.0)
        self.clock, self.kafka, self.group = world.clock, Kafka(world), Coordinator()
        store = MemoryStore(world.engine.namespace)
        self.own = Ownership(self.kafka, store, FakeOutputs(world), Settings(), self.clock, world.metrics)
        self.pulse = Pulse(self.clock, "no partition yet")
        self.ends = LogEnds(self.kafka, self.own, self.clock)
        self.liveness = Liveness(self.kafka, self.own, self.ends, self.group, self.pulse, self.clock, STUCK_S / 2)
        if owns:
            self.partition = Partition(0, [Shard(0)])
            self.partition.runs(10, 10, 0.0, ignore_applied=False)
            self.own.partitions[0] = self.partition

    def pass_time(self, seconds: float, *, answers: bool = True) -> None:
        for _ in range(round(seconds / 0.5)):
            self.clock.sleep(0.5)
            if answers:
                self.ends.answered_at = self.clock.monotonic()
            self.liveness.turn()

    def stuck(self) -> bool:
        return self.clock.monotonic() - self.pulse.progress >= STUCK_S


def test_a_partition_proven_to_be_at_its_end_is_well() -> None:
    desk = Desk(owns=True)
    desk.partition.told(10, desk.clock.monotonic(), desk.clock.now_ms())
    desk.pass_time(1)
    assert desk.pulse.trouble is None


def test_a_partition_that_stands_is_not_ready_and_starts_over_and_is_stuck() -> None:
    """Kafka answers, records wait, and the client brings none."""
    desk = Desk(owns=True)
    desk.pass_time(1)
    desk.partition.told(20, desk.clock.monotonic(), desk.clock.now_ms())
    desk.pass_time(PROVEN_FOR_S)
    assert "neither moves" in (desk.pulse.trouble or "")
    desk.pass_time(STUCK_S / 2 + 1)
    assert (desk.kafka.renewed, desk.pulse.renewed) == (1, True)
    desk.pass_time(STUCK_S / 2 + 1)
    assert desk.stuck()
    assert desk.kafka.renewed == 1


def test_a_worker_that_was_stopped_and_continued_keeps_its_client() -> None:
    """All of its times are old, and its answer of Kafka is from before; only what stands from then on counts."""
    desk = Desk(owns=True)
    desk.pass_time(1)
    desk.partition.told(20, desk.clock.monotonic(), desk.clock.now_ms())
    desk.clock.sleep(10 * STUCK_S)
    desk.pass_time(STUCK_S / 2 - 1)
    before = desk.kafka.renewed
    desk.pass_time(2)
    assert (before, desk.kafka.renewed) == (0, 1)


def test_while_kafka_is_away_the_worker_is_not_ready_and_not_stuck() -> None:
    """A restart would not bring it back."""
    desk = Desk(owns=True)
    desk.pass_time(75, answers=False)
    assert "Kafka has not answered" in (desk.pulse.trouble or "")
    assert not desk.stuck()
    assert not desk.kafka.renewed


def test_a_partition_that_another_owner_writes_time_and_again_makes_it_start_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One of the two clients was replaced and does not know it; once may be a rebalance, and Redis may go back."""
    desk = Desk(owns=True)
    desk.partition.told(10, desk.clock.monotonic(), desk.clock.now_ms())
    desk.partition.own_epoch = 1_000
    refused = [WriteResult(FENCED, f"{number}:x", None) for number in (1, 2, 3, 2_000, 3_000, 4_000)]
    for result in refused:
        assert not desk.kafka.renewed
        desk.own.refused(desk.partition, Shard(0), result)
        desk.pass_time(1)
    assert desk.kafka.renewed == 1
    assert "partition 0 has another owner" in caplog.text
    desk.pass_time(5)
    assert desk.kafka.renewed == 1, "the new client has its time"


@pytest.mark.parametrize("says", [Standing.NEEDED, Standing.UNKNOWN])
def test_a_worker_that_its_group_has_lost_starts_over_and_is_stuck(says: Standing) -> None:
    """The coordinator says that it is no member, or stops answering while the rest of Kafka does."""
    desk = Desk(owns=False)
    desk.group.says = says
    desk.pass_time(STUCK_S / 2 + 1)
    assert desk.pulse.trouble
    assert desk.kafka.renewed == 1
    desk.pass_time(STUCK_S / 2 + 1)
    assert desk.stuck()


def test_a_spare_worker_is_ready_for_good() -> None:
    desk = Desk(owns=False)
    desk.group.says = Standing.SPARE
    desk.pass_time(3 * STUCK_S)
    assert desk.pulse.trouble is None
    assert not desk.stuck()
    assert not desk.kafka.renewed


def test_the_lag_of_a_lost_partition_is_shown_until_another_owner_is_known() -> None:
    desk = Desk(owns=True)
    desk.partition.told(25, desk.clock.monotonic(), None)
    lost = Changes(lost=[0])
    setattr(desk.kafka, "changes", lambda: lost)  # noqa: B010 - a fake's
    setattr(desk.kafka, "owns", lambda number: False)  # noqa: B010 - a fake's
    desk.own.follow()
    assert (desk.own.lag(), desk.own.partitions) == ({0: 15}, {})
    desk.group.says = Standing.SPARE
    desk.pass_time(1)
    assert desk.own.lag() == {}


def owned(**members: list[int]) -> dict[str, set[int]]:
    return {name: set(numbers) for name, numbers in members.items()}


@pytest.mark.parametrize(
    ("stable", "group", "standing"),
    [
        (True, owned(me=[], a=[0, 1]), Standing.SPARE),
        (True, owned(me=[], a=[0], b=[1]), Standing.SPARE),
        (True, owned(me=[], a=[0]), Standing.NEEDED),
        (True, owned(a=[0, 1]), Standing.NEEDED),
        (True, owned(me=[0], a=[1]), Standing.NEEDED),
        (False, owned(me=[], a=[0, 1]), Standing.NEEDED),
        (False, {}, Standing.NEEDED),
    ],
)
def test_spare_is_a_member_of_a_stable_group_in_which_others_own_everything(
    group: dict[str, set[int]], standing: Standing, *, stable: bool
) -> None:
    assert standing_of(group, "me", 2, stable=stable) is standing
