"""Records in, a plan out: which records are events, which sessions a batch touches. Pure; the first half of `core`."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.column import Texts
from featurestore.columns.hash_join import group
from featurestore.columns.hashing import hash64
from featurestore.columns.jit import compiled
from featurestore.contract.decode import read
from featurestore.contract.event import columns
from featurestore.contract.ids import IdKey
from featurestore.contract.pages import USUAL, Pages
from featurestore.contract.scan import scan
from featurestore.errors import InvalidEvent
from featurestore.session.fold import ticks
from featurestore.store.keys import Shard
from featurestore.store.protocols import Due

AS_SENT = IdKey.of("")
"""Ids stay as they are."""
AHEAD_MS: Final = 3_600_000
"""A record further ahead of the reader's clock has no time: Kafka itself takes an hour at most by default."""

UNREADABLE: Final = b"a batch that the Kafka client could not unpack"
"""Stands for the value of a record that could not be read; this object, not one of the same bytes."""
CANNOT_READ: Final = (
    "unreadable",
    "the Kafka client cannot unpack the batch that ends at this offset: it is damaged, or unpacks to more than 100 MB",
)
"""Reason and detail of its dead letter."""


class Records(NamedTuple):
    """The records of one partition, in log order."""

    partition: int
    values: list[bytes | None]
    offsets: list[int] | range
    record_ms: list[int]

    def first(self, n: int) -> "Records":
        """The first ``n`` of them."""
        return Records(self.partition, self.values[:n], self.offsets[:n], self.record_ms[:n])


class Decoded(NamedTuple):
    """The events of some partitions, one partition after the other, in log order.

    Attributes:
        parts: partition, its first event, and one past its last.
        rows: `EVENT` without ``session_index``, shape (n,).
        sessions: their ids, shape (n,).
        hashes: of the ids, shape (n,).
        record_ms: time of each event's record, -1 for none.
        bad: partition → (index in its records, why), in log order; partitions without any are left out.
        problems: how many fields were repaired, lost or ignored, by field and entry of `decode.OUTCOMES`.
    """

    parts: list[tuple[int, int, int]]
    rows: NDArray[np.void]
    sessions: Texts
    hashes: NDArray[np.uint64]
    record_ms: NDArray[np.int64]
    bad: dict[int, list[tuple[int, InvalidEvent]]]
    problems: Mapping[tuple[str, str], int] = MappingProxyType({})

    def kept(self, mask: NDArray[np.bool_]) -> "Decoded":
        """Those events alone."""
        before = np.zeros(mask.size + 1, np.int64)
        np.cumsum(mask, out=before[1:])
        parts = [(partition, int(before[first]), int(before[end])) for partition, first, end in self.parts]
        rows = np.flatnonzero(mask)
        return self._replace(
            parts=parts,
            rows=self.rows[rows],
            sessions=self.sessions.take(rows),
            hashes=self.hashes[rows],
            record_ms=self.record_ms[rows],
        )


@dataclass(slots=True)
class Plan:
    """Which sessions a batch touches.

    Attributes:
        sessions: id by index; those of a shard are contiguous.
        hashes: of the ids.
        spans: shard, first index, end index.
        events: rows of `EVENT`, ``session_index`` filled in.
        record_ms: time of each event's record, for latency.
        passed: for each span, the expiry buckets that are looked at for the last time.
        begun: for each span, a bucket of which only the first sessions are looked at, and how many; None for none.
    """

    sessions: Texts
    hashes: NDArray[np.uint64]
    spans: list[tuple[Shard, int, int]]
    events: NDArray[np.void]
    record_ms: NDArray[np.int64]
    passed: list[list[int]]
    begun: list[tuple[int, int] | None]

    @property
    def empty(self) -> bool:
        """Whether it changes nothing."""
        return not self.events.size and not any(self.passed)

    def newest(self) -> list[int]:
        """For each span the time of its newest record, epoch ms; -1 where it brought no event.

        The record's time, not the event's: one browser with a fast clock must not age everybody's silence. What a
        record does not say is taken from the event.
        """
        ends = np.array([end for *_, end in self.spans], np.int64)
        newest: list[int] = _newest(self.events["session_index"], self.record_ms, self.events["t"], ends).tolist()
        return newest

    def requests(self) -> list[tuple[Shard, Texts]]:
        """What to load."""
        return [(shard, self.sessions.take(slice(first, end))) for shard, first, end in self.spans]


def arrived_by(decoded: Decoded, now_ms: int) -> None:
    """No event arrived later than now: neither by the ``ts`` of one whose record has no time, nor by an absurd record.

    Otherwise whoever sets ``ts`` would set how long the session lives. Changes the events in place.

    Args:
        decoded: events.
        now_ms: the reader's clock, epoch ms.
    """
    arrival = decoded.rows["arrival"]
    absurd = np.where(arrival == 0, decoded.rows["t"] > now_ms, arrival > now_ms + AHEAD_MS)
    if absurd.any():
        arrival[absurd] = now_ms
        decoded.record_ms[absurd] = now_ms


def arrivals(rows: NDArray[np.void]) -> NDArray[np.int64]:
    """When events arrived, epoch ms, shape (n,): by their records, or, where these have no time, when they happened.

    What `featurestore.session.clock.arrival_of` says of one event.
    """
    found: NDArray[np.int64] = np.where(rows["arrival"] != 0, rows["arrival"], rows["t"])
    return found


def decode(records: Sequence[Records], ids: IdKey = AS_SENT, pages: Pages = USUAL) -> Decoded:
    """Decode records. One that is not a valid event is set aside with its reason; a tombstone (no value) is skipped.

    Args:
        records: of some partitions, none of them empty.
        ids: replaces session and visitor ids before anything else sees them.
        pages: when two addresses are one page.
    """
    values = records[0].values if len(records) == 1 else list(chain.from_iterable(part.values for part in records))
    n = len(values)
    offsets = np.concatenate([_numbers(part.offsets) for part in records])
    record_ms = np.fromiter(chain.from_iterable(part.record_ms for part in records), np.int64, n)
    filled = values if None not in values else [value or b"" for value in values]
    ends = np.fromiter(map(len, filled), np.int64, n).cumsum()  # type: ignore[arg-type] # none is None
    raw = b"".join(filled)  # type: ignore[arg-type]
    made = scan(raw, ends, record_ms, pages)
    parts, first = [], 0
    for part in records:
        parts.append((part.partition, first, first + len(part.values)))
        first += len(part.values)
    left = (~made.read).nonzero()[0] if not ids else np.arange(n)
    made.rows["offset"] = offsets
    decoded = Decoded(parts, made.rows, Texts(raw, made.starts, made.ends), made.hashes, record_ms, {})
    return _one_by_one(decoded, values, left, ids, pages) if left.size else decoded


def _numbers(offsets: list[int] | range) -> NDArray[np.int64]:
    if isinstance(offsets, range):
        return np.arange(offsets.start, offsets.stop, offsets.step)
    return np.array(offsets, np.int64)


def _one_by_one(
    decoded: Decoded, values: Sequence[bytes | None], left: NDArray[np.int64], ids: IdKey, pages: Pages
) -> Decoded:
    """With the values that the fast reader left, or whose ids are replaced, by the contract's own decoder."""
    parts, rows, sessions, hashes, record_ms, bad, _ = decoded
    found: Counter[tuple[str, str]] = Counter()
    starts = [first for _, first, _ in parts]
    good, events = [], []
    for i in left.tolist():
        value = values[i]
        if value is None:  # a tombstone is no poison: compaction's business, not ours
            continue
        try:
            if value is UNREADABLE:
                raise InvalidEvent(*CANNOT_READ)
            event, problems = read(value)
        except InvalidEvent as error:
            partition, first, _ = parts[int(np.searchsorted(starts, i, side="right")) - 1]
            bad.setdefault(partition, []).append((i - first, error.kept()))
        else:
            found.update(problems)
            ids.apply(event)
            good.append(i)
            events.append(event)
    names = [event.session_id.encode("utf-8", "surrogatepass") for event in events]
    ends = len(sessions.raw) + np.cumsum([len(name) for name in names], dtype=np.int64)
    sessions = Texts(b"".join((sessions.raw, *names)), sessions.starts, sessions.ends)
    at = np.array(good, np.int64)
    sessions.ends[at] = ends
    sessions.starts[at] = ends - np.array([len(name) for name in names], np.int64)
    hashes[at] = hash64([event.session_id for event in events])
    rows[at] = columns(events, [0] * len(events), rows["offset"][at].tolist(), record_ms[at].tolist(), pages)
    kept = np.ones(rows.size, np.bool_)
    kept[left] = False
    kept[at] = True
    made = decoded._replace(sessions=sessions, problems=found)
    return made if len(good) == left.size else made.kept(kept)


def plan(decoded: Decoded, buckets: int, floor: Callable[[Shard], int]) -> Plan:
    """Give every session of the batch an index; leave out events at or below the shard's applied offset."""
    rows = decoded.rows
    parts = np.array([part[1:] for part in decoded.parts], np.int64).reshape(-1, 2)
    indices, chosen, edges = group(decoded.hashes, decoded.sessions, parts)
    spans = [
        (Shard(partition), first, end)
        for (partition, *_), (first, end) in zip(decoded.parts, pairwise([0, *edges.tolist()]), strict=True)
        if first < end
    ]
    count = chosen.size
    if buckets > 1 and count:
        chosen, spans = _by_bucket(chosen, decoded.hashes[chosen], spans, indices, buckets)
    rows["session_index"] = indices
    applied = np.empty(count, np.int64)
    for shard, first, end in spans:
        applied[first:end] = floor(shard)
    record_ms = decoded.record_ms
    fresh = rows["offset"] > applied[indices]
    if not fresh.all():
        rows, record_ms = rows[fresh], record_ms[fresh]
    passed: list[list[int]] = [[] for _ in spans]
    return Plan(
        decoded.sessions.take(chosen), decoded.hashes[chosen], spans, rows, record_ms, passed, [None] * len(spans)
    )


def plan_ticks(found: Sequence[tuple[Shard, Due, int]]) -> Plan:
    """A plan in which only time passes: (shard, what has fallen due, epoch ms)."""
    sessions: list[str] = []
    spans = []
    rows = []
    for shard, due, t in found:
        first = len(sessions)
        sessions += dict.fromkeys(due.sessions)
        spans.append((shard, first, len(sessions)))
        rows.append(ticks(list(range(first, len(sessions))), t))
    events = np.concatenate(rows)
    return Plan(
        Texts.of(sessions),
        hash64(sessions),
        spans,
        events,
        np.full(events.size, -1, np.int64),
        [due.passed for _, due, _ in found],
        [due.begun for _, due, _ in found],
    )


def _by_bucket(
    chosen: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    spans: Sequence[tuple[Shard, int, int]],
    indices: NDArray[np.int32],
    buckets: int,
) -> tuple[NDArray[np.int64], list[tuple[Shard, int, int]]]:
    """The sessions in the order of their buckets within each partition, and a span for each bucket that has some."""
    order = []
    finer = []
    for shard, first, end in spans:
        bucket = (hashes[first:end] % np.uint64(buckets)).astype(np.int64)
        order.append(first + np.argsort(bucket, kind="stable"))
        counts = np.bincount(bucket, minlength=buckets)
        ends = first + np.cumsum(counts)
        finer += [
            (Shard(shard.partition, b), int(ends[b] - counts[b]), int(ends[b])) for b in np.flatnonzero(counts).tolist()
        ]
    taken = np.concatenate(order)
    place = np.empty(taken.size, np.int32)
    place[taken] = np.arange(taken.size, dtype=np.int32)
    indices[:] = place[indices]
    return chosen[taken], finer


@compiled
def _newest(
    indices: NDArray[np.int32], record_ms: NDArray[np.int64], event_ms: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.int64]:
    written = np.full(ends.size, -1, np.int64)
    happened = np.full(ends.size, -1, np.int64)
    for i in range(indices.size):
        span = np.searchsorted(ends, indices[i], side="right")
        written[span] = max(written[span], record_ms[i])
        happened[span] = max(happened[span], event_ms[i])
    return np.where(written >= 0, written, happened)
