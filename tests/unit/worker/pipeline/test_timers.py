"""The time that a partition's timers go by."""

from featurestore.store.keys import Shard
from worker.partitions.partition import Partition
from worker.pipeline.timers import GRACE_MS, RECENT_MS, timer_now

WALL = 1_000_000


def _partition(*, proven: int | None, watermark: int | None, running: bool = True) -> Partition:
    """One partition, read up to an end that Kafka told at ``proven``."""
    partition = Partition(0, [Shard(0)])
    partition.runs(10, 10, 0.0, ignore_applied=False)
    if proven is not None:
        partition.told(10, 0.0, proven)
    if watermark is not None:
        partition.advances(watermark)
    if not running:
        partition.waits("fenced", 0.0)
    return partition


def test_a_partition_goes_by_the_moment_up_to_which_kafka_proved_that_all_is_read() -> None:
    assert timer_now(_partition(proven=WALL - 50, watermark=5_000), WALL, "live") == WALL - 50 - GRACE_MS
    assert timer_now(_partition(proven=7_000, watermark=5_000), WALL, "live") == 7_000 - GRACE_MS


def test_without_a_proof_there_is_no_time_whatever_the_records_say() -> None:
    """Else an outage, or one record from the future, ends in a burst of false Drop-Off Risks."""
    for watermark in (None, 5_000, WALL - 10, WALL + 3_000_000):
        assert timer_now(_partition(proven=None, watermark=watermark), WALL, "live") is None
        later = timer_now(_partition(proven=7_000, watermark=watermark), WALL, "live")
        assert later == 7_000 - GRACE_MS


def test_a_young_record_holds_the_time_back() -> None:
    """Where all records are under way for a second, so is the one that would break a silence."""
    newest = WALL - RECENT_MS
    assert timer_now(_partition(proven=WALL - 10, watermark=newest), WALL, "live") == newest - GRACE_MS
    assert timer_now(_partition(proven=WALL - 10, watermark=newest - 1), WALL, "live") == WALL - 10 - GRACE_MS


def test_event_mode_never_looks_at_the_wall_clock() -> None:
    assert timer_now(_partition(proven=WALL, watermark=5_000), WALL, "event") == 5_000 - GRACE_MS
    assert timer_now(_partition(proven=WALL, watermark=None), WALL, "event") is None


def test_no_timers_where_they_are_off_or_the_partition_is_not_ours_yet() -> None:
    assert timer_now(_partition(proven=WALL, watermark=5_000), WALL, "off") is None
    assert timer_now(_partition(proven=WALL, watermark=5_000, running=False), WALL, "live") is None
