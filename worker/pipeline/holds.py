"""Partitions of which too much was refused: nothing more of them is read until an operator lets it pass.

The worker keeps the lease, the group's membership and every other partition. It does not exit: a supervisor would start
it again, and the next one would refuse the next five hundred.
"""

import logging
from collections.abc import Sequence
from typing import Final

from decisions.intake import Records
from featurestore.errors import InvalidEvent, StoreUnavailable
from featurestore.store.protocols import SessionWriter
from worker.clock import Clock
from worker.metrics.metrics import Metrics
from worker.partitions.ownership import Ownership
from worker.partitions.partition import Partition
from worker.protocols import Consumer

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0

Bad = dict[int, list[tuple[int, InvalidEvent]]]
"""Partition → place among its records and what is wrong, ascending."""


class Holds:
    """Stops reading a partition, and goes on with it when that is allowed.

    Args:
        consumer: Kafka.
        store: knows what an operator lets pass.
        ownership: the partitions.
        metrics: says how many are held.
        clock: time.
    """

    def __init__(
        self, consumer: Consumer, store: SessionWriter, ownership: Ownership, metrics: Metrics, clock: Clock
    ) -> None:
        self._consumer = consumer
        self._store = store
        self._own = ownership
        self._metrics = metrics
        self._clock = clock
        self._next = 0.0

    def taken(self, mine: Sequence[Records], bad: Bad) -> list[Records] | None:
        """Count what is bad; the records that are to be taken where that is not all of them, else None.

        Args:
            mine: records of owned partitions.
            bad: among them.
        """
        cut = False
        kept = []
        for records in mine:
            partition = self._own.partitions[records.partition]
            places = [place for place, _ in bad.get(records.partition, ())]
            n = partition.refusals.count(records.offsets, places, self._clock.now_ms())
            if n < len(records.offsets):
                cut = True
                records = records.first(n)
            if n:
                kept.append(records)
        return kept if cut else None

    def look(self, partition: Partition) -> None:
        """Hold the partition if what was read of it reaches the offset before which reading stops."""
        at = partition.refusals.held_at()
        if at is None or partition.held or partition.next_offset < at:
            return
        partition.is_held()
        self._consumer.pause([partition.number])
        log.error(
            "partition %d is held: %s. Nothing from offset %d on is read; other partitions go on, since limits are per "
            "partition. Look at the dead letters (`clickstage dlq list`) and at the producer. What is there now passes "
            "with `clickstage dlq pass --partition %d`",
            partition.number,
            partition.refusals.why(),
            at,
            partition.number,
        )

    def turn(self) -> None:
        """Once a second: go on with what may pass by now."""
        now = self._clock.monotonic()
        if now < self._next:
            return
        self._next = now + LOOK_EVERY_S
        held = [partition for partition in self._own.running() if partition.held]
        self._metrics.held_partitions.set(float(len(held)))
        if not held:
            return
        try:
            found = self._store.refusals([partition.number for partition in held])
        except StoreUnavailable:
            return  # told by whoever writes
        for partition, refused in zip(held, found, strict=True):
            if partition.refusals.let_pass(refused.passes) and partition.refusals.held_at() is None:
                partition.is_released()
                self._consumer.start_at(partition.number, partition.next_offset)
                log.warning(
                    "partition %d is read on from offset %d; records before offset %d pass",
                    partition.number,
                    partition.next_offset,
                    refused.passes,
                )
