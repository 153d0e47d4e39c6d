"""The time that a partition's timers go by."""

import pytest

from featurestore.store.keys import Shard
from worker.partitions.partition import Partition
from worker.pipeline.timers import GRACE_MS, timer_now

WALL = 1_000_000


def _partition(*, at_end: bool, watermark: int | None, behind: int = 0, running: bool = True) -> Partition:
    partition = Partition(0, [Shard(0)])
    partition.runs(10, 10 + behind, 0.0, ignore_applied=False)
    if at_end:
        partition.ends_at(10)
    if watermark is not None:
        partition.advances(watermark)
    if not running:
        partition.waits("fenced", 0.0)
    return partition


def test_a_partition_read_to_its_end_goes_by_the_wall_clock_less_a_grace() -> None:
    assert timer_now(_partition(at_end=True, watermark=5_000), WALL, "live") == WALL - GRACE_MS


@pytest.mark.parametrize(
    "partition", [_partition(at_end=False, watermark=5_000), _partition(at_end=True, watermark=5_000, behind=1)]
)
def test_a_partition_that_lags_goes_by_its_newest_event(partition: Partition) -> None:
    """Else an outage ends in a burst of false Drop-Off Risks."""
    assert timer_now(partition, WALL, "live") == 5_000 - GRACE_MS


def test_an_event_from_the_future_does_not_put_the_timers_forward() -> None:
    assert timer_now(_partition(at_end=False, watermark=WALL + 99), WALL, "live") == WALL - GRACE_MS


def test_event_mode_never_looks_at_the_wall_clock() -> None:
    assert timer_now(_partition(at_end=True, watermark=5_000), WALL, "event") == 5_000 - GRACE_MS
    assert timer_now(_partition(at_end=True, watermark=None), WALL, "event") is None


def test_no_timers_where_they_are_off_or_the_partition_is_not_ours_yet() -> None:
    assert timer_now(_partition(at_end=True, watermark=5_000), WALL, "off") is None
    assert timer_now(_partition(at_end=True, watermark=5_000, running=False), WALL, "live") is None
