"""Sends records for a command, and knows by their delivery reports which of them Kafka has.

`Producer.flush() == 0` only says that nothing is under way. A record that Kafka refused is not under way either.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from featurestore.errors import ClickstageError
from worker.kafka.letters import Header

_REMEDY: Final = {
    "TOPIC_AUTHORIZATION_FAILED": "give this user WRITE on the topic",
    "CLUSTER_AUTHORIZATION_FAILED": "give this user IDEMPOTENT_WRITE on the cluster, or WRITE on the topic",
    "MSG_SIZE_TOO_LARGE": "raise the topic's max.message.bytes",
    "RECORD_LIST_TOO_LARGE": "raise the topic's segment.bytes",
    "UNKNOWN_TOPIC_OR_PART": "create the topic",
    "_UNKNOWN_TOPIC": "create the topic",
}
NO_ANSWER: Final = "no acknowledgement in time"


class NotDelivered(ClickstageError):
    """Kafka does not have every record that a command sent."""


class Sender:
    """A producer that counts what is delivered and what is not.

    Args:
        config: of the client. Its ``message.timeout.ms`` bounds how long a record may be under way.
        make: a client of its settings.

    Attributes:
        delivered: records that Kafka acknowledged.
        refused: records that it did not, by the name of the client's error.
    """

    def __init__(self, config: Mapping[str, Any], make: Callable[..., Producer] = Producer) -> None:
        # Without its reports a record's fate is not known, whatever the settings of other producers are.
        self._producer = make({**config, "delivery.report.only.error": False}, logger=logging.getLogger("worker.kafka"))
        self.delivered = 0
        self.refused: Counter[str] = Counter()
        self._gave_up: KafkaError | None = None  # the client, for good

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | str | None,
        *,
        timestamp: int = 0,
        headers: Sequence[Header] = (),
        on_delivered: Callable[[], None] | None = None,
        go_on: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Queue a record; blocks while the client's queue is full and ``go_on`` says so. Whether it was queued.

        Args:
            topic: where to.
            value: of the record.
            key: of the record.
            timestamp: of the record, epoch ms; 0 for now.
            headers: of the record.
            on_delivered: called once Kafka has the record, and never if it has not.
            go_on: asked while the queue is full.
        """

        def report(error: KafkaError | None, _message: Any) -> None:
            if error is not None:
                self.refused[(self._gave_up or error).name()] += 1
                return
            self.delivered += 1
            if on_delivered is not None:
                on_delivered()

        while go_on():
            try:
                self._producer.produce(
                    topic, value, key, headers=list(headers), timestamp=timestamp, on_delivery=report
                )
            except BufferError:  # Kafka is slower than we are, or away
                self.poll(0.05)
            except KafkaException as error:  # refused before it was sent: too large, or the client knows of no right
                self.refused[(self._gave_up or error.args[0]).name()] += 1
                return True
            else:
                return True
        return False

    def poll(self, wait_s: float = 0.0) -> None:
        """Take reports, for up to ``wait_s``."""
        try:
            self._producer.poll(wait_s)
        except KafkaException as error:  # every record is told so
            self._gave_up = error.args[0]

    def finish(self, wait_s: float) -> int:
        """Wait until every record has its report, or for ``wait_s``; how many Kafka does not have."""
        until = time.monotonic() + wait_s
        while (left := len(self._producer)) and time.monotonic() < until:
            self.poll(0.05)
        if left:
            self.refused[NO_ANSWER] += left
        return self.refused.total()

    def why(self) -> str:
        """What kept records out of Kafka, and what to do about it; for a message."""
        causes = ", ".join(f"{n} {name}" for name, n in sorted(self.refused.items()))
        remedies = sorted({_REMEDY.get(name, "look at the brokers") for name in self.refused})
        return f"{causes}: {' and '.join(remedies)}"
