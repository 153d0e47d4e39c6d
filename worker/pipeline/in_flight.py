"""A batch between its poll and its answer from Redis."""

from collections.abc import Callable
from dataclasses import dataclass, field

from decisions.effects import Result
from decisions.intake import Plan
from decisions.loading import Loading
from featurestore.store.outbox import Output
from featurestore.store.protocols import ShardWrite, WriteResult
from worker.partitions.partition import Partition
from worker.pipeline.observe import Watch

Written = tuple[ShardWrite, list[Output]]
"""A write, and what is produced once it is applied."""


@dataclass(slots=True, eq=False)
class Batch:
    """A batch in flight.

    Attributes:
        plan: its events and sessions.
        partitions: its partitions by number.
        done: partition → offset of its last record; empty where only time passes.
        read: events among its records.
        bad: records that were none.
        watch: its stopwatch.
        dead: what `Outputs.acknowledged` must reach for its dead letters to be safe; 0 without any.
        loading: of its sessions and profiles, until it is decided.
        result: what it changed, once decided.
        writes: what was sent; once it is answered, what of it is applied.
        answer: reads what became of them.
        written_ms: when they were known to be applied, epoch ms.
    """

    plan: Plan
    partitions: dict[int, Partition]
    done: dict[int, int]
    read: int
    bad: int
    watch: Watch
    dead: int
    loading: Loading | None
    result: Result | None = None
    writes: list[Written] = field(default_factory=list)
    answer: Callable[[], list[WriteResult]] | None = None
    written_ms: int = 0

    @property
    def timers(self) -> bool:
        """Whether only time passes in it."""
        return not self.done
