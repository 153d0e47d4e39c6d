"""What the worker produces: decisions, session summaries, dead letters. The only place that holds a producer.

Dead letters are acknowledged before the script of their batch moves the applied offset; decisions and summaries are
produced after it, and the outbox that the script kept is dropped only once they are acknowledged. So nothing that was
applied is missing from the topics. What is produced again has the same identity and the same content.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from operator import length_hint
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from featurestore.contract.partitioner import PARTITIONER
from featurestore.store.outbox import Output
from worker.kafka.letters import PREFIX, Header, Letter, fitted
from worker.settings import Settings

log = logging.getLogger(__name__)

TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
"""Codes of a record that is refused by its size, here or by the broker."""

PARTITION_UA: Final = -1
"""The partitioner chooses."""

RELIABLE: Final[dict[str, Any]] = {
    "acks": "all",
    "enable.idempotence": True,
    # A broker that knows nothing of this producer yet, because the topic or its leadership is new, may refuse the
    # first of two requests and take the second; the first, sent again, it then calls a duplicate (decision 0017).
    "max.in.flight": 1,
    "partitioner": PARTITIONER,
}
"""What a producer needs so that what it is told is delivered is in the log, once, where its session is."""

CLIENT_LIMIT: Final = 1_000_000
"""Largest record that librdkafka takes unless ``message.max.bytes`` says otherwise."""

ORDINARY_BYTES: Final = 16_384
"""Decisions and summaries up to this size must fit: a topic that refuses them is set up wrong, and is waited for."""

REFUSED_STAGE: Final = "output_too_large"

MOST_RECORDS: Final = 8_000
"""Records that may be under way."""

MOST_UNTOLD: Final = 64_000
MOST_GIVEN: Final = 2_048
"""Records, and outputs of a shard, that may be given before it is known that all are acknowledged: the outboxes hold
them until then. While more is given all the time something always lingers, so it takes a wait to know. Each wait holds
up the events of a turn, and a turn makes one output per shard; the bound is high enough that turns rarely wait."""


class Outputs:
    """A producer that says what of all it was given is safe.

    No size of a record stops it. A dead letter that its topic refuses is cut to half until it is taken. A decision or
    summary that a topic refuses by size, and that is not of an ordinary size, becomes a dead letter.

    Args:
        settings: brokers and topics.
        limits: largest record that each topic takes, as far as Kafka tells.
        on_too_large: called for each output that became a dead letter.

    Attributes:
        given: how often something was given to it. What was given first is acknowledged first, as far as can be told:
            `acknowledged` follows when nothing is under way.
    """

    def __init__(
        self,
        settings: Settings,
        limits: Mapping[str, int] | None = None,
        on_too_large: Callable[[], None] = lambda: None,
    ) -> None:
        limits = limits or {}
        config = producer_config(settings)
        # A batch is refused as a whole: it must not be larger than what the smallest topic takes.
        config.setdefault("batch.size", max(min([CLIENT_LIMIT, *limits.values()]), 1))
        self._config = config
        self._producer = Producer(config, logger=logging.getLogger("worker.kafka"))
        self._alone: Producer | None = None
        self._letter_limit = min(
            int(config.get("message.max.bytes", CLIENT_LIMIT)), limits.get(settings.dlq_topic, CLIENT_LIMIT)
        )
        self._dlq_topic = settings.dlq_topic
        self._on_too_large = on_too_large
        self._failure: KafkaError | None = None
        self._acknowledged = 0
        self._untold = 0  # records given since `acknowledged` was last `given`
        self.given = 0
        self._topics = {stream.code: topic for stream, topic in settings.streams()}

    def send(self, outputs: Sequence[Output]) -> int:
        """Queue the outputs of a batch; `given` after it."""
        self.given += 1
        for stream, keys, values, _ in outputs:
            if topic := self._topics.get(stream):
                self._untold += len(values)
                self._queue(topic, list(keys), list(values))
        return self.given

    def _queue(self, topic: str, keys: list[str], values: list[bytes]) -> None:
        produce, at = self._producer.produce, 0
        while at < len(values):
            left = iter(values[at:])
            # No step of the interpreter for each record, nor a dict, as produce_batch wants.
            queued = map(produce, repeat(topic), left, keys[at:], repeat(PARTITION_UA), repeat(self._delivered))
            try:
                deque(queued, maxlen=0)
            except BufferError:
                at = len(values) - length_hint(left) - 1  # the one that did not fit comes first
                self._producer.poll(0.01)
            except KafkaException as error:
                at = len(values) - length_hint(left)
                if error.args[0].code() not in TOO_LARGE:
                    self._refused_at_once(error)
                    return  # the outboxes keep the rest
                self._too_large(topic, keys[at - 1].encode(), values[at - 1])
            else:
                return

    def send_letter(self, letter: Letter) -> None:
        """Queue a dead letter, cut to what its topic takes. Its time is now: retention counts from here."""
        self.given += 1
        self._queue_letter(fitted(letter, self._letter_limit))

    def _queue_letter(self, letter: Letter, *, alone: bool = False) -> None:
        if alone and self._alone is None:
            # A batch is refused as a whole: only a record in a batch of its own is known to be too large itself.
            config = {**self._config, "batch.num.messages": 1}
            self._alone = Producer(config, logger=logging.getLogger("worker.kafka"))
        producer = self._alone if alone and self._alone is not None else self._producer
        while True:
            try:
                producer.produce(
                    self._dlq_topic,
                    letter.value,
                    letter.key,
                    headers=letter.headers,
                    on_delivery=lambda error, _: self._letter_delivered(letter, error, alone=alone),
                )
            except BufferError:
                producer.poll(0.01)
            except KafkaException as error:
                if not self._again(letter, error.args[0], alone=alone):
                    self._refused_at_once(error)
                return
            else:
                return

    def _refused_at_once(self, error: KafkaException) -> None:
        """Note what the client refuses at once (a right is gone); `acknowledged` reports it like any other refusal.

        Raises:
            KafkaException: the client is no longer usable.
        """
        if error.args[0].fatal():
            raise error
        self._failure = error.args[0]

    def _letter_delivered(self, letter: Letter, error: KafkaError | None, *, alone: bool) -> None:
        if error is not None and not self._again(letter, error, alone=alone):
            self._failure = error

    def _again(self, letter: Letter, error: KafkaError, *, alone: bool) -> bool:
        """Produce a letter that was refused by its size again, in a batch of its own, and then cut to half.

        False if that is not why it was refused, or if nothing is left to cut.
        """
        if error.code() not in TOO_LARGE:
            return False
        smaller = fitted(letter, letter.size // 2) if alone else letter
        if alone and smaller.size >= letter.size:
            return False
        self._queue_letter(smaller, alone=True)
        return True

    def _left(self) -> int:
        """Records under way, and reports of those that failed."""
        return len(self._producer) + (0 if self._alone is None else len(self._alone))

    def settled(self, wait_s: float) -> bool:
        """Wait up to ``wait_s`` until everything queued is acknowledged; whether it is.

        Raises:
            KafkaException: Kafka refused a record for good (too large, not authorised, no such topic).
        """
        self._flush(wait_s)
        return self.acknowledged() == self.given

    def acknowledged(self) -> int:
        """`given` as it was when all that had been given is now acknowledged. Never blocks.

        Raises:
            KafkaException: as `settled`.
        """
        left = self._left()
        if left:
            self._producer.poll(0)
            if self._alone is not None:
                self._alone.poll(0)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise KafkaException(failure)
        if not left:
            self._acknowledged = self.given
            self._untold = 0
        return self._acknowledged

    def room(self) -> bool:
        """Whether more may be given before what is under way is acknowledged."""
        return (
            self._left() < MOST_RECORDS and self._untold < MOST_UNTOLD and self.given - self._acknowledged < MOST_GIVEN
        )

    def close(self, wait_s: float) -> bool:
        """Deliver what can be delivered in time; whether that was all."""
        return self._flush(wait_s) == 0 and self._failure is None

    def _flush(self, wait_s: float) -> int:
        """Wait until nothing is under way, or for ``wait_s``; how much still is."""
        self._producer.flush(wait_s)
        if self._alone is not None:
            self._alone.flush(wait_s)
        return self._left()

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is None:
            return
        value = message.value() or b""
        if error.code() in TOO_LARGE and len(value) > ORDINARY_BYTES:
            self._too_large(message.topic(), message.key(), value)
        else:
            self._failure = error

    def _too_large(self, topic: str, key: bytes | None, value: bytes) -> None:
        """An output that no size of a batch would let through becomes a dead letter; the worker goes on."""
        own = {"topic": topic, "class.name": "worker.pipeline.outputs", "reason": REFUSED_STAGE}
        headers: list[Header] = [(f"{PREFIX}{name}", text.encode()) for name, text in own.items()]
        log.error("topic %s refuses a document of %d bytes; it becomes a dead letter", topic, len(value))
        self._on_too_large()
        self._queue_letter(fitted(Letter(key, value, [], headers), self._letter_limit))


def producer_config(settings: Settings) -> dict[str, Any]:
    """The producer's settings."""
    return {
        **RELIABLE,
        "linger.ms": 25,  # no decision waits for the log; a request per batch and partition would keep the broker busy
        "batch.num.messages": 20_000,
        "queue.buffering.max.messages": 400_000,
        "queue.buffering.max.kbytes": 65_536,
        "message.timeout.ms": 0,  # Kafka away is no reason to lose a record: wait, the loop pauses meanwhile
        "delivery.report.only.error": True,
        "reconnect.backoff.max.ms": 2_000,
        "compression.type": "lz4",
        **settings.kafka_client(),
    }
