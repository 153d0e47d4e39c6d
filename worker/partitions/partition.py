"""What a worker knows of one partition while it owns it; its fields change by named transitions only."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import takewhile
from typing import Final

from featurestore.store.keys import Shard
from featurestore.store.protocols import Lease, ShardWrite
from featurestore.store.refusals import Refused
from featurestore.store.set_aside import SetAside
from worker.partitions.refusals import Refusals

MOST_ENDS: Final = 512
"""Ends of the log that are kept until they are read: two minutes of lag, with a question every quarter second."""


MOST_ENDING: Final = 8_000
"""Sessions that one owner puts into the list of one expiry bucket. Whoever reads a list reads all of it, in one turn of
the loop: what does not fit goes into the next list, so that those ends come two seconds later."""


class Status(Enum):
    """Where a partition stands."""

    WAITING = "waiting"  # assigned; its lease is to be taken at `retry_at`
    RUNNING = "running"


@dataclass(slots=True, eq=False)
class Partition:
    """One assignment of one partition; a second assignment is a second object.

    Attributes:
        number: Kafka's.
        shards: one, or on Redis Cluster one a bucket.
        leases: of the shards, in the same order; the applied offset in each is the one last seen stored.
        outboxes: of each shard, oldest first: what `Outputs.acknowledged` must reach for an outbox to be acknowledged.
        unread: of each shard, outboxes that could not be read: its next write sets them aside.
        next_offset: offset of the next record to read.
        done: offset of the last record applied (or dead-lettered); what idle shards are moved up to.
        watermark: newest record time seen in this assignment, epoch ms; None before the first event.
        at_end: the partition's end was reached since reading last started.
        ended_at: the offset there; records that no consumer gets (transaction markers) may lie before it.
        high: one past the last offset that Kafka was known to hold.
        own_epoch: number of the last epoch taken for it, 0 for none.
        retry_at: monotonic time of the next attempt to take the lease.
        cause: why, for the metric.
        checked_at: of each shard, monotonic time of its last successful fenced call.
        ends_told: what Kafka said of its end, oldest first: epoch ms of the question, and the offset, not yet read.
        proven_ms: everything that Kafka got before this epoch ms is read; None while nothing is proven.
        read_at: monotonic time at which the end was last known to be read, or the position last moved.
        replaced: how often a newer owner wrote it since the group gave it to this worker.
        asked_bucket: expiry buckets before this one may have been read, and their lists may be deleted at any moment:
            nothing is put into them any more.
        ending: of each shard, how many sessions this owner has put into each expiry bucket that is still to be read.
        refusals: counts its records that are no events; made anew with each lease.
        held: nothing more of it is read until an operator lets it pass.
        ignore_applied: the log was truncated: offsets up to the applied one come again with new content.
    """

    number: int
    shards: list[Shard]
    status: Status = Status.WAITING
    leases: list[Lease] = field(default_factory=list)
    outboxes: list[deque[int]] = field(default_factory=list)
    unread: list[list[SetAside]] = field(default_factory=list)
    next_offset: int = 0
    done: int = -1
    watermark: int | None = None
    at_end: bool = False
    ended_at: int = 0
    high: int = 0
    retry_at: float = 0.0
    cause: str = "assigned"
    checked_at: list[float] = field(default_factory=list)
    ends_told: deque[tuple[int, int]] = field(default_factory=deque)
    proven_ms: int | None = None
    read_at: float = float("-inf")
    own_epoch: int = 0
    asked_bucket: int = 0
    replaced: int = 0
    ignore_applied: bool = False
    ending: list[dict[int, int]] = field(default_factory=list)
    refusals: Refusals = field(default_factory=lambda: Refusals(1.0, 1 << 62, Refused(None, 0)))
    held: bool = False

    def __post_init__(self) -> None:
        self.ending = [{} for _ in self.shards]

    @property
    def running(self) -> bool:
        """Whether its events may be applied."""
        return self.status is Status.RUNNING

    @property
    def read_to(self) -> int:
        """Everything before this offset has been read."""
        return max(self.next_offset, self.ended_at)

    @property
    def lag(self) -> int:
        """Records that Kafka is known to hold and that are not read yet."""
        return max(self.high - self.read_to, 0)

    def lease(self, shard: Shard) -> Lease:
        """The lease of one of its shards."""
        return self.leases[shard.bucket]

    def unchecked(self, since: float) -> list[Shard]:
        """The shards without a successful fenced call since then."""
        return [shard for shard, at in zip(self.shards, self.checked_at, strict=True) if at <= since]

    def acknowledged_outboxes(self, shard: Shard, acknowledged: int) -> int:
        """How many of the shard's oldest outboxes Kafka has acknowledged."""
        return sum(1 for _ in takewhile(acknowledged.__ge__, self.outboxes[shard.bucket]))

    def floor(self, shard: Shard) -> int:
        """Events of the shard at or below this offset are applied already."""
        applied = self.leases[shard.bucket].applied
        return -1 if applied is None or self.ignore_applied else applied

    # -- transitions -----------------------------------------------------------------------------

    def leased(self, leases: list[Lease]) -> None:
        """The store gave the leases."""
        self.leases = leases
        self.unread = [[] for _ in leases]
        self.own_epoch = max(self.own_epoch, *(lease.number for lease in leases))

    def left_behind(self, outboxes: list[deque[int]]) -> None:
        """The last owner's outboxes were given to the producer; as the attribute."""
        self.outboxes = outboxes

    def could_not_read(self, bucket: int, record: SetAside) -> None:
        """The last owner left an outbox in this bucket that cannot be read."""
        self.unread[bucket].append(record)

    def runs(self, offset: int, high: int, now: float, *, ignore_applied: bool) -> None:
        """Reading starts at ``offset`` of a log that ends at ``high``."""
        self.next_offset = offset
        self.done = offset - 1
        self.ended_at = 0
        self.at_end = False
        self.watermark = None
        self.high = high
        self.ignore_applied = ignore_applied
        self.status = Status.RUNNING
        self.ends_told = deque()
        self.proven_ms = None
        self.read_at = now
        self.checked_at = [now] * len(self.shards)

    def waits(self, cause: str, until: float) -> None:
        """Nothing is applied; the lease is to be taken again at the monotonic time ``until``."""
        self.cause = cause
        self.status = Status.WAITING
        self.held = False
        self.at_end = False
        self.watermark = None
        self.ends_told = deque()
        self.proven_ms = None
        self.retry_at = until

    def refuses(self, refusals: Refusals) -> None:
        """What the last owner counted of its records that are no events."""
        self.refusals = refusals

    def is_replaced(self) -> None:
        """A newer owner wrote it."""
        self.replaced += 1

    def is_held(self) -> None:
        """Too much of it was refused: nothing more is read."""
        self.held = True
        self.at_end = False

    def is_released(self) -> None:
        """It is read on from where reading stopped."""
        self.held = False

    def retries(self, at: float) -> None:
        """The lease could not be taken: again at this monotonic time."""
        self.retry_at = at

    def read(self, last: int, now: float) -> int:
        """Records up to the offset ``last`` were read; the offset that was to be read next before."""
        before = self.next_offset
        self.next_offset = max(before, last + 1)
        if last >= before:
            self.read_at = now
        self._prove()
        return before

    def waits_its_turn(self, now: float) -> None:
        """Its next records are here, and wait for those of other partitions."""
        self.read_at = now

    def reads_again(self) -> None:
        """Reading went on after a pause: the end has to be reached anew."""
        self.at_end = False

    def ends_at(self, offset: int) -> None:
        """The end was reached there."""
        self.at_end = True
        self.ended_at = offset
        self._prove()

    def grows_to(self, high: int) -> None:
        """Kafka holds records up to ``high``, or what was read shows more."""
        self.high = max(high, self.read_to if self.at_end else 0)

    def written(self, write: ShardWrite, now: float) -> None:
        """A write of this lease is applied."""
        bucket = write.shard.bucket
        self.checked_at[bucket] = now
        self.leases[bucket] = Lease(self.leases[bucket].epoch, write.applied)
        if write.set_aside:
            self.unread[bucket] = []
        for _ in range(write.acknowledged):
            self.outboxes[bucket].popleft()

    def produced(self, shard: Shard, given: int) -> None:
        """The outbox of the shard's last write was given to the producer."""
        self.outboxes[shard.bucket].append(given)

    def applied_to(self, offset: int) -> None:
        """The batch that ends at this offset is applied."""
        self.done = offset

    def advances(self, record_ms: int) -> None:
        """A record of that time was applied."""
        self.watermark = record_ms if self.watermark is None else max(self.watermark, record_ms)

    def asked(self, bucket: int) -> None:
        """The lists of expiry buckets before this one may be read from now on."""
        if bucket > self.asked_bucket:
            self.asked_bucket = bucket
            self.ending = [{b: n for b, n in counts.items() if b >= bucket} for counts in self.ending]

    def puts(self, shard: Shard, wanted: Sequence[int]) -> list[int]:
        """The expiry buckets that sessions go into: those wanted, or later ones with room that are not being read."""
        counts, first = self.ending[shard.bucket], self.asked_bucket
        places = []
        for bucket in wanted:
            place = max(bucket, first)
            while (there := counts.get(place, 0)) >= MOST_ENDING:
                place += 1
            counts[place] = there + 1
            places.append(place)
        return places

    def told(self, high: int, at: float, wall_ms: int | None) -> None:
        """Kafka said that its log ends at ``high``.

        Args:
            high: one past the last offset.
            at: monotonic time of the question.
            wall_ms: the same in epoch ms, None where the answer proves no silence.
        """
        self.high = max(self.high, high)
        if high <= self.read_to:
            self.read_at = max(self.read_at, at)
        if wall_ms is not None:
            if len(self.ends_told) >= MOST_ENDS:
                self.ends_told = deque(list(self.ends_told)[::2])  # coarser steps; the newest proof comes last
            self.ends_told.append((wall_ms, high))
            self._prove()

    def _prove(self) -> None:
        while self.ends_told and self.ends_told[0][1] <= self.read_to:
            self.proven_ms = self.ends_told.popleft()[0]
