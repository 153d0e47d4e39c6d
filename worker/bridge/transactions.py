"""Reads another tracker's topic and writes `clicks`, exactly once.

Each batch is one transaction: its events, its dead letters and the offsets that it covers become visible together, or
not at all. A transaction is never open while the group is asked for records, so a rebalance finds none. The group's
generation goes with the offsets (KIP-447): a bridge that was replaced while it slept commits nothing.

1. read      up to `MOST` records
2. begin     the transaction
3. map       each record; produce its events, and what became none as a dead letter with the reason
4. offsets   give them to the transaction
5. commit    or abort, and read the same records again
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from decisions.intake import CANNOT_READ
from featurestore.errors import Backpressure, InvalidEvent
from worker.bridge.mapping import Bridged, bridged
from worker.bridge.metrics import BridgeMetrics
from worker.kafka.deadletters import letter
from worker.kafka.letters import SMALLEST, fitted
from worker.kafka.unreadable import CANNOT_UNPACK, BatchEnds, Unreadable
from worker.pipeline.outputs import CLIENT_LIMIT, RELIABLE, TOO_LARGE
from worker.settings import Settings

log = logging.getLogger(__name__)

MOST: Final = 500
WAIT_S: Final = 0.2
CALL_S: Final = 10.0
TRANSACTION_S: Final = 10
"""A bridge that dies in a transaction keeps readers of `clicks` waiting for so long, unless it comes back as itself."""

T = TypeVar("T")


class Source(NamedTuple):
    """What is bridged.

    Attributes:
        kind: a name of `mapping.FORMATS`.
        topic: of the other tracker.
        topic_id: its id, for the dead letters.
        instance: names the transactions; of two bridges with one name the older is fenced.
    """

    kind: str
    topic: str
    topic_id: str
    instance: str


class Bridge:
    """One member of the bridge's group.

    Args:
        settings: brokers, the topics that are written, the group.
        source: what is read.
        metrics: counts.
        letter_limit: largest record that the dead letters' topic takes, bytes; None where Kafka does not say.
    """

    def __init__(self, settings: Settings, source: Source, metrics: BridgeMetrics, letter_limit: int | None) -> None:
        self._settings = settings
        self._source = source
        self._metrics = metrics
        self._letter_limit = min(letter_limit or CLIENT_LIMIT, CLIENT_LIMIT)
        self._logger = logging.getLogger("worker.kafka")
        self._consumer = Consumer(consumer_config(settings, source), logger=self._logger)
        self._batch_ends = BatchEnds(
            settings.kafka_client(), consumer_config(settings, source)["group.id"], source.topic
        )
        self._producer = Producer(producer_config(settings, source), logger=self._logger)
        self._refused: KafkaError | None = None
        self._stopping = False
        self.trouble: str | None = "not a member of the group yet"
        self.beat = time.monotonic()

    def stop(self) -> None:
        """Finish the transaction under way, then return from `run`; safe in a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Block until stopped.

        Raises:
            Backpressure: the client is unusable, or another bridge has this one's name; a restart reads on.
        """
        try:
            self._repeated(lambda: self._producer.init_transactions(CALL_S))
            self._consumer.subscribe([self._source.topic], on_assign=self._assigned)
            while not self._stopping:
                self.beat = time.monotonic()
                self._turn()
        except KafkaException as error:
            code = error.args[0]
            raise Backpressure(
                f"the transactions of instance {self._source.instance} are over ({code.name()}): another bridge runs "
                "under this name (--instance), or this one slept too long. Nothing is lost; start it again"
            ) from None
        finally:
            self._batch_ends.close()
            self._consumer.close()

    def _turn(self) -> None:
        messages: list[Any] = []
        unreadable: dict[int, int] = {}
        message: Any
        for message in self._consumer.consume(MOST, WAIT_S):  # 1
            error = message.error()
            if error is None:
                messages.append(message)
            elif error.code() == CANNOT_UNPACK:
                unreadable[message.partition()] = message.offset()
            elif error.fatal():
                raise KafkaException(error)
            else:
                log.warning("Kafka: %s", error.name())
        self._producer.poll(0)
        for partition in unreadable.keys() - {message.partition() for message in messages}:
            if (stands_for_it := self._batch_ends.record(partition, unreadable[partition])) is not None:
                messages.append(stands_for_it)
                self._seek(partition, stands_for_it.offset() + 1)
        if not messages:
            return
        try:
            self._transact(messages)
        except KafkaException as error:
            self._abort(error.args[0], messages)

    def _transact(self, messages: Sequence[Any]) -> None:
        self._refused = None
        counted: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        events = 0
        self._producer.begin_transaction()  # 2
        for message in messages:  # 3
            if message.value() is None and not isinstance(message, Unreadable):
                counted["tombstone"] += 1
                continue
            record_ms = message.timestamp()[1] if message.timestamp()[0] else time.time_ns() // 1_000_000
            made = (
                Bridged([], InvalidEvent(*CANNOT_READ))
                if isinstance(message, Unreadable)
                else bridged(self._source.kind, message.value(), max(record_ms, 0))
            )
            events += len(made.events)
            self._write(message, made, max(record_ms, 0))
            if made.problem is not None:
                reasons[made.problem.reason] += 1
            counted["dead_letter" if made.problem else "mapped" if made.events else "no_action"] += 1
        offsets = _following(messages)
        group = self._consumer.consumer_group_metadata()
        self._repeated(lambda: self._producer.send_offsets_to_transaction(offsets, group, CALL_S))  # 4
        self._repeated(lambda: self._producer.commit_transaction(CALL_S))  # 5
        self.trouble = None
        self._metrics.transactions.labels("committed").inc()
        self._metrics.events.inc(events)
        for outcome, n in counted.items():
            self._metrics.records.labels(outcome).inc(n)
        for reason, n in reasons.items():
            self._metrics.dead_letters.labels(reason).inc(n)
        for tp in offsets:
            _, high = self._consumer.get_watermark_offsets(tp, cached=True)
            self._metrics.lag.labels(str(tp.partition)).set(max(high - tp.offset, 0))

    def _write(self, message: Any, made: Bridged, record_ms: int) -> None:
        """Events arrive when their record did: silence is judged by that."""
        for session, value in made.events:
            self._produce(self._settings.topic, value, session, timestamp=record_ms)
        if made.problem is not None:
            lost = fitted(letter(message, made.problem, self._source.topic_id), self._letter_limit)
            self._produce(self._settings.dlq_topic, lost.value, lost.key, headers=lost.headers)

    def _produce(self, topic: str, value: bytes | None, key: str | bytes | None, **more: Any) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=self._delivered, **more)
            except BufferError:
                self._producer.poll(0.05)
            else:
                return

    def _delivered(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None and error.code() in TOO_LARGE:
            self._refused = error

    def _abort(self, error: KafkaError, messages: Sequence[Any]) -> None:
        """Undo the transaction and read its records again.

        Raises:
            KafkaException: that is not possible any more.
        """
        if error.fatal() or not (error.txn_requires_abort() or error.code() in TOO_LARGE):
            raise KafkaException(error)
        self.trouble = f"a transaction was aborted ({error.name()})"
        log.warning("a transaction was aborted (%s); its records are read again", error.name())
        self._repeated(lambda: self._producer.abort_transaction(CALL_S))
        self._metrics.transactions.labels("aborted").inc()
        if self._refused is not None or error.code() in TOO_LARGE:
            self._letter_limit = max(self._letter_limit // 2, SMALLEST - 1)
        for tp in _first(messages):
            self._seek(tp.partition, tp.offset)
        time.sleep(WAIT_S)

    def _seek(self, partition: int, offset: int) -> None:
        try:
            self._consumer.seek(TopicPartition(self._source.topic, partition, offset))
        except KafkaException:
            log.debug("partition %d has another owner by now, who reads on from what is committed", partition)

    def _repeated(self, call: Callable[[], T]) -> T:
        """Make a call again while its outcome is unknown; librdkafka goes on where it was."""
        while True:
            try:
                return call()
            except KafkaException as error:
                if not error.args[0].retriable() or self._stopping:
                    raise
                self.trouble = f"Kafka does not answer ({error.args[0].name()})"
                self.beat = time.monotonic()

    def _assigned(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        self.trouble = None
        log.info("reading partitions %s of %s", sorted(tp.partition for tp in partitions), self._source.topic)


def _following(messages: Sequence[Any]) -> list[TopicPartition]:
    """For each partition the offset after its last record."""
    last = {message.partition(): message for message in messages}
    return [TopicPartition(m.topic(), m.partition(), m.offset() + 1) for m in last.values()]


def _first(messages: Sequence[Any]) -> list[TopicPartition]:
    """For each partition the offset of its first record."""
    first = {message.partition(): message for message in reversed(messages)}
    return [TopicPartition(m.topic(), m.partition(), m.offset()) for m in first.values()]


def consumer_config(settings: Settings, source: Source) -> dict[str, Any]:
    """The consumer's settings: its offsets are committed by transactions alone."""
    return {
        "group.id": f"{settings.group}.bridge.{source.topic}",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "session.timeout.ms": settings.session_timeout_s * 1000,
        "queued.max.messages.kbytes": 8_192,
        "allow.auto.create.topics": False,
        **settings.kafka_client(),
    }


def producer_config(settings: Settings, source: Source) -> dict[str, Any]:
    """The producer's settings."""
    return {
        **RELIABLE,
        "transactional.id": f"{settings.group}.bridge.{source.topic}.{source.instance}",
        "transaction.timeout.ms": TRANSACTION_S * 1000,
        "linger.ms": 5,
        "compression.type": "lz4",
        **settings.kafka_client(),
    }
