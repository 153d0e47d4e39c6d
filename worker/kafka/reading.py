"""Reads a topic from given offsets to the ends that it has when the reading begins, for commands that look at it."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from featurestore.errors import Unsafe
from worker.clock import SystemClock
from worker.kafka.unreadable import CANNOT_UNPACK, Unreadable, end_of_batch
from worker.settings import Settings

log = logging.getLogger(__name__)

_BOUNDED: Final[dict[str, Any]] = {
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "queued.max.messages.kbytes": 16_384,
    # Of batches as they were sent: letters are packed with lz4, which unpacks to 255 times as much at most.
    "fetch.max.bytes": 1_048_576,
    "max.partition.fetch.bytes": 131_072,
    "log_level": 2,
}
"""Settings of a consumer that joins no group, commits nothing by itself and holds tens of megabytes at most."""

_BATCH: Final = 256
"""Records that are taken at a time."""
_BATCH_BYTES: Final = 4_000_000
"""Records as large as the last ones are taken fewer at a time: each may be a megabyte."""
_MOVING: Final = frozenset(
    {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART}
)
_SILENCE_S: Final = 15.0
_TIMEOUT_S: Final = 10.0


@contextmanager
def asked(what: str) -> Iterator[None]:
    """Say in words what Kafka did not do.

    Raises:
        Unsafe: instead of the client's error.
    """
    try:
        yield
    except KafkaException as error:
        name = error.args[0].name()
        remedy = (
            "give this user the right (docs/guarantees.md lists them)"
            if name.endswith("AUTHORIZATION_FAILED")
            else "look at the brokers, try again"
        )
        raise Unsafe(f"Kafka did not {what} ({name}): {remedy}") from None


def reader(settings: Settings, group: str) -> Consumer:
    """A consumer for `records`; the client demands a group, which is not joined."""
    return Consumer({**settings.kafka_client(), **_BOUNDED, "group.id": group})


def bounds(consumer: Consumer, topic: str, partitions: list[int]) -> dict[int, tuple[int, int]]:
    """First offset and end of each partition, as they are now.

    Raises:
        KafkaException: Kafka did not tell.
    """
    return {p: _watermarks(consumer, TopicPartition(topic, p)) for p in partitions}


def _watermarks(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    clock = SystemClock()
    until = clock.monotonic() + _TIMEOUT_S
    while True:
        try:
            return consumer.get_watermark_offsets(partition, timeout=_TIMEOUT_S)
        except KafkaException as error:
            # The client does not repeat this question when a leader has just moved.
            if error.args[0].code() not in _MOVING or clock.monotonic() > until:
                raise
            clock.sleep(0.1)


def records(consumer: Consumer, settings: Settings, topic: str, spans: Mapping[int, tuple[int, int]]) -> Iterator[Any]:
    """Every record of ``topic`` whose offset is in its partition's span ``[first, end)``; blocks.

    What is written meanwhile is not read, so a reader that writes to the topic itself comes to an end. An `Unreadable`
    without value stands for each batch that the client cannot unpack.

    Args:
        consumer: from `reader`.
        settings: that it was made with.
        topic: that is read.
        spans: by partition.

    Raises:
        KafkaException: the client's error.
        Unsafe: Kafka says nothing for 15 s before the ends are reached.
    """
    ends = {p: end for p, (first, end) in spans.items() if first < end}
    consumer.assign([TopicPartition(topic, p, spans[p][0]) for p in ends])
    clock = SystemClock()
    heard_s = clock.monotonic()
    most = 1
    while ends:
        messages: list[Any] = consumer.consume(most, 0.2)
        cannot_unpack: dict[int, int] = {}
        for message in messages:
            if error := message.error():
                if error.code() == CANNOT_UNPACK:
                    cannot_unpack[message.partition()] = message.offset()
                elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:  # it reads by offset, which needs no group
                    raise KafkaException(error)
            elif message.offset() < ends.get(message.partition(), 0):
                yield message
        for partition, first in cannot_unpack.items():
            if first < ends.get(partition, 0):
                stands_for_it = _passed(consumer, settings, TopicPartition(topic, partition, first))
                yield stands_for_it
                if stands_for_it.offset() + 1 >= ends[partition]:
                    del ends[partition]  # its position stays where it was until a record comes
        for reached in consumer.position([TopicPartition(topic, p) for p in ends]):
            # A position passes control records too, which consume() never returns.
            if reached.offset >= ends[reached.partition]:
                del ends[reached.partition]
        if messages:
            heard_s = clock.monotonic()
            size = sum(len(message) + len(message.key() or b"") for message in messages)
            most = min(max(_BATCH_BYTES * len(messages) // max(size, 1), 1), 4 * most, _BATCH)
            messages.clear()  # before as many come
        elif clock.monotonic() - heard_s > _SILENCE_S:
            raise _stopped(topic)


def _passed(consumer: Consumer, settings: Settings, begin: TopicPartition) -> Unreadable:
    """Go on behind the batch that begins there, and say so."""
    try:
        end = end_of_batch(settings.kafka_client(), settings.group, begin)
    except TimeoutError:
        raise _stopped(begin.topic) from None
    log.warning(
        "%s/%d: the Kafka client cannot unpack the batch at offsets %d to %d (damaged, or more than 100 MB). "
        "It is passed over; look for its producer",
        begin.topic,
        begin.partition,
        begin.offset,
        end - 1,
    )
    consumer.seek(TopicPartition(begin.topic, begin.partition, end))
    return Unreadable(begin.topic, begin.partition, begin.offset, end - 1)


def _stopped(topic: str) -> Unsafe:
    return Unsafe(f"{topic} stopped answering before its end was reached: look at the brokers, try again")
