"""The Kafka side: assignment, polling, positions, commits. The only place that holds a consumer.

librdkafka calls back inside ``poll``/``consume``; an exception there destroys the messages just fetched while the
position has moved on, so the callbacks below only take notes, and the loop acts on them afterwards. A partition starts
paused: it is read once the loop has taken its lease in Redis and sought to the applied offset.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from decisions.intake import Records
from featurestore.errors import Forked
from worker.kafka.consumer_config import consumer_config
from worker.kafka.polled import Polled, received, sort_messages
from worker.kafka.unreadable import BatchEnds
from worker.settings import Settings

log = logging.getLogger(__name__)

ASK_S: Final = 1.0
"""How long to wait for the end of a partition's log; nobody stands still for it."""

LOST_MS: Final = 5_000
"""After this, an answer about offsets counts as lost, and the client connects anew. librdkafka's default is a minute:
an answer that never came (who the coordinator is) kept a worker from taking partitions that long."""

OFFSETS_S: Final = 6.0
"""How long to wait for the group's offset, or a time's; longer than `LOST_MS`. The loop stands still for it."""

COORDINATOR_S: Final = 3.0
"""How long to wait for the group's coordinator; nobody stands still for it either."""

POLL_BYTES: Final = 16_000_000
"""After this many bytes of values, a poll takes no further portion. A batch needs a few times as much memory."""

PORTION: Final = 512
"""Records between two looks at their size."""

_Callback = Callable[[Consumer, list[TopicPartition]], None]


@dataclass(slots=True)
class Changes:
    """What happened to the assignment since the loop last looked."""

    assigned: list[int] = field(default_factory=list)
    revoked: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)


class Bounds(NamedTuple):
    """Offsets of a partition: the first still kept, and the one after the last."""

    low: int
    high: int


class KafkaSource:
    """A consumer of one topic.

    Args:
        settings: brokers, group, topic and timeouts.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.topic
        self._changes = Changes()
        self._pid = os.getpid()
        self._failed: BaseException | None = None
        # Questions about offsets would wait behind the long poll of a fetch: they have a client of their own.
        self._asker = Consumer(
            {
                **settings.kafka_client(),
                "group.id": settings.group,
                "enable.auto.commit": False,
                "socket.timeout.ms": LOST_MS,
            },
            logger=logging.getLogger("worker.kafka"),
        )
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="kafka-asker")
        self._batch_ends = BatchEnds(settings.kafka_client(), settings.group, settings.topic)
        self._owned: set[int] = set()
        self._to_commit: dict[int, int] = {}
        self._consumer = self._made()
        self._joins = True

    def _made(self) -> Consumer:
        return Consumer(consumer_config(self._settings), logger=logging.getLogger("worker.kafka"))

    def _join(self) -> None:
        """Become a member of the group: with the first poll, so that a start that fails leaves no member behind.

        Kafka would wait for it, and let nobody else join or leave, for a session timeout.
        """
        self._joins = False
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    # -- the loop's side -------------------------------------------------------------------------

    def poll(self, most: int, wait_s: float) -> Polled:
        """Wait up to ``wait_s`` for a record, then take what is there, at most ``most``, or `POLL_BYTES` of values.

        Raises:
            KafkaException: the consumer is no longer usable.
            Forked: this process is not the one that made it.
        """
        if os.getpid() != self._pid:
            raise Forked("this process was forked from a running worker, whose clients do not work here; start another")
        if self._joins:
            self._join()
        consumer = self._consumer
        first = consumer.poll(wait_s)
        if first is None:
            return _NOTHING
        messages, size = [first], 0
        while (asked := min(most - len(messages), PORTION)) > 0 and size < POLL_BYTES:
            portion = consumer.consume(asked, 0.0)
            messages += portion
            size += sum(map(len, portion))
            if len(portion) < asked:
                return self._polled(messages)
        return self._polled(messages)._replace(full=True)

    def changes(self) -> Changes:
        """What happened to the assignment since the last call."""
        if self._failed is not None:
            raise self._failed
        changes, self._changes = self._changes, Changes()
        return changes

    def owns(self, partition: int) -> bool:
        """Whether the group still gives us this partition."""
        return partition in self._owned

    def start_at(self, partition: int, offset: int) -> None:
        """Read on from ``offset``."""
        at = TopicPartition(self._topic, partition, offset)
        try:
            self._consumer.seek(at)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._STATE or partition not in self._owned:  # noqa: SLF001
                raise
            # After an offset out of range librdkafka fetches no more and refuses to seek: give it back, take it anew.
            self._consumer.incremental_unassign([at])
            self._consumer.incremental_assign([at])
        self._consumer.resume([TopicPartition(self._topic, partition)])

    def pause(self, partitions: Sequence[int]) -> None:
        """Stop fetching; polling goes on and keeps the membership."""
        owned = [TopicPartition(self._topic, p) for p in partitions if p in self._owned]
        if owned:
            self._consumer.pause(owned)

    def bounds(self, partition: int, *, fresh: bool = False, wait_s: float = 5.0) -> Bounds | None:
        """Kept offsets; from the last fetch unless ``fresh`` (which blocks up to ``wait_s``). None while unknown."""
        tp = TopicPartition(self._topic, partition)
        asked = self._asker if fresh else self._consumer
        low, high = asked.get_watermark_offsets(tp, timeout=wait_s, cached=not fresh)
        return Bounds(low, high) if high >= 0 else None

    def ends(self, partitions: Sequence[int]) -> "Future[dict[int, int]]":
        """Ask Kafka where its log ends and return; the answer is a `KafkaException` where it has none.

        One request for each broker: offset by partition, one past the last record that a consumer may read.
        """
        asked = [TopicPartition(self._topic, p, OFFSET_END) for p in partitions]

        def ask() -> dict[int, int]:
            answered = self._asker.offsets_for_times(asked, timeout=ASK_S)
            for tp in answered:
                if tp.error is not None:
                    raise KafkaException(tp.error)
            return {tp.partition: tp.offset for tp in answered if tp.offset >= 0}

        return self._asking.submit(ask)

    def member(self) -> str:
        """The id under which the group knows this consumer; empty while it is no member."""
        return str(self._consumer.memberid() or "")

    def coordinator_answers(self) -> None:
        """Wait for an answer of the group's coordinator; for threads beside the loop's.

        Raises:
            KafkaException: there is none.
        """
        [tp] = self._asker.committed([TopicPartition(self._topic, 0)], timeout=COORDINATOR_S)
        if tp.error is not None:
            raise KafkaException(tp.error)

    def renew(self) -> None:
        """Start over with a new client: the old one gets nowhere, and is closed in the background.

        Its partitions are lost. The group gives them again to the new client, which is another member.
        """
        old, self._consumer, self._joins = self._consumer, self._made(), True
        self._changes.lost += sorted(self._owned)
        self._owned.clear()
        self._to_commit.clear()
        threading.Thread(target=old.close, name="kafka-close", daemon=True).start()

    def committed(self, partition: int) -> int | None:
        """The group's committed offset: a hint, never the truth. None where there is none."""
        [tp] = self._asker.committed([TopicPartition(self._topic, partition)], timeout=OFFSETS_S)
        if tp.error is not None:
            raise KafkaException(tp.error)
        return tp.offset if tp.offset >= 0 else None

    def offset_at(self, partition: int, epoch_ms: int) -> int | None:
        """The first offset whose record is not older; None if all are."""
        [tp] = self._asker.offsets_for_times([TopicPartition(self._topic, partition, epoch_ms)], timeout=OFFSETS_S)
        return tp.offset if tp.offset >= 0 else None

    def will_commit(self, partition: int, offset: int) -> None:
        """``offset`` is the next to read, once everything before it is applied."""
        self._to_commit[partition] = offset

    def commit(self, *, wait: bool = False) -> bool:
        """Commit what `will_commit` named for owned partitions; False if Kafka refused (the next one covers it)."""
        offsets = [TopicPartition(self._topic, p, o) for p, o in self._to_commit.items() if p in self._owned]
        self._to_commit.clear()
        if not offsets:
            return True
        try:
            if wait:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException:
            return False
        return True

    def close(self) -> None:
        """Leave the group; may block for the broker, so a watchdog must stand behind."""
        self._consumer.close()
        self._batch_ends.close()
        self._asking.shutdown(cancel_futures=True)
        self._asker.close()

    # -- librdkafka's side: take notes, never raise ----------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._noted(self._assigned, consumer, partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._noted(self._revoked, consumer, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._noted(self._lost, consumer, partitions)

    def _noted(self, body: _Callback, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:  # of a client that was given up; its partitions are lost already
            return
        try:
            body(consumer, partitions)
        except BaseException as error:
            self._failed = error  # raised by `changes`, where nothing fetched is lost by it

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Offsets are resolved by the loop; a valid one here keeps librdkafka from resetting before the seek.
        fresh = [TopicPartition(tp.topic, tp.partition, OFFSET_BEGINNING) for tp in partitions]
        consumer.incremental_assign(fresh)
        consumer.pause(fresh)
        for tp in partitions:
            self._owned.add(tp.partition)
            self._changes.assigned.append(tp.partition)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        leaving = {tp.partition for tp in partitions}
        offsets = [TopicPartition(self._topic, p, o) for p, o in self._to_commit.items() if p in leaving]
        try:
            if offsets:
                consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException:
            log.debug("the commit while giving partitions back was refused; the next owner does not need it")
        self._forget(partitions, self._changes.revoked)

    def _lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._forget(partitions, self._changes.lost)

    def _forget(self, partitions: list[TopicPartition], note: list[int]) -> None:
        for tp in partitions:
            self._owned.discard(tp.partition)
            self._to_commit.pop(tp.partition, None)
            note.append(tp.partition)

    def _polled(self, messages: list[Any]) -> Polled:
        by_partition, at_end, out_of_range, unreadable = sort_messages(messages, self._settings.group, self._topic)
        records = [received(partition, part) for partition, part in by_partition.items() if partition in self._owned]
        for partition, first in unreadable.items():
            # What came before the batch goes first: the client soon says again that it cannot unpack it.
            if partition in self._owned and partition not in by_partition:
                records += self._passed(partition, first, by_partition)
        return Polled(records, by_partition, at_end, out_of_range)

    def _passed(self, partition: int, first: int, messages: dict[int, list[Any]]) -> list[Records]:
        """Read on behind a batch that cannot be unpacked, and the record that stands for it; none until it is known."""
        stands_for_it = self._batch_ends.record(partition, first)
        if stands_for_it is None:
            return []
        self.start_at(partition, stands_for_it.offset() + 1)
        messages[partition] = [stands_for_it]
        return [received(partition, [stands_for_it])]


_NOTHING: Final = Polled([], {}, {}, set())
