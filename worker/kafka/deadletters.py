"""Dead letters: records that are no events, kept as they came, with the reason in headers of Kafka Connect's names.

Key, value and headers are the original bytes, so a repaired decoder can drive them again, unless they are too large for
the topic: then they are cut, and headers say so (`letters`). The reason never quotes them.
"""

from collections.abc import Sequence
from typing import Any, Final

from decisions.intake import Records
from featurestore.errors import InvalidEvent
from worker.kafka.letters import PREFIX, Header, Letter
from worker.metrics.metrics import Metrics
from worker.protocols import Producer

STAGE: Final = "VALUE_CONVERTER"


def letter(message: Any, error: InvalidEvent, topic_id: str) -> Letter:
    """The record as it came, and headers that say where it stood, when it was written, and why it was refused.

    ``(topic id, partition, offset)`` tells a record that a replay sends here again from a second one.
    """
    own = [
        ("topic", message.topic()),
        ("topic.id", topic_id),
        ("partition", str(message.partition())),
        ("offset", str(message.offset())),
        ("connector.name", "clickstage"),
        ("task.id", "0"),
        ("stage", STAGE),
        ("class.name", "featurestore.contract.decode"),
        ("exception.class.name", type(error).__name__),
        ("exception.message", error.detail),
        ("reason", error.reason),
        ("timestamp", str(message.timestamp()[1])),
    ]
    said: list[Header] = [(f"{PREFIX}{name}", text.encode()) for name, text in own]
    return Letter(message.key(), message.value(), message.headers() or [], said)


class DeadLetters:
    """Produces dead letters.

    Args:
        outputs: Kafka, out.
        metrics: counts them.
        topic_id: id of the topic that is read.
    """

    def __init__(self, outputs: Producer, metrics: Metrics, topic_id: str) -> None:
        self._outputs = outputs
        self._metrics = metrics
        self._topic_id = topic_id

    def send(
        self, records: Records, bad: Sequence[tuple[int, InvalidEvent]], messages: Sequence[Any], written: int
    ) -> None:
        """Produce the bad ones of one partition's records.

        Args:
            records: good and bad.
            bad: places of the bad ones among them, ascending, and what is wrong.
            messages: the records as the client gave them.
            written: what lies before this offset has its letter already.
        """
        for place, error in bad:
            if records.offsets[place] >= written:
                self._outputs.send_letter(letter(messages[place], error, self._topic_id))
                self._metrics.dead_letters.inc(error.reason)
