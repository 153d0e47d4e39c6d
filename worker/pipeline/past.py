"""Where a log of the past has to be cut: before a visitor's next visit, so that the visit before it has ended by then.

`decisions.log_pass` does the same with a file.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from decisions.intake import Decoded, Records
from featurestore.store.expiry_buckets import EXPIRY_BUCKET_MS
from featurestore.store.keys import Shard
from worker.kafka.source import Polled
from worker.kafka.time_order import TimeOrdered

FEW = 10_000
"""Visits that are kept in memory before those that have ended are looked for."""


class Past:
    """Knows visitors' open visits (one may have several), and holds back what has to wait for their ends.

    Args:
        consumer: gives the partitions in step.
        gap_ms: a session without a record for so long has ended.
    """

    def __init__(self, consumer: TimeOrdered, gap_ms: int) -> None:
        self._consumer = consumer
        self._gap_ms = gap_ms
        self._visits: dict[int, dict[int, tuple[int, int]]] = {}
        """Of a visitor's visits, by the session's hash: the newest arrival, and the partition."""
        self._passed: dict[int, int] = {}
        """Of a partition: sessions that ended before have been ended there, epoch ms."""
        self._done_ms = -1
        self._look_at = FEW

    def passed(self, queries: Iterable[tuple[Shard, int]]) -> None:
        """Deadlines of these shards are fired up to these times."""
        for shard, now_ms in queries:
            whole = now_ms // EXPIRY_BUCKET_MS * EXPIRY_BUCKET_MS
            self._passed[shard.partition] = max(self._passed.get(shard.partition, -1), whole)

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
        at_ms = int(_arrivals(decoded)[event])
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
        arrivals = _arrivals(decoded)
        named = named[np.argsort(arrivals[named], kind="stable")]
        visits, gap_ms = self._visits, self._gap_ms
        partitions = np.repeat([p for p, _, _ in decoded.parts], [end - first for _, first, end in decoded.parts])
        looked_at = _telling(named, decoded, arrivals, gap_ms)
        for event, visitor, session, at_ms, partition in zip(
            looked_at.tolist(),
            decoded.rows["visitor"][looked_at].tolist(),
            decoded.hashes[looked_at].tolist(),
            arrivals[looked_at].tolist(),
            partitions[looked_at].tolist(),
            strict=True,
        ):
            known = visits.setdefault(visitor, {})
            for other, (newest_ms, where) in known.items():
                end_ms = newest_ms + gap_ms
                if other != session and end_ms <= at_ms and self._is_open(where, end_ms):
                    return int(event)
            if session not in known or known[session][0] < at_ms:
                known[session] = at_ms, partition
        self._forget_ended()
        return None

    def _is_open(self, partition: int, end_ms: int) -> bool:
        return end_ms > self._done_ms and end_ms >= self._passed.get(partition, -1)

    def _forget_ended(self) -> None:
        if len(self._visits) < self._look_at:
            return
        gap_ms = self._gap_ms
        for visitor, known in list(self._visits.items()):
            still = {one: (at, where) for one, (at, where) in known.items() if self._is_open(where, at + gap_ms)}
            self._visits[visitor] = still
            if not still:
                del self._visits[visitor]
        self._look_at = max(FEW, 2 * len(self._visits))


def _arrivals(decoded: Decoded) -> NDArray[np.int64]:
    rows = decoded.rows
    arrivals: NDArray[np.int64] = np.where(rows["arrival"] != 0, rows["arrival"], rows["t"])
    return arrivals


def _telling(named: NDArray[np.intp], decoded: Decoded, arrivals: NDArray[np.int64], gap_ms: int) -> NDArray[np.intp]:
    """Those of ``named``, in order of time, that tell something: in a short time, each visit's first and last."""
    if arrivals[named[-1]] - arrivals[named[0]] > gap_ms:
        return named
    visit = decoded.rows["visitor"][named].astype(np.uint64) ^ decoded.hashes[named]
    _, first, where = np.unique(visit, return_index=True, return_inverse=True)
    last = np.zeros(first.size, np.intp)
    last[where] = np.arange(named.size)
    telling: NDArray[np.intp] = named[np.union1d(first, last)]
    return telling
