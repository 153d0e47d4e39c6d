"""The way back from the spool to Kafka: in order, by one process of the machine at a time, until nothing waits.

A chunk is read, produced and acknowledged as a whole; then the cursor moves. A chunk that failed is sent again from its
beginning. What is sent twice has the same `event_id`, and the worker counts it once.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from edge.publisher import PRODUCER
from edge.spool import Spool, Spooled

log = logging.getLogger(__name__)

CHUNK: Final = 5_000
TAIL: Final = 2_000
"""So few records are replayed while nobody may append."""
EVERY_S: Final = 0.25
REFUSED: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError._INVALID_ARG})  # noqa: SLF001 - the client's name
"""Kafka will never take such a record: it is counted and left out, or it would block all others."""


class Replay:
    """A thread that empties the spool whenever Kafka takes events.

    Attributes:
        replayed, refused: records so far.
    """

    def __init__(self, client: Mapping[str, Any], spool: Spool, patience_s: float) -> None:
        self._config = {
            **PRODUCER,
            "linger.ms": 5,
            "message.timeout.ms": round(patience_s * 1000),
            **client,
        }
        self._spool = spool
        self._producer: Producer | None = None
        self._errors: list[KafkaError] = []
        self._stop = threading.Event()
        self.replayed = self.refused = 0
        self._thread = threading.Thread(target=self._run, name="edge-replay", daemon=True)
        self._thread.start()

    def close(self, wait_s: float) -> None:
        """Stop after the chunk that is under way."""
        self._stop.set()
        self._thread.join(wait_s)

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            try:
                if self._spool.waiting():
                    with self._spool.replaying() as mine:
                        if mine:
                            self._empty()
                elif self._producer is not None:
                    self._producer = None  # its connections are not needed until the next time
            except (OSError, KafkaException) as error:
                self._producer = None  # it may have given up for good
                log.error("the spool cannot be replayed; trying again", extra={"error_class": type(error).__name__})  # noqa: TRY400

    def _empty(self) -> None:
        while not self._stop.is_set():
            records, place = self._spool.read(self._spool.cursor(), CHUNK)
            if len(records) > TAIL:
                if not self._send(records):
                    return
                self._spool.advance(place)
                continue
            # Little is left: send it while nobody appends, and then nothing waits. Whether Kafka takes anything at all
            # is found out before, since nobody's event may wait for that.
            if records and not self._send(records):
                return
            self._spool.advance(place)
            with self._spool.ending():
                rest, _ = self._spool.read(self._spool.cursor(), TAIL + 1, alone=True)
                if len(rest) <= TAIL and self._send(rest):
                    self._spool.finish()
                    log.info("the spool is empty; events go to Kafka again", extra={"replayed": self.replayed})
                    return

    def _send(self, records: Sequence[Spooled]) -> bool:
        """Produce and wait for every report; whether Kafka has them all."""
        if not records:
            return True
        if self._producer is None:
            self._producer = Producer(self._config, logger=logging.getLogger("edge.kafka"))
        self._errors = []
        for record in records:
            self._produce(self._producer, record)
        while len(self._producer):
            self._producer.poll(0.1)
        passing = [error for error in self._errors if error.code() not in REFUSED]
        if passing:
            log.warning("Kafka does not take the spooled events yet", extra={"reason": passing[0].name()})
            return False
        self.refused += len(self._errors)
        self.replayed += len(records) - len(self._errors)
        if self._errors:
            log.error("Kafka refused spooled events for good; they are left out", extra={"records": len(self._errors)})
        return True

    def _produce(self, producer: Producer, record: Spooled) -> None:
        topic, key, value, at_ms = record
        while True:
            try:
                return producer.produce(topic, value, key, on_delivery=self._delivered, timestamp=at_ms)
            except BufferError:  # the client's memory is full of large events: Kafka takes some, or their time is over
                producer.poll(0.1)

    def _delivered(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            self._errors.append(error)
