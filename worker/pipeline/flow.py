"""Flow control: what Kafka has acknowledged, and pauses in which nothing is read but the membership lives on."""

import logging
from typing import Final

from confluent_kafka import KafkaException

from worker.clock import Clock
from worker.partitions.ownership import Ownership
from worker.pipeline.applied import AppliedOffsets
from worker.pipeline.gauges import Gauges
from worker.pipeline.pulse import Pulse, Stopping
from worker.protocols import Consumer, Producer

log = logging.getLogger(__name__)

SETTLE_SLICE_S: Final = 0.25
PAUSE_AFTER_S: Final = 2.0
REFUSED_WAIT_S: Final = 2.0
"""Kafka refused an output: nothing is applied for so long, then the outboxes are produced again."""


class Flow:
    """Waits for Kafka and pauses reading.

    Args:
        consumer: Kafka, in.
        outputs: Kafka, out.
        ownership: the partitions.
        applied: offsets that may be committed once all outputs are safe.
        pulse: is told of waits.
        gauges: are shown while nothing is read.
        clock: time.

    Attributes:
        acknowledged: of what was given to the outputs.
    """

    def __init__(
        self,
        consumer: Consumer,
        outputs: Producer,
        ownership: Ownership,
        applied: AppliedOffsets,
        pulse: Pulse,
        gauges: Gauges,
        clock: Clock,
    ) -> None:
        self._consumer = consumer
        self._outputs = outputs
        self._own = ownership
        self._applied = applied
        self._pulse = pulse
        self._gauges = gauges
        self._clock = clock
        self.acknowledged = 0

    # -- acknowledgement -------------------------------------------------------------------------

    def note_acknowledged(self) -> bool:
        """Learn what Kafka has; what was applied may be committed once all its outputs are safe. False if refused."""
        try:
            self.acknowledged = self._outputs.acknowledged()
        except KafkaException as error:
            self._refused(error.args[0].name())
            return False
        if self.acknowledged == self._outputs.given:
            self._applied.safe()
        return True

    def flush(self, dead: int) -> None:
        """Wait while dead letters of a batch, or too many outputs of earlier ones, are not acknowledged.

        Args:
            dead: what `Producer.acknowledged` must reach for the batch's dead letters to be safe.

        Raises:
            Stopping: the worker is asked to stop meanwhile.
        """
        begun = self._clock.monotonic()
        paused = False
        while not self._flushed(dead):
            # A short wait needs no pause: reading on after one means a seek, which throws away what was fetched.
            if not paused and self._clock.monotonic() - begun >= PAUSE_AFTER_S:
                paused = True
                self.pause("Kafka does not acknowledge what is produced")
            if paused:
                self.keep_alive()
            elif self._pulse.stopping:
                raise Stopping
        if paused:
            self.resume()

    def _flushed(self, dead: int) -> bool:
        if self.note_acknowledged() and self.acknowledged >= dead and self._outputs.room():
            return True
        return self._settled()

    def _settled(self) -> bool:
        """Wait for Kafka a little; whether it has everything."""
        try:
            self._outputs.settled(SETTLE_SLICE_S)
        except KafkaException as error:
            self._refused(error.args[0].name())
            return False
        return self.note_acknowledged() and self.acknowledged == self._outputs.given

    def _refused(self, code: str) -> None:
        """Kafka gave an output back: apply nothing more, and produce again from the outboxes after a while."""
        self._applied.clear()
        for partition in self._own.running():
            self._own.rewind(partition, "output_refused", REFUSED_WAIT_S)
        self._pulse.waits(f"Kafka refused an output ({code})")
        log.error(
            "Kafka refused an output record (%s); nothing is applied until it takes it. Check that the topics exist, "
            "that this worker may write to them, and message.max.bytes",
            code,
        )

    # -- pauses ----------------------------------------------------------------------------------

    def pause(self, why: str) -> None:
        """Read nothing until `resume`; call `keep_alive` meanwhile."""
        self._pulse.waits(why)
        self._consumer.pause([p.number for p in self._own.running()])

    def keep_alive(self) -> None:
        """Poll while paused: the membership lives on, and a rebalance is noticed.

        Raises:
            Stopping: the worker is asked to stop.
        """
        if self._pulse.stopping:
            raise Stopping
        self._pulse.turned()
        self._pulse.progressed()
        polled = self._consumer.poll(1, 0.02)
        self._own.follow()
        for records in polled.records:
            # Fetched before the pause took effect: read it again later.
            partition = self._own.partitions.get(records.partition)
            if partition is not None:
                self._own.rewind(partition, "fenced")
        self._gauges.meanwhile()

    def resume(self) -> None:
        """Read on from where reading stopped."""
        self._pulse.works()
        for partition in self._own.running():
            if partition.held:
                continue
            self._consumer.start_at(partition.number, partition.next_offset)
            partition.reads_again()
