"""Which sessions are silent: their deadlines have passed, and Kafka has said that no click of theirs is left to read.

Nothing here waits. Redis is asked for deadlines; whoever asks looks for the answer a turn later. What is not proven yet
is not asked for (`timers.timer_now`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from featurestore.errors import StoreUnavailable
from featurestore.store.expiry_buckets import expiry_bucket
from featurestore.store.keys import Shard
from featurestore.store.protocols import Due, SessionStore
from worker.clock import Clock
from worker.partitions.ownership import Ownership
from worker.partitions.partition import Partition
from worker.pipeline.timers import DUE_LIMIT, timer_now

MOST_A_TURN: Final = 8_000
"""Sessions that fall silent or end in one turn, for which a fresh click waits: what a few shards answer."""

Fallen = tuple[Shard, Due, int]
"""A shard, what has fallen due in it, and the time up to which deadlines were looked for."""


@dataclass(slots=True)
class Question:
    """Deadlines asked for.

    Attributes:
        queries: shard and epoch ms up to which its deadlines count.
        partitions: those of the shards, by number.
        answer: reads what was sent at once; None if it could not be sent.
    """

    queries: list[tuple[Shard, int]]
    partitions: dict[int, Partition]
    answer: Callable[[], list[Due]] | None


class Silence:
    """Finds silent sessions of the partitions that run.

    Args:
        mode: the setting ``timers``.
        store: Redis.
        ownership: the partitions.
        clock: time.

    Attributes:
        more: the last answer had more than one turn takes, or may have.
    """

    def __init__(self, mode: str, store: SessionStore, ownership: Ownership, clock: Clock) -> None:
        self._mode = mode
        self._store = store
        self._own = ownership
        self._clock = clock
        self._first = 0  # the shard whose turn it is to be looked at first
        self.more = False

    def ask(self) -> Question | None:
        """Ask Redis for deadlines that have passed, each partition by its own time; None where none has a time."""
        wall = self._clock.now_ms()
        times = {p: timer_now(p, wall, self._mode) for p in self._own.running()}
        queries = [(shard, now) for p, now in times.items() if now is not None for shard in p.shards]
        if not queries:
            return None
        for partition, now in times.items():
            if now is not None:
                partition.asked(expiry_bucket(now))
        try:
            answer = self._store.begin_due(queries, DUE_LIMIT)
        except StoreUnavailable:
            answer = None
        return Question(queries, {p.number: p for p in times}, answer)

    def due(self, question: Question, found: list[Due]) -> list[Fallen]:
        """The found sessions of partitions that we still own, as many as one turn takes; the others stay due."""
        fallen: list[Fallen] = []
        taken = 0
        self.more = False
        count = len(question.queries)
        for place in range(self._first, self._first + count):
            (shard, now), due = question.queries[place % count], found[place % count]
            if not due or not self._own.current(question.partitions[shard.partition]):
                continue
            if fallen and taken + len(due.sessions) > MOST_A_TURN:
                self._first, self.more = place % count, True
                break
            fallen.append((shard, due, now))
            taken += len(due.sessions)
            self.more |= due.begun is not None or len(due.sessions) >= DUE_LIMIT
        return fallen
