"""A batch between its poll and its answer from Redis, and what the batch after it must know of it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from featurestore.keys import Shard
from featurestore.outbox import Output
from featurestore.sessions import ShardWrite, WriteResult
from worker.batch import Decoded, Plan, Result
from worker.observe import Watch
from worker.partition import Partition


@dataclass(slots=True, eq=False)
class Batch:
    """A batch in hand.

    Attributes:
        plan: its events and sessions.
        parts: each partition with its decoded records.
        partitions: the same partitions by number.
        watch: its stopwatch.
        load: reads the stored sessions asked for.
        result: what it changed, once decided.
        writes: what was sent, with the outputs of each.
        answer: reads what became of them.
    """

    plan: Plan
    parts: list[tuple[Partition, Decoded]]
    partitions: dict[int, Partition]
    watch: Watch
    load: Callable[[], list[list[bytes | None]]] | None
    result: Result | None = None
    writes: list[tuple[ShardWrite, list[Output]]] = field(default_factory=list)
    answer: Callable[[], list[WriteResult]] | None = None

    @property
    def done(self) -> dict[int, int]:
        """Partition → offset of its last record in this batch."""
        return {partition.number: decoded.last for partition, decoded in self.parts}


def overlaid(plan: Plan, loaded: list[list[bytes | None]], earlier: Batch) -> list[list[bytes | None]]:
    """The loaded sessions as the batch before this one left them: they were asked for before it was written."""
    newer: dict[Shard, dict[str, bytes | None]] = {}
    for write, _ in earlier.writes:
        newer[write.shard] = dict(zip(write.sessions, write.blobs, strict=True))
        newer[write.shard].update(dict.fromkeys(write.removed))
    fresh = []
    for (shard, sessions), blobs in zip(plan.requests(), loaded, strict=True):
        known = newer.get(shard)
        fresh.append([known.get(s, blob) for s, blob in zip(sessions, blobs, strict=True)] if known else blobs)
    return fresh
