"""Where a log of the past has to be cut: before a visitor's next visit, so that the visit before it has ended by then.

`decisions.log_pass` does the same with a file.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from decisions.intake import Decoded, Records, arrivals
from featurestore.columns.jit import compiled, inlined
from featurestore.store.expiry_buckets import EXPIRY_BUCKET_MS
from featurestore.store.keys import Shard
from worker.kafka.source import Polled
from worker.kafka.time_order import TimeOrdered

_FEW: Final = 1 << 12
"""Places for visits at first; a power of two."""
_NO_EVENT: Final = -1

_VISIT: Final = np.dtype([("visitor", "<u8"), ("session", "<u8"), ("newest_ms", "<i8"), ("partition", "<i8")])
"""An open visit: hashes of the visitor (0 in a free place) and the session, its newest arrival, where it lies."""


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
        self._gap_ms = gap_ms
        self._visits = np.zeros(_FEW, _VISIT)
        self._held = 0
        self._passed = np.full(0, -1)
        """Of each partition: sessions that ended before have been ended there, epoch ms."""
        self._done_ms = -1
        warm_up()

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
        named = np.flatnonzero(decoded.rows["visitor"])
        if not named.size:
            return None
        self._make_room(named.size)
        self._room_for(max(number for number, _, _ in decoded.parts))
        arrived = arrivals(decoded.rows)
        partitions = np.repeat([p for p, _, _ in decoded.parts], [end - first for _, first, end in decoded.parts])
        event, self._held = _note(
            named[np.argsort(arrived[named], kind="stable")],
            np.ascontiguousarray(decoded.rows["visitor"]),
            decoded.hashes,
            arrived,
            partitions,
            self._visits,
            self._held,
            self._passed,
            self._done_ms,
            self._gap_ms,
        )
        return None if event == _NO_EVENT else int(event)

    def _room_for(self, partition: int) -> None:
        if partition >= self._passed.size:
            self._passed = np.append(self._passed, np.full(partition + 1 - self._passed.size, -1))

    def _make_room(self, more: int) -> None:
        """Half of the places stay free. Visits that have been ended go first."""
        if 2 * (self._held + more) <= self._visits.size:
            return
        known = self._visits[self._visits["visitor"] != 0]
        end_ms = known["newest_ms"] + self._gap_ms
        known = known[(end_ms > self._done_ms) & (end_ms >= self._passed[known["partition"]])]
        self._held = known.size
        self._visits = np.zeros(max(_FEW, 1 << (4 * (known.size + more)).bit_length()), _VISIT)
        _place(known, self._visits)


def warm_up() -> None:
    """Compile, or load from the cache, what `Past` runs."""
    nobody, never, visits = np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(1, _VISIT)
    _note(never, nobody, nobody, never, never, visits, 0, never, -1, 0)
    _place(visits[:0], visits)


@compiled
def _note(
    order: NDArray[np.int64],
    visitors: NDArray[np.uint64],
    sessions: NDArray[np.uint64],
    arrivals: NDArray[np.int64],
    partitions: NDArray[np.int64],
    visits: NDArray[np.void],
    held: int,
    passed: NDArray[np.int64],
    done_ms: int,
    gap_ms: int,
) -> tuple[int, int]:
    """Note events in their ``order`` up to the one that has to wait: that one, or `_NO_EVENT`; and the visits held."""
    for event in order:
        mine = -1
        at = _begin(visits, visitors[event])
        while visits[at]["visitor"] != 0:
            visit = visits[at]
            if visit["visitor"] == visitors[event]:
                end_ms = visit["newest_ms"] + gap_ms
                if visit["session"] == sessions[event]:
                    mine = at
                elif end_ms <= arrivals[event] and end_ms > done_ms and end_ms >= passed[visit["partition"]]:
                    return event, held
            at = at + 1 & visits.size - 1
        if mine < 0:
            mine = at
            held += 1
            visits[at]["visitor"], visits[at]["session"] = visitors[event], sessions[event]
            visits[at]["newest_ms"] = arrivals[event] - 1
        if visits[mine]["newest_ms"] < arrivals[event]:
            visits[mine]["newest_ms"], visits[mine]["partition"] = arrivals[event], partitions[event]
    return _NO_EVENT, held


@compiled
def _place(known: NDArray[np.void], visits: NDArray[np.void]) -> None:
    for i in range(known.size):
        at = _begin(visits, known[i]["visitor"])
        while visits[at]["visitor"] != 0:
            at = at + 1 & visits.size - 1
        visits[at] = known[i]


@inlined
def _begin(visits: NDArray[np.void], visitor: int) -> int:
    """Where the visits of a visitor begin; they lie one behind the other, others between them."""
    return int(np.int64(visitor & np.uint64(visits.size - 1)))
