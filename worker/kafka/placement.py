"""Whether records lie in the partition that their key belongs to.

A session's events must lie in one partition. A producer with librdkafka's default partitioner beside one of Java's or
kafkajs splits sessions in two halves, and both halves are decided: nothing fails, and everything is wrong. So a few
keys of each partition are hashed, once a second at most.
"""

import logging
import zlib
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from confluent_kafka import Message

from featurestore.contract.partitioner import murmur2
from worker.clock import Clock
from worker.metrics.labels import PARTITIONERS
from worker.metrics.metrics import Metrics

log = logging.getLogger(__name__)

SAMPLE: Final = 32
"""Keys of a partition that are looked at."""
EVERY_S: Final = 1.0
LOG_EVERY_S: Final = 60.0
_KEY: Final[Any] = Message.key


class Placed(NamedTuple):
    """What a sample shows.

    Attributes:
        checked: keys looked at.
        misplaced: by entry of `labels.PARTITIONERS`, how many lie elsewhere than `contract.partitioner` says.
    """

    checked: int
    misplaced: dict[str, int]


def placed(partition: int, keys: Sequence[bytes | None], partitions: int) -> Placed:
    """Look at the keys of records in one partition of a topic; records without a key are left out.

    >>> placed(4, [b"session-1", None], 12)
    Placed(checked=1, misplaced={})
    """
    named = [key for key in keys if key is not None]
    misplaced: dict[str, int] = {}
    for key in named:
        if (murmur2(key) & 0x7FFF_FFFF) % partitions != partition:
            who = PARTITIONERS[0] if zlib.crc32(key) % partitions == partition else PARTITIONERS[1]
            misplaced[who] = misplaced.get(who, 0) + 1
    return Placed(len(named), misplaced)


REMEDY: Final = (
    "set partitioner=murmur2_random in producers on librdkafka (Python, Node, Go, PHP, .NET), and session_id as key"
)


class Placement:
    """Looks at samples of what is read, counts and logs.

    Args:
        metrics: the catalogue's series.
        partitions: of the topic.
        clock: time.
    """

    def __init__(self, metrics: Metrics, partitions: int, clock: Clock) -> None:
        self._metrics = metrics
        self._partitions = partitions
        self._clock = clock
        self._next = 0.0
        self._next_log = 0.0

    def look(self, messages: Mapping[int, Sequence[Any]]) -> None:
        """Look at some records of a poll, by partition."""
        now = self._clock.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY_S
        for partition, part in messages.items():
            found = placed(partition, list(map(_KEY, islice(part, SAMPLE))), self._partitions)
            self._metrics.placement_checked.inc(by=found.checked)
            for who, n in found.misplaced.items():
                self._metrics.misplaced_records.inc(who, by=n)
            if found.misplaced and now >= self._next_log:
                self._next_log = now + LOG_EVERY_S
                log.warning(
                    "partition %d: %d of %d records belong to another partition by their key (%s), so their sessions "
                    "are split in two: %s",
                    partition,
                    sum(found.misplaced.values()),
                    found.checked,
                    ", ".join(found.misplaced),
                    REMEDY,
                )
