"""Asks Kafka, a few times a second, where its log ends: the proof that everything appended until then is read.

An answer counts for the moment at which the question was sent. After an answer that failed or came late Kafka was away
or is coming back, and producers hold back what was clicked meanwhile: for a while nothing is proven then.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaException

from worker.clock import Clock
from worker.partitions.ownership import Ownership
from worker.partitions.partition import Partition
from worker.protocols import Consumer

ASK_EVERY_S: Final = 0.25
LATE_S: Final = 0.75
"""An answer that takes longer proves nothing: one of the two has stood still."""
RECOVERY_S: Final = 2.0
"""After a question without a timely answer, nothing is proven for so long: producers deliver what they held back."""


@dataclass(slots=True)
class _Asked:
    at: float
    wall_ms: int
    partitions: list[Partition]
    answer: Future[dict[int, int]]
    answered_at: float = 0.0


class LogEnds:
    """One question at a time, about all partitions that run; never blocks.

    Args:
        consumer: Kafka.
        ownership: the partitions.
        clock: time.
        anyway: partitions to ask about where this worker owns none, to learn whether Kafka answers.

    Attributes:
        answered_at: monotonic time at which Kafka last answered; the start of the worker before that.
    """

    def __init__(self, consumer: Consumer, ownership: Ownership, clock: Clock, anyway: Sequence[int] = (0,)) -> None:
        self._consumer = consumer
        self._own = ownership
        self._clock = clock
        self._anyway = list(anyway)
        self._asked: _Asked | None = None
        self._next = 0.0
        self._trusted_from = 0.0
        self.answered_at = clock.monotonic()

    def turn(self) -> bool:
        """Take in an answer that has come, and ask again when it is time; whether an answer proved something."""
        proved = self._listen()
        now = self._clock.monotonic()
        if self._asked is None and now >= self._next:
            self._next = now + ASK_EVERY_S
            running = self._own.running()
            numbers = [p.number for p in running] or self._anyway
            asked = self._asked = _Asked(now, self._clock.now_ms(), running, self._consumer.ends(numbers))
            asked.answer.add_done_callback(lambda _: self._answered(asked))
        return proved

    def _answered(self, asked: _Asked) -> None:
        """Called where the answer comes in: a turn of the loop that takes long makes no answer late."""
        asked.answered_at = self._clock.monotonic()

    def _listen(self) -> bool:
        now = self._clock.monotonic()
        asked = self._asked
        if asked is None:
            return False
        if not asked.answer.done():
            if now - asked.at > LATE_S:
                self._trusted_from = now + RECOVERY_S
            return False
        self._asked = None
        try:
            ends = asked.answer.result()
        except KafkaException:
            self._trusted_from = self._clock.monotonic() + RECOVERY_S
            return False
        self.answered_at = now
        if asked.answered_at - asked.at > LATE_S:
            self._trusted_from = now + RECOVERY_S
            return False
        trusted = asked.at >= self._trusted_from
        for partition in asked.partitions:
            if (high := ends.get(partition.number)) is not None:
                partition.told(high, asked.at, asked.wall_ms if trusted else None)
        return trusted and any(partition.proven_ms == asked.wall_ms for partition in asked.partitions)
