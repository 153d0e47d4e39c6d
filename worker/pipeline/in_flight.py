"""Batches between their poll and their answer from Redis, at most three: one in each of the places below."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from decisions.effects import Result
from decisions.intake import Plan
from decisions.loading import Loading
from decisions.overlay import Overlay
from featurestore.store.outbox import Output
from featurestore.store.protocols import ShardWrite, WriteResult
from featurestore.store.refusals import Note
from worker.partitions.partition import Partition
from worker.protocols import Stopwatch

OVERTAKEN: Final = 2
"""How many writes a question to Redis may have overtaken: the one under way, and one that had to be sent again."""

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
        refused: partition → what is to be noted of its refused records.
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
    watch: Stopwatch
    dead: int
    loading: Loading | None
    refused: dict[int, Note] = field(default_factory=dict)
    result: Result | None = None
    writes: list[Written] = field(default_factory=list)
    answer: Callable[[], list[WriteResult]] | None = None
    written_ms: int = 0

    @property
    def timers(self) -> bool:
        """Whether only time passes in it."""
        return not self.done


class InFlight:
    """Where batches stand: prepared, then sent, then written. Each place holds one.

    Attributes:
        overlays: by the writes that a question under way may not have seen, oldest first.
    """

    def __init__(self) -> None:
        self._prepared: Batch | None = None
        self._sent: Batch | None = None
        self._written: Batch | None = None
        self.overlays: deque[Overlay] = deque(maxlen=OVERTAKEN)

    @property
    def prepared(self) -> Batch | None:
        """Planned; its sessions are being loaded."""
        return self._prepared

    @property
    def sent(self) -> Batch | None:
        """Decided; its write is under way."""
        return self._sent

    @property
    def busy(self) -> bool:
        """Whether Redis has a question or a write."""
        return self._prepared is not None or self._sent is not None

    @property
    def timers(self) -> bool:
        """Whether a batch in which only time passes is under way."""
        return any(batch is not None and batch.timers for batch in (self._prepared, self._sent))

    def prepare(self, batch: Batch | None) -> Batch | None:
        """Put a batch, or none, in the place of the prepared one; that one is to be completed."""
        before, self._prepared = self._prepared, batch
        return before

    def send(self, batch: Batch) -> None:
        """A write is under way."""
        self._sent = batch

    def take_sent(self) -> Batch | None:
        """The batch whose answer is to be read, if there is one."""
        batch, self._sent = self._sent, None
        return batch

    def written(self, batch: Batch) -> None:
        """A batch is applied."""
        self._written = batch

    def take_written(self) -> Batch | None:
        """The batch that is to be published, if there is one."""
        batch, self._written = self._written, None
        return batch
