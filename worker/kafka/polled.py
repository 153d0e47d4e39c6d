"""What one poll brought: the client's messages as records of each partition, and what it said beside them."""

import logging
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import groupby, repeat
from operator import is_not, methodcaller
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message

from decisions.intake import Records
from worker.kafka.unreadable import CANNOT_UNPACK, value_of

log = logging.getLogger(__name__)

# Typed as optional by the client, for messages that are errors.
_ERROR: Final[Any] = Message.error
_PARTITION: Final[Any] = Message.partition
_VALUE: Final[Any] = Message.value
_TIMESTAMP: Final[Any] = Message.timestamp


class Polled(NamedTuple):
    """One poll.

    Attributes:
        records: by partition, in log order.
        messages: the same as the client gave them, for dead letters.
        at_end: partitions whose end was reached, with the offset there (control records may lie before it).
        out_of_range: partitions whose wanted offset Kafka does not have.
        full: as much came as was asked for, so that more may wait.
        waiting: partitions whose records wait for other partitions (`time_order`).
        pass_ms: let time pass up to here before these records, epoch ms; None where none need pass.
        in_step: the partitions in which it may pass: no record that is older is left in them.
    """

    records: list[Records]
    messages: dict[int, list[Any]]
    at_end: dict[int, int]
    out_of_range: set[int]
    full: bool = False
    waiting: AbstractSet[int] = frozenset()
    pass_ms: int | None = None
    in_step: AbstractSet[int] = frozenset()


class Sorted(NamedTuple):
    """A poll's messages by what they say.

    Attributes:
        by_partition: records, in log order.
        at_end: partitions whose end was reached, with the offset there.
        out_of_range: partitions whose wanted offset Kafka does not have.
        unreadable: partitions with a batch that cannot be unpacked, and its first offset.
    """

    by_partition: dict[int, list[Any]]
    at_end: dict[int, int]
    out_of_range: set[int]
    unreadable: dict[int, int]


def sort_messages(messages: list[Any], group: str, topic: str) -> Sorted:
    """Tell records from errors; ``group`` and ``topic`` are for the words of an error.

    Raises:
        KafkaException: the consumer is no longer usable.
    """
    found = Sorted({}, {}, set(), {})
    # Unbound methods and runs of one partition: this touches every record, so it must not touch Python often.
    errors = list(map(_ERROR, messages))
    good = messages
    if any(map(is_not, errors, repeat(None))):
        good = [message for message, error in zip(messages, errors, strict=True) if error is None]
    for partition, run in groupby(good, _PARTITION):
        found.by_partition.setdefault(partition, []).extend(run)
    for message, error in zip(messages, errors, strict=True) if good is not messages else ():
        if error is None:
            continue
        code = error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's names
            found.at_end[message.partition()] = message.offset()
        elif code == CANNOT_UNPACK:
            found.unreadable[message.partition()] = message.offset()
        elif code in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001
            found.out_of_range.add(message.partition())
        elif code == KafkaError._MAX_POLL_EXCEEDED:  # noqa: SLF001
            log.warning("Kafka took the partitions away: a batch took longer than max_poll_interval_s")
        elif error.fatal() or code == KafkaError._FATAL:  # noqa: SLF001 - the second, as a message, is not marked
            raise KafkaException(error)
        else:
            log.warning("Kafka: %s", _words(error, group, topic))
    return found


def received(partition: int, part: Sequence[Any]) -> Records:
    """The records of one partition out of its messages; there must be at least one.

    An `unreadable.Unreadable` among them stands for a batch that cannot be unpacked.
    """
    clients = set(map(type, part)) == {Message}  # then methods in C are called without a look-up each
    first, last = part[0].offset(), part[-1].offset()  # they ascend, and mostly there is no gap
    return Records(
        partition,
        list(map(_VALUE if clients else value_of, part)),
        range(first, last + 1) if last - first == len(part) - 1 else [message.offset() for message in part],
        [time if kind else -1 for kind, time in map(_TIMESTAMP if clients else methodcaller("timestamp"), part)],
    )


def _words(error: KafkaError, group: str, topic: str) -> str:
    """An error, and which right is missing."""
    lacking = {
        KafkaError.GROUP_AUTHORIZATION_FAILED: f"group {group}",
        KafkaError.TOPIC_AUTHORIZATION_FAILED: f"topic {topic}",
    }.get(error.code())
    return f"{error.name()}: let this user READ {lacking} (docs/guarantees.md)" if lacking else error.name()
