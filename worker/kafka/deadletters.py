"""Dead letters: records that are no events, kept as they came, with the reason in headers of Kafka Connect's names.

Key, value and headers are the original bytes, so a repaired decoder can drive them again, unless they are too large for
the topic: then they are cut, and headers say so (`letters`). The reason never quotes them.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from decisions.intake import Records
from featurestore.errors import DeadLetterLimit, InvalidEvent
from worker.kafka.letters import PREFIX, Header, Letter
from worker.metrics.metrics import Metrics
from worker.protocols import Producer
from worker.settings import Settings

WINDOW: Final = 1_000
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


class Limit:
    """Stops a worker that would empty its topic into the dead letters.

    Args:
        share: largest share of bad records among the last 1,000 (checked once there are 1,000).
        consecutive: most bad records in a row.
    """

    def __init__(self, share: float, consecutive: int) -> None:
        self._share = share
        self._consecutive = consecutive
        self._in_a_row = 0
        self._recent: deque[tuple[int, int]] = deque()  # (records, bad) a batch
        self._records = 0
        self._bad = 0

    def check(self, records: int, bad_at: Sequence[int]) -> None:
        """Count one partition's batch; ``bad_at`` are the places of its bad records, ascending.

        Raises:
            DeadLetterLimit: a limit is passed.
        """
        if not bad_at:
            self._in_a_row = 0
        else:
            previous = -1
            for place in bad_at:
                self._in_a_row = self._in_a_row + 1 if place == previous + 1 else 1
                previous = place
                if self._in_a_row >= self._consecutive:
                    raise DeadLetterLimit(
                        f"{self._in_a_row} records in a row are no events; look at the dead letters "
                        "(`clickstage dlq list`) and at the producer, or raise CLICKSTAGE_DLQ_MAX_CONSECUTIVE"
                    )
            if previous != records - 1:
                self._in_a_row = 0
        self._recent.append((records, len(bad_at)))
        self._records += records
        self._bad += len(bad_at)
        while self._recent and self._records - self._recent[0][0] >= WINDOW:
            old = self._recent.popleft()
            self._records -= old[0]
            self._bad -= old[1]
        if self._records >= WINDOW and self._bad > self._share * self._records:
            raise DeadLetterLimit(
                f"{self._bad} of the last {self._records} records are no events; look at the dead letters "
                "(`clickstage dlq list`) and at the producer, or raise CLICKSTAGE_DLQ_MAX_SHARE"
            )


class DeadLetters:
    """Produces dead letters and holds the limits, one a partition.

    Args:
        settings: the topic and the limits.
        outputs: Kafka, out.
        metrics: counts them.
        topic_id: id of the topic that is read.
    """

    def __init__(self, settings: Settings, outputs: Producer, metrics: Metrics, topic_id: str) -> None:
        self._settings = settings
        self._outputs = outputs
        self._metrics = metrics
        self._topic_id = topic_id
        self._limits: dict[int, Limit] = {}

    def send(self, records: Records, bad: Sequence[tuple[int, InvalidEvent]], messages: Sequence[Any]) -> None:
        """Produce the bad ones of one partition's records.

        Args:
            records: good and bad.
            bad: places of the bad ones among them, ascending, and what is wrong.
            messages: the records as the client gave them.

        Raises:
            DeadLetterLimit: there are too many.
        """
        for place, error in bad:
            self._outputs.send_letter(letter(messages[place], error, self._topic_id))
            self._metrics.dead_letters.inc(error.reason)
        limit = self._limits.setdefault(
            records.partition, Limit(self._settings.dlq_max_share, self._settings.dlq_max_consecutive)
        )
        limit.check(len(records.offsets), [place for place, _ in bad])
