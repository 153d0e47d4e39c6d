"""Batches that the Kafka client cannot unpack: the record that stands for one, and where it ends.

Some kilobytes of zstd unpack to more than the client takes (``receive.message.max.bytes``, 100 MB), and a broker stores
them. The client then says so again and again, and reads nothing behind the batch; nor does it say how many records the
batch has. So its end is searched for: an offset lies in the batch as long as reading from there meets the same batch.
"""

import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from decisions.intake import UNREADABLE
from worker.clock import SystemClock

log = logging.getLogger(__name__)

CANNOT_UNPACK: Final = KafkaError._BAD_COMPRESSION  # noqa: SLF001 - the client's name

FIRST_OFFSET: Final = "__connect.errors.first.offset"
"""Header of the letter: where the batch begins. It stands at its last offset."""

_ANSWER_S: Final = 10.0
_REMEMBERED: Final = 64


class Unreadable:
    """Stands for all records of a batch, at its last offset, as the client's messages do: it has no content."""

    def __init__(self, topic: str, partition: int, first: int, last: int) -> None:
        self._place = topic, partition, first, last

    def topic(self) -> str:
        return self._place[0]

    def partition(self) -> int:
        return self._place[1]

    def offset(self) -> int:
        return self._place[3]

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 0, -1

    def headers(self) -> list[tuple[str, bytes]]:
        return [(FIRST_OFFSET, str(self._place[2]).encode())]


def value_of(message: Any) -> bytes | None:
    """A message's value for `decisions.intake.decode`; that of an `Unreadable` is neither event nor tombstone."""
    if isinstance(message, Unreadable):
        return UNREADABLE
    value: bytes | None = message.value()
    return value


class BatchEnds:
    """Finds where batches end that cannot be unpacked, in a thread of its own, for readers that must not block.

    Args:
        client: settings of the reader's client: brokers and rights.
        group: of the reader; it is not joined.
        topic: the reader's.
    """

    def __init__(self, client: Mapping[str, Any], group: str, topic: str) -> None:
        self._client, self._group, self._topic = client, group, topic
        self._search = ThreadPoolExecutor(1, thread_name_prefix="kafka-batch-end")
        self._found: dict[tuple[int, int], Future[int]] = {}

    def record(self, partition: int, first: int) -> Unreadable | None:
        """A stand-in for the batch that begins at ``first``; None while its end is not known yet. Never blocks."""
        place = partition, first
        found = self._found.get(place)
        if found is None:
            log.error(
                "partition %d: the Kafka client cannot unpack the batch at offset %d (damaged, or more than 100 MB). "
                "It becomes a dead letter without content; look for its producer",
                partition,
                first,
            )
            if len(self._found) >= _REMEMBERED:
                del self._found[next(iter(self._found))]
            self._found[place] = self._search.submit(
                end_of_batch, self._client, self._group, TopicPartition(self._topic, partition, first)
            )
            return None
        if not found.done():
            return None
        if (error := found.exception()) is not None:
            log.warning("partition %d: the end of that batch was not found (%s)", partition, type(error).__name__)
            del self._found[place]  # the client says soon again that it cannot unpack it
            return None
        return Unreadable(self._topic, partition, first, found.result() - 1)

    def close(self) -> None:
        """End the thread; a search under way is not waited for."""
        self._search.shutdown(wait=False, cancel_futures=True)


def end_of_batch(client: Mapping[str, Any], group: str, begin: TopicPartition) -> int:
    """One past the last offset of the batch at ``begin``: in steps that double, and then by halves. Blocks.

    Args:
        client: settings of the reader's client: brokers and rights.
        group: of the reader; it is not joined.
        begin: where the client says that it cannot unpack.

    Raises:
        KafkaException: the client's error.
        TimeoutError: Kafka does not answer.
    """
    config = {
        **client,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "fetch.max.bytes": 1_048_576,
        "queued.max.messages.kbytes": 1_024,
    }
    first = begin.offset
    consumer = Consumer(config, logger=logging.getLogger("worker.kafka"))
    try:
        _, high = consumer.get_watermark_offsets(begin, timeout=_ANSWER_S)
        inside, step = first, 1
        while (outside := min(first + step, high)) < high and _inside(consumer, begin, outside):
            inside, step = outside, step * 2
        while outside - inside > 1:
            middle = (inside + outside) // 2
            if _inside(consumer, begin, middle):
                inside = middle
            else:
                outside = middle
        return max(outside, first + 1)
    finally:
        consumer.close()


def _inside(consumer: Consumer, begin: TopicPartition, offset: int) -> bool:
    """Whether the offset lies in the batch at ``begin``.

    Raises:
        KafkaException: the client's error.
        TimeoutError: Kafka does not answer.
    """
    consumer.assign([TopicPartition(begin.topic, begin.partition, offset)])
    clock = SystemClock()
    until = clock.monotonic() + _ANSWER_S
    while clock.monotonic() < until:
        message = consumer.poll(0.5)
        if message is None:
            continue
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            return False
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            continue  # it reads by offset, which needs no group
        if error.code() != CANNOT_UNPACK:
            raise KafkaException(error)
        return message.offset() == begin.offset
    raise TimeoutError
