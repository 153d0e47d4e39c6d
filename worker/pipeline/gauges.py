"""Lag, partitions and readiness for /metrics: shown by each commit, and while a step waits for Redis or Kafka, too."""

from concurrent.futures import Future
from typing import Final

from confluent_kafka import KafkaException

from worker.clock import Clock
from worker.partitions.ownership import Ownership
from worker.pipeline.pulse import Pulse
from worker.protocols import BatchObserver, Consumer

SHOW_EVERY_S: Final = 1.0


class Gauges:
    """Tells the observer.

    Args:
        consumer: Kafka.
        ownership: the partitions.
        observer: metrics.
        pulse: says whether the worker is ready.
        clock: time.
    """

    def __init__(
        self, consumer: Consumer, ownership: Ownership, observer: BatchObserver, pulse: Pulse, clock: Clock
    ) -> None:
        self._consumer = consumer
        self._own = ownership
        self._observer = observer
        self._pulse = pulse
        self._clock = clock
        self._next = 0.0
        self._ends: Future[dict[int, int]] | None = None

    def show(self) -> None:
        """As things are now."""
        self._observer.lag(self._own.lag(), len(self._own.partitions))
        self._observer.tick(ready=self._pulse.trouble is None)

    def meanwhile(self) -> None:
        """Show them now and then while nothing is read: lag grows all the same. Never blocks."""
        now = self._clock.monotonic()
        if now < self._next:
            return
        self._next = now + SHOW_EVERY_S
        if self._ends is not None and self._ends.done():
            self._grow(self._ends)
            self._ends = None
        if self._ends is None and (running := self._own.running()):
            # A paused partition is not fetched, and only a fetch would tell where its log ends.
            self._ends = self._consumer.ends([p.number for p in running])
        self.show()

    def _grow(self, answered: "Future[dict[int, int]]") -> None:
        try:
            ends = answered.result()
        except KafkaException:
            return  # the lag stays as it was known last
        for partition in self._own.running():
            if (high := ends.get(partition.number)) is not None:
                partition.grows_to(high)
