"""Which sessions are silent: their deadlines have passed, and Kafka has said that no click of theirs is left to read.

Nothing here waits. Redis is asked for deadlines; whoever asks looks for the answer a turn later. What is not proven yet
is not asked for (`timers.timer_now`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from featurestore.errors import StoreUnavailable
from featurestore.store.expiry_buckets import expiry_bucket
from featurestore.store.keys import Shard
from featurestore.store.protocols import Due, SessionStore
from worker.clock import Clock
from worker.partitions.ownership import Ownership
from worker.partitions.partition import Partition
from worker.pipeline.timers import DUE_LIMIT, timer_now

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
    """

    def __init__(self, mode: str, store: SessionStore, ownership: Ownership, clock: Clock) -> None:
        self._mode = mode
        self._store = store
        self._own = ownership
        self._clock = clock

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
        """Those of the found sessions whose partition is still ours."""
        return [
            (shard, due, now)
            for (shard, now), due in zip(question.queries, found, strict=True)
            if due and self._own.current(question.partitions[shard.partition])
        ]
