"""Offsets that are applied, until the outputs of what was applied are safe: only then may they be committed."""

from collections.abc import Mapping

from worker.partitions.ownership import Ownership
from worker.partitions.partition import Partition
from worker.protocols import Consumer


class AppliedOffsets:
    """Partition → last offset applied whose outputs may not be safe yet.

    Args:
        consumer: commits.
        ownership: whose partitions count.
    """

    def __init__(self, consumer: Consumer, ownership: Ownership) -> None:
        self._consumer = consumer
        self._own = ownership
        self._offsets: dict[int, int] = {}

    def note(self, partitions: Mapping[int, Partition], done: Mapping[int, int]) -> None:
        """A batch is applied: ``done`` has the offset of its last record in each partition."""
        for number, offset in done.items():
            if self._own.current(partitions[number]):
                partitions[number].applied_to(offset)
                self._offsets[number] = offset

    def begins(self, partition: Partition) -> None:
        """Reading begins behind what the group has committed: lag tools, and a drain, wait for that commit."""
        self._offsets[partition.number] = partition.done

    def safe(self) -> None:
        """All outputs are acknowledged: what was applied may be committed."""
        for partition, offset in self._offsets.items():
            self._consumer.will_commit(partition, offset + 1)  # step 9 of the loop
        self._offsets.clear()

    def forget(self, number: int) -> None:
        """Of an earlier assignment: not ours to commit any more."""
        self._offsets.pop(number, None)

    def clear(self) -> None:
        """An output was refused, perhaps unheard: whoever comes next produces it again."""
        self._offsets.clear()
