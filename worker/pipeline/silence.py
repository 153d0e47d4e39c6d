"""Which sessions are silent: their deadlines have passed, and Kafka has said that no click of theirs is left to read.

Nothing here waits. Redis is asked for deadlines and Kafka for the end of its log; who asks looks for the answers a turn
later. What is not proven yet stays due.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaException

from featurestore.errors import StoreUnavailable
from featurestore.store.expiry_buckets import expiry_bucket
from featurestore.store.keys import Shard
from featurestore.store.protocols import Due, SessionStore
from worker.clock import Clock
from worker.kafka.source import Bounds
from worker.partitions.ownership import Ownership
from worker.partitions.partition import Partition
from worker.pipeline.timers import DUE_LIMIT, timer_now
from worker.protocols import Consumer

HEARD_FOR_S: Final = 1.0
"""How long Kafka's word that a partition has been read to its end is good for timers."""
RETRY_S: Final = 2.0
"""Kafka did not answer: ask again after this."""

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
        consumer: Kafka.
        store: Redis.
        ownership: the partitions.
        clock: time.
    """

    def __init__(self, mode: str, consumer: Consumer, store: SessionStore, ownership: Ownership, clock: Clock) -> None:
        self._mode = mode
        self._consumer = consumer
        self._store = store
        self._own = ownership
        self._clock = clock
        self._ends: tuple[float, dict[int, Partition], Future[dict[int, Bounds]]] | None = None
        self._not_before = 0.0

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
        """Those of the found sessions that are silent for sure; Kafka is asked about the others."""
        self.listen()
        fallen: list[Fallen] = []
        doubtful: dict[int, Partition] = {}
        for (shard, now), due in zip(question.queries, found, strict=True):
            partition = question.partitions[shard.partition]
            if not due or not self._own.current(partition):
                continue
            if self._proven(partition, now):
                fallen.append((shard, due, now))
            else:
                doubtful[partition.number] = partition
        now_s = self._clock.monotonic()
        if doubtful and self._ends is None and now_s >= self._not_before:
            self._ends = now_s, doubtful, self._consumer.ends(list(doubtful))
        return fallen

    def listen(self) -> bool:
        """Take in Kafka's answer if it has come; whether it proves a silence."""
        if self._ends is None or not self._ends[2].done():
            return False
        (asked_at, partitions, answer), self._ends = self._ends, None
        try:
            ends = answer.result()
        except KafkaException:
            self._not_before = self._clock.monotonic() + RETRY_S
            return False
        read = [p for number, p in partitions.items() if number in ends and ends[number].high <= p.read_to]
        for partition in read:
            partition.heard(asked_at)  # what was there when Kafka was asked is in flight
        return bool(read)

    def _proven(self, partition: Partition, now_ms: int) -> bool:
        """Whether nobody clicked up to ``now_ms``, rather than that nothing was heard."""
        if partition.watermark is not None and now_ms <= partition.watermark:
            return True
        return self._clock.monotonic() - partition.heard_at < HEARD_FOR_S
