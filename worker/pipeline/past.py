"""Where a log of the past has to be cut: before a visitor's next visit, so that the one before it has ended by then."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np

from decisions import open_visits
from decisions.intake import Decoded, Records, arrivals
from decisions.open_visits import Clicks, OpenVisits
from featurestore.store.expiry_buckets import EXPIRY_BUCKET_MS
from featurestore.store.keys import Shard
from worker.kafka.polled import Polled
from worker.kafka.time_order import TimeOrdered


class Present:
    """In place of `Past` for timers that go by the wall clock: nothing waits."""

    def passed(self, queries: Iterable[tuple[Shard, int]]) -> None:
        """See `Past`."""

    def all_passed(self, at_ms: int) -> None:
        """See `Past`."""

    def kept(self, polled: Polled, mine: Sequence[Records], decoded: Decoded) -> None:
        """All may be decided now."""


class Past:
    """Knows visitors' open visits (one may have several), and holds back what has to wait for their ends.

    Args:
        consumer: gives the partitions in step.
        gap_ms: a session without a record for so long has ended.
    """

    def __init__(self, consumer: TimeOrdered, gap_ms: int) -> None:
        self._consumer = consumer
        self._visits = OpenVisits(gap_ms)
        self._passed = np.full(0, -1)
        """Of each partition: sessions that ended before have been ended there, epoch ms."""
        self._done_ms = -1
        open_visits.warm_up()

    def passed(self, queries: Iterable[tuple[Shard, int]]) -> None:
        """Deadlines of these shards are fired up to these times."""
        for shard, now_ms in queries:
            self._room_for(shard.partition)
            whole = now_ms // EXPIRY_BUCKET_MS * EXPIRY_BUCKET_MS
            self._passed[shard.partition] = max(self._passed[shard.partition], whole)

    def all_passed(self, at_ms: int) -> None:
        """All that can be done to let time pass up to ``at_ms`` was done."""
        self._done_ms = at_ms

    def kept(self, polled: Polled, mine: Sequence[Records], decoded: Decoded) -> list[Records] | None:
        """What may be decided now; the rest is held back. None where that is all.

        Args:
            polled: by the consumer.
            mine: its records, or those of some partitions.
            decoded: the events in ``mine``.
        """
        event = self._return(decoded)
        if event is None:
            return None
        at_ms = int(arrivals(decoded.rows)[event])
        kept, rest = [], []
        for records, (_, first, end) in zip(mine, decoded.parts, strict=True):
            n = next((i for i, ms in enumerate(records.record_ms) if ms >= at_ms), len(records.record_ms))
            if first <= event < end:
                n = min(n, bisect_left(records.offsets, int(decoded.rows["offset"][event])))
            if n:
                kept.append(records.first(n))
            if n < len(records.offsets):
                last = Records(records.partition, records.values[n:], records.offsets[n:], records.record_ms[n:])
                rest.append((last, polled.messages[records.partition][n:]))
        self._consumer.hold_back(rest, at_ms)
        return kept

    def _return(self, decoded: Decoded) -> int | None:
        """The first event of a visit whose visitor's visit before it is over, and has not been ended.

        Events before it are noted.
        """
        self._room_for(max(number for number, _, _ in decoded.parts))
        arrived = arrivals(decoded.rows)
        partitions = np.repeat([p for p, _, _ in decoded.parts], [end - first for _, first, end in decoded.parts])
        clicks = Clicks(np.ascontiguousarray(decoded.rows["visitor"]), decoded.hashes, arrived, partitions)
        return self._visits.first_return(clicks, np.argsort(arrived, kind="stable"), self._passed, self._done_ms)

    def _room_for(self, partition: int) -> None:
        if partition >= self._passed.size:
            self._passed = np.append(self._passed, np.full(partition + 1 - self._passed.size, -1))
