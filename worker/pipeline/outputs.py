"""What the worker produces: decisions, session summaries, dead letters. The only place that holds a producer.

Dead letters are acknowledged before the script of their batch moves the applied offset; decisions and summaries are
produced after it, and the outbox that the script kept is dropped only once they are acknowledged. So nothing that was
applied is missing from the topics. What is produced again has the same identity and the same content.
"""

import logging
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from operator import length_hint
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from featurestore.contract.partitioner import PARTITIONER
from featurestore.store.outbox import Output
from worker.settings import Settings

log = logging.getLogger(__name__)

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

KEPT_BYTES: Final = 900_000
"""Most of a dead letter's value: a topic's usual limit less the headers. What no topic takes blocks its partition."""

MOST_RECORDS: Final = 8_000
"""Records that may be under way."""

MOST_UNTOLD: Final = 64_000
MOST_GIVEN: Final = 2_048
"""Records, and outputs of a shard, that may be given before it is known that all are acknowledged: the outboxes hold
them until then. While more is given all the time something always lingers, so it takes a wait to know. Each wait holds
up the events of a turn, and a turn gives one output a shard: so many, that turns that wait are few."""

CUT_HEADER: Final = "__connect.errors.value.original.bytes"
"""Size of a value before it was cut."""


class Outputs:
    """A producer that says what of all it was given is safe.

    Attributes:
        given: how often something was given to it. What was given first is acknowledged first, as far as can be told:
            `acknowledged` follows when nothing is under way.
    """

    def __init__(self, settings: Settings) -> None:
        self._producer = Producer(producer_config(settings), logger=logging.getLogger("worker.kafka"))
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
            else:
                return

    def send_one(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, str | bytes | None]],
        timestamp_ms: int,
    ) -> None:
        """Queue one record with headers, as it is; one too large to have room for headers is cut, and says so."""
        if value is not None and len(value) > KEPT_BYTES:
            headers = [*headers, (CUT_HEADER, str(len(value)).encode())]
            value = value[:KEPT_BYTES]
        self.given += 1
        while True:
            try:
                self._producer.produce(
                    topic,
                    value,
                    key,
                    headers=headers,
                    timestamp=max(timestamp_ms, 0),
                    on_delivery=self._delivered,
                )
            except BufferError:
                self._producer.poll(0.01)
            else:
                return

    def settled(self, wait_s: float) -> bool:
        """Wait up to ``wait_s`` until everything queued is acknowledged; whether it is.

        Raises:
            KafkaException: Kafka refused a record for good (too large, not authorised, no such topic).
        """
        self._producer.flush(wait_s)
        return self.acknowledged() == self.given

    def acknowledged(self) -> int:
        """`given` as it was when all that had been given is now acknowledged. Never blocks.

        Raises:
            KafkaException: as `settled`.
        """
        left = len(self._producer)  # what is under way and the reports of what failed
        if left:
            self._producer.poll(0)
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
            len(self._producer) < MOST_RECORDS
            and self._untold < MOST_UNTOLD
            and self.given - self._acknowledged < MOST_GIVEN
        )

    def close(self, wait_s: float) -> bool:
        """Deliver what can be delivered in time; whether that was all."""
        return bool(self._producer.flush(wait_s) == 0 and self._failure is None)

    def _delivered(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            self._failure = error


def producer_config(settings: Settings) -> dict[str, Any]:
    """The producer's settings."""
    return {
        **RELIABLE,
        "linger.ms": 25,  # no decision waits for the log; a request per batch and partition would keep the broker busy
        "batch.num.messages": 20_000,
        "queue.buffering.max.messages": 400_000,
        "queue.buffering.max.kbytes": 262_144,
        "message.timeout.ms": 0,  # Kafka away is no reason to lose a record: wait, the loop pauses meanwhile
        "delivery.report.only.error": True,
        "reconnect.backoff.max.ms": 2_000,
        "compression.type": "lz4",
        **settings.kafka_client(),
    }
