"""Taking partitions: the lease in Redis, where to read from, and what to do when either says no.

Kafka is the log, Redis a view of it. The applied offset in Redis says where the view ends; Kafka's committed offset is
a hint. What is missing from the view is read again from the log.
"""

import logging
from collections import deque
from collections.abc import Set as AbstractSet
from typing import Final

from featurestore.errors import CorruptRecord, UnknownStream
from featurestore.store import outbox
from featurestore.store.keys import Shard
from featurestore.store.protocols import MOVED, Lease, SessionStore, WriteResult, epoch_number
from featurestore.store.refusals import Note, Refused
from featurestore.store.set_aside import SetAside
from featurestore.store.tombstones import Erased
from worker.clock import Clock
from worker.kafka.source import Bounds
from worker.metrics.corrupt import CorruptRecords
from worker.metrics.metrics import Metrics
from worker.partitions.partition import Partition
from worker.partitions.refusals import Refusals
from worker.protocols import Consumer, Producer
from worker.settings import Settings

log = logging.getLogger(__name__)

TIME_STEP_MS: Final = 1_000
"""How exactly the time of a commit is looked for."""

RETRY_OWN_S: Final = 0.5
"""Redis went back behind our own epoch: wait this long, then take a new one."""


class Ownership:
    """The partitions of this worker.

    Args:
        consumer: Kafka.
        store: Redis.
        outputs: where an outbox left behind is produced.
        settings: start, rebuild horizon, buckets, session timeout.
        clock: time.
        metrics: counts rewinds and gaps.
    """

    def __init__(
        self,
        consumer: Consumer,
        store: SessionStore,
        outputs: Producer,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._consumer = consumer
        self._store = store
        self._outputs = outputs
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._corrupt = CorruptRecords(metrics)
        self.partitions: dict[int, Partition] = {}
        self._lost: dict[int, int] = {}
        self.erased = Erased({}, {})

    def follow(self) -> None:
        """Take note of what the group gave and took."""
        changes = self._consumer.changes()
        for number in (*changes.revoked, *changes.lost):
            if not self._consumer.owns(number) or number in changes.assigned:
                left = self.partitions.pop(number, None)
                if left is not None and number in changes.lost:
                    self._lost[number] = left.lag
        if changes.assigned:
            self.forget_lost()
        for number in changes.assigned:
            if self._consumer.owns(number):
                shards = [Shard(number, bucket) for bucket in range(self._settings.buckets)]
                self.partitions[number] = Partition(number, shards)

    def forget_lost(self) -> None:
        """The group works again: lost partitions have an owner, who shows their lag."""
        self._lost.clear()

    def lag(self) -> dict[int, int]:
        """Events not read yet, by partition; lost ones as they were left."""
        return self._lost | {p.number: p.lag for p in self.partitions.values()}

    def running(self) -> list[Partition]:
        """Partitions whose events may be applied."""
        return [p for p in self.partitions.values() if p.running]

    def wait_their_turn(self, numbers: AbstractSet[int], now: float) -> None:
        """Records of these partitions wait for others: they are well, though they do not move."""
        for number in numbers & self.partitions.keys():
            self.partitions[number].waits_its_turn(now)

    def waiting(self) -> list[Partition]:
        """Partitions whose lease is due to be taken."""
        now = self._clock.monotonic()
        return [p for p in self.partitions.values() if not p.running and p.retry_at <= now]

    def current(self, partition: Partition) -> bool:
        """Whether this assignment is still ours and running."""
        return (
            partition.running
            and self.partitions.get(partition.number) is partition
            and self._consumer.owns(partition.number)
        )

    def take(self, partition: Partition) -> bool:
        """Take the lease and start reading after what is applied; whether the group's commit is behind that.

        Raises:
            StoreUnavailable: try again later.
            KafkaException: the same.
        """
        leases = self._store.acquire(partition.shards, self._clock.now_ms(), partition.own_epoch)
        # After the lease: an erasure fences, so nothing is written before it is seen.
        self.erased = self._store.erased(self._clock.now_ms())
        partition.leased(leases)
        committed = self._consumer.committed(partition.number)
        partition.left_behind(self._produce_left_behind(partition, leases, committed))
        self._corrupt.met("cross_slot", sum(lease.set_aside for lease in leases))
        self._corrupt.met("tombstone", self.erased.corrupt)
        bounds = self._consumer.bounds(partition.number, fresh=True) or Bounds(0, 0)
        start, truncated = self._start(partition, bounds, committed)
        partition.refuses(self._refusals(partition.number, start, truncated=truncated))
        self._consumer.start_at(partition.number, start)
        partition.runs(start, bounds.high, self._clock.monotonic(), ignore_applied=truncated)
        log.info("partition %d: reading from offset %d (%s)", partition.number, start, partition.cause)
        return committed is None or committed < start

    def _refusals(self, number: int, start: int, *, truncated: bool) -> Refusals:
        """What the last owner counted; offsets of a truncated log come again with new content, and count anew."""
        [stored] = self._store.refusals([number])
        if truncated:
            stored = Refused(Note(start, 0, 0, 0), 0)
        return Refusals(self._settings.dlq_max_share, self._settings.dlq_max_consecutive, stored)

    def _produce_left_behind(
        self, partition: Partition, leases: list[Lease], committed: int | None
    ) -> list[deque[int]]:
        """Produce the last batches' outputs unless their offsets were committed, which happens after they are safe."""
        for bucket, lease in enumerate(leases):
            for stored in lease.outboxes:
                try:
                    offset, left = outbox.decode(stored)
                except (CorruptRecord, UnknownStream):
                    partition.could_not_read(bucket, SetAside("outbox", "", self._clock.now_ms(), stored))
                    continue
                if committed is None or committed <= offset:
                    self._outputs.send(left)
        return [deque([self._outputs.given] * len(lease.outboxes)) for lease in leases]

    def rewind(self, partition: Partition, cause: str, seconds: float = 0.0) -> None:
        """Give up what is in flight: take a new lease, after ``seconds``, and read again from what the store says."""
        self._metrics.rewinds.inc(cause)
        self._wait(partition, cause, seconds)

    def refused(self, partition: Partition, shard: Shard, result: WriteResult) -> None:
        """The fence said no: nothing was written."""
        if result.status == MOVED:
            log.warning(
                "partition %d: Redis is at offset %s, this worker left it at %s; reading again from there",
                partition.number,
                result.applied,
                partition.lease(shard).applied,
            )
            if result.applied is not None:
                self._metrics.rewinds.inc("store_went_back")
            self._wait(partition, "store_went_back", 0.0)
            return
        self._metrics.rewinds.inc("fenced")
        ours = epoch_number(result.epoch) < partition.own_epoch
        log.warning(
            "partition %d: another owner's epoch is stored (%s); stopped writing it",
            partition.number,
            "older than ours: Redis went back, or sessions were erased" if ours else "newer: this worker was replaced",
        )
        if not ours:
            partition.is_replaced()
        # Ours was rolled back with the data: take a new one soon. A newer one is probably the rightful owner's, and
        # the group will say so; if the partition is still ours after a session timeout, the verdict was wrong.
        self._wait(partition, "fenced", RETRY_OWN_S if ours else self._settings.session_timeout_s + 1.0)

    def out_of_range(self, number: int) -> None:
        """Kafka does not have the wanted offset: look again at the bounds and count what is gone."""
        partition = self.partitions.get(number)
        if partition is not None:
            self.rewind(partition, "log_gap")

    def _wait(self, partition: Partition, cause: str, seconds: float) -> None:
        self._consumer.pause([partition.number])
        partition.waits(cause, self._clock.monotonic() + seconds)

    def _start(self, partition: Partition, bounds: Bounds, committed: int | None) -> tuple[int, bool]:
        """Where to read from, and whether the log was truncated below what is applied."""
        applied = [lease.applied for lease in partition.leases if lease.applied is not None]
        if not applied:
            return self._start_without_state(partition, bounds, committed), False
        start = min(applied) + 1
        if len(applied) < len(partition.leases):
            start = min(start, self._horizon(partition, bounds, committed))
        if start > bounds.high:
            self._count_gap(partition, 0)
            log.error(
                "partition %d: offset %d is applied but the log ends at %d: it was truncated. Reading on from its end; "
                "check for an unclean leader election",
                partition.number,
                start - 1,
                bounds.high,
            )
            return bounds.high, True
        return self._after_gap(partition, start, bounds), False

    def _start_without_state(self, partition: Partition, bounds: Bounds, committed: int | None) -> int:
        if committed is None:
            return bounds.low if self._settings.start == "earliest" else bounds.high
        if committed == 0:  # nothing was ever read: a partition that was empty has no state to lose
            return self._after_gap(partition, 0, bounds)
        start = self._horizon(partition, bounds, committed)
        self._metrics.rewinds.inc("store_lost")
        log.warning(
            "partition %d: the group was at offset %d but Redis has no state; rebuilding from offset %d, %d s before",
            partition.number,
            committed,
            start,
            self._settings.rebuild_horizon_s,
        )
        if committed < bounds.low:
            return self._after_gap(partition, committed, bounds)
        return start

    def _horizon(self, partition: Partition, bounds: Bounds, committed: int | None) -> int:
        """The offset a horizon before the commit. Records after the commit were never decided, however old they are."""
        now = self._clock.now_ms()
        upto = bounds.high if committed is None else min(committed, bounds.high)
        at = now if upto >= bounds.high else self._time_of(partition.number, upto, now)
        offset = self._consumer.offset_at(partition.number, max(at - self._settings.rebuild_horizon_s * 1000, 0))
        return max(upto if offset is None else min(offset, upto), bounds.low)

    def _time_of(self, number: int, offset: int, now_ms: int) -> int:
        """Epoch ms, to a second, before which Kafka has only records before the offset; asks some dozen times."""

        def before(at_ms: int) -> bool:
            found = self._consumer.offset_at(number, at_ms)
            return found is not None and found < offset

        back = 1_000
        while back < now_ms and not before(now_ms - back):
            back *= 2
        early, late = max(now_ms - back, 0), now_ms - back // 2
        while late - early > TIME_STEP_MS:
            middle = (early + late) // 2
            early, late = (middle, late) if before(middle) else (early, middle)
        return early

    def _after_gap(self, partition: Partition, wanted: int, bounds: Bounds) -> int:
        if wanted >= bounds.low:
            return wanted
        self._count_gap(partition, bounds.low - wanted)
        log.error(
            "partition %d: offset %d is wanted, the log begins at %d: up to %d events are lost. Retention is shorter "
            "than the outage; raise retention.ms",
            partition.number,
            wanted,
            bounds.low,
            bounds.low - wanted,
        )
        return bounds.low

    def _count_gap(self, partition: Partition, lost: int) -> None:
        self._metrics.log_gaps.inc()
        self._metrics.lost_offsets.inc(by=float(lost))
