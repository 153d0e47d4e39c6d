"""A batch between its poll and its answer from Redis."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from decisions.core import Result
from decisions.intake import Plan
from featurestore.store.outbox import Output
from featurestore.store.protocols import ShardWrite, WriteResult
from worker.partitions.partition import Partition
from worker.pipeline.observe import Watch

Written = tuple[ShardWrite, list[Output]]
"""A write, and what is produced once it is applied."""


@dataclass(slots=True)
class Opened:
    """The stored sessions of a batch, and the profiles it needs.

    Attributes:
        states: rows, one a session.
        memory: rows, one a session.
        wanted: events whose visitor's profile is needed.
        keys: of the profiles.
        profiles: reads them; None if they could not be asked for.
    """

    states: NDArray[np.void]
    memory: NDArray[np.void]
    wanted: NDArray[np.int64]
    keys: list[str]
    profiles: Callable[[], list[bytes | None]] | None


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
        load: reads the stored sessions asked for.
        opened: what was stored.
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
    load: Callable[[], list[list[bytes | None]]] | None
    opened: Opened | None = None
    result: Result | None = None
    writes: list[Written] = field(default_factory=list)
    answer: Callable[[], list[WriteResult]] | None = None
    written_ms: int = 0

    @property
    def timers(self) -> bool:
        """Whether only time passes in it."""
        return not self.done
