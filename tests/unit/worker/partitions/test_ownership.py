"""Where a partition is read from, whatever Redis and Kafka say of it; and what a refusal leads to."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from featurestore.store import outbox
from featurestore.store.keys import Namespace, Shard
from featurestore.store.memory import MemoryStore
from featurestore.store.protocols import FENCED, MOVED, ShardWrite, WriteResult
from featurestore.store.streams import DECISIONS
from tests.unit.worker.pipeline.loop_fakes import FakeClock
from worker.kafka.letters import Letter
from worker.kafka.polled import Polled
from worker.kafka.source import Bounds, Changes
from worker.metrics.metrics import Metrics
from worker.partitions.ownership import RETRY_OWN_S, Ownership
from worker.partitions.partition import Partition
from worker.protocols import Consumer, Producer
from worker.settings import Settings

SHARD = Shard(0)


class Source:
    """One partition with offsets 100 to 200, of which the last hour begins at 150."""

    def __init__(self) -> None:
        self.low, self.high, self.hour = 100, 200, 150
        self.group: int | None = None
        self.reads_from: int | None = None
        self.paused = False
        self.times: dict[int, int] | None = None
        self.to_commit: dict[int, int] = {}

    def changes(self) -> Changes:
        return Changes(assigned=[0])

    def owns(self, partition: int) -> bool:
        return True

    def poll(self, most: int, wait_s: float) -> Polled:
        return Polled([], {}, {}, set())

    def ends(self, partitions: Sequence[int]) -> Future[dict[int, int]]:
        raise AssertionError("nobody waits for silence here")

    def renew(self) -> None:
        raise AssertionError("nothing is stuck here")

    def will_commit(self, partition: int, offset: int) -> None:
        self.to_commit[partition] = offset

    def commit(self, *, wait: bool = False) -> bool:
        return True

    def close(self) -> None:
        """Nothing."""

    def bounds(self, partition: int, *, fresh: bool = False, wait_s: float = 5.0) -> Bounds:
        return Bounds(self.low, self.high)

    def committed(self, partition: int) -> int | None:
        return self.group

    def offset_at(self, partition: int, epoch_ms: int) -> int | None:
        if self.times is None:
            return self.hour
        later = [offset for offset, at in self.times.items() if at >= epoch_ms]
        return min(later) if later else None

    def start_at(self, partition: int, offset: int) -> None:
        self.reads_from = offset
        self.paused = False

    def pause(self, partitions: Sequence[int]) -> None:
        self.paused = True


class Outputs:
    def __init__(self) -> None:
        self.sent: list[outbox.Output] = []
        self.given = 0

    def send(self, outputs: Sequence[outbox.Output]) -> int:
        self.sent += outputs
        self.given += 1
        return self.given

    def send_letter(self, letter: Letter) -> None:
        raise AssertionError("taking a partition makes no dead letter")

    def settled(self, wait_s: float) -> bool:
        return True

    def acknowledged(self) -> int:
        return self.given

    def room(self) -> bool:
        return True

    def close(self, wait_s: float) -> bool:
        return True


class Bench:
    def __init__(self, **settings: Any) -> None:
        self.source, self.outputs, self.clock = Source(), Outputs(), FakeClock()
        self.store = MemoryStore(Namespace("test", "group", "topic"))
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        source: Consumer = self.source
        outputs: Producer = self.outputs
        self.own = Ownership(source, self.store, outputs, Settings(**settings), self.clock, self.metrics)
        self.own.follow()

    def counted(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)

    def apply(self, offset: int, kept: bytes = b"") -> None:
        epoch = self.store.acquire([SHARD], 0, 0)[0]
        write = ShardWrite(SHARD, epoch.epoch, epoch.applied, offset)
        write.outbox = kept
        self.store.write([write], 1)

    def take(self) -> Partition:
        partition = self.own.partitions[0]
        self.own.take(partition)
        return partition


def test_reading_starts_after_what_is_applied_whatever_the_group_says() -> None:
    for committed in (None, 0, 120, 190, 900):
        bench = Bench()
        bench.source.group = committed
        bench.apply(149)
        bench.take()
        assert bench.source.reads_from == 150


@pytest.mark.parametrize(("start", "offset"), [("earliest", 100), ("latest", 200)])
def test_a_new_group_starts_where_the_settings_say(start: str, offset: int) -> None:
    bench = Bench(start=start)
    bench.take()
    assert bench.source.reads_from == offset


def test_a_group_whose_state_is_gone_reads_a_horizon_back() -> None:
    bench = Bench()
    bench.source.group = 180
    bench.take()
    assert bench.source.reads_from == 150


@pytest.mark.parametrize(("committed", "lost"), [(0, 0), (1, 1)])
def test_a_partition_that_was_empty_has_lost_no_state(committed: int, lost: int) -> None:
    """Its owner commits 0 and stores nothing: whoever has it next says nothing, and no alert of a lost store fires."""
    bench = Bench()
    bench.source.low = 0
    bench.source.group = committed
    bench.take()
    assert bench.source.reads_from == committed
    assert bench.registry.get_sample_value("clickstage_rewinds_total", {"cause": "store_lost"}) == lost


@pytest.mark.parametrize("horizon_s", [60, 300, 86_400])
def test_a_rewind_is_measured_from_the_commit_and_never_passes_it(horizon_s: int) -> None:
    """The group stopped long ago: what came after its commit was never decided, though it is older than the horizon."""
    bench = Bench(rebuild_horizon_s=horizon_s)
    now = bench.clock.now_ms()
    # A record a second up to the commit two hours ago, then nothing for an hour, then a record every six seconds.
    bench.source.times = {n: now - 7_200_000 - (150 - n) * 1_000 for n in range(100, 150)}
    bench.source.times |= {n: now - 600_000 + (n - 150) * 6_000 for n in range(150, 200)}
    bench.source.group = 150
    bench.take()
    read_from = bench.source.reads_from
    assert read_from is not None
    assert read_from == pytest.approx(max(150 - horizon_s, 100), abs=1)
    assert bench.counted("clickstage_lost_offsets_total") == 0


def test_records_between_the_commit_and_the_logs_begin_are_counted_as_lost() -> None:
    bench = Bench()
    bench.source.group = 70
    bench.take()
    assert bench.source.reads_from == 100
    assert bench.counted("clickstage_lost_offsets_total") == 30


@pytest.mark.parametrize(("committed", "behind"), [(None, True), (120, True), (150, False), (180, False)])
def test_an_owner_says_whether_the_commit_is_behind_where_it_begins(committed: int | None, *, behind: bool) -> None:
    """Else the lag of a partition without new records never reaches 0, and a drain never ends."""
    bench = Bench()
    bench.source.group = committed
    bench.apply(149)
    assert bench.own.take(bench.own.partitions[0]) is behind


def test_a_gap_is_counted_never_skipped_in_silence() -> None:
    bench = Bench()
    bench.apply(79)
    bench.take()
    assert bench.source.reads_from == 100
    assert bench.counted("clickstage_log_gaps_total") == 1
    assert bench.counted("clickstage_lost_offsets_total") == 20


def test_a_log_that_ends_before_what_is_applied_is_read_from_its_end() -> None:
    bench = Bench()
    bench.apply(500)
    partition = bench.take()
    assert bench.source.reads_from == 200
    assert partition.floor(SHARD) == -1
    assert bench.counted("clickstage_log_gaps_total") == 1


def test_outputs_left_behind_are_produced_unless_their_offset_is_committed() -> None:
    left = [outbox.Output(DECISIONS, ["s"], [b"{}"])]
    for committed, produced in ((None, left), (150, left), (151, [])):
        bench = Bench()
        bench.source.group = committed
        bench.apply(150, outbox.encode(150, left))
        bench.take()
        assert bench.outputs.sent == produced


def test_a_store_that_went_back_is_read_again_at_once() -> None:
    bench = Bench()
    bench.apply(149)
    partition = bench.take()
    bench.own.refused(partition, SHARD, WriteResult(MOVED, "", 120))
    assert bench.source.paused
    assert bench.own.waiting() == [partition]


def test_an_epoch_that_went_back_is_taken_again_soon() -> None:
    """It is older than ours, so nobody else has taken the partition: Redis has gone back behind our own epoch."""
    bench = Bench()
    partition = bench.take()
    bench.own.refused(partition, SHARD, WriteResult(FENCED, "1:old", None))
    assert bench.own.waiting() == []
    bench.clock.sleep(RETRY_OWN_S)
    assert bench.own.waiting() == [partition]


def test_a_newer_epoch_is_left_alone_until_the_group_has_spoken() -> None:
    bench = Bench(session_timeout_s=30)
    partition = bench.take()
    bench.own.refused(partition, SHARD, WriteResult(FENCED, f"{partition.own_epoch + 1}:other", None))
    bench.clock.sleep(30)
    assert bench.own.waiting() == []
    bench.clock.sleep(1)
    assert bench.own.waiting() == [partition]


def test_a_lease_taken_again_is_newer_than_any_before() -> None:
    bench = Bench()
    partition = bench.take()
    first = partition.own_epoch
    bench.store.shards.clear()
    partition.waits("fenced", 0.0)
    bench.take()
    assert partition.own_epoch > first
