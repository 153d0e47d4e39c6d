"""``clickstage dlq redrive``: dead letters back to the clicks topic, each once."""

from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from decisions.intake import CANNOT_READ
from featurestore.contract.decode import decode
from featurestore.errors import InvalidEvent, SettingsError, Unsafe
from worker.errors import ExitCode
from worker.kafka.letters import PREFIX, was_cut
from worker.kafka.reading import asked, bounds, reader, records
from worker.kafka.sender import NotDelivered, Sender
from worker.kafka.sent_offsets import SentOffsets
from worker.kafka.unreadable import Unreadable
from worker.pipeline.outputs import producer_config
from worker.settings import Settings

REDRIVEN: Final = "clickstage.redriven"
"""Header of a record sent again: where its dead letter stands."""
_CHECK_EVERY: Final = 64
_TIMEOUT_S: Final = 10.0
_DELIVERY_S: Final = 60


class _Redrive:
    """One run, from what was sent before to the ends that the partitions had at its start."""

    def __init__(self, settings: Settings, consumer: Consumer, sender: Sender, chosen: Callable[[Any], bool]) -> None:
        self._settings = settings
        self._consumer = consumer
        self._sender = sender
        self._chosen = chosen
        self._sent: dict[int, SentOffsets] = {}
        self._noted: dict[int, SentOffsets] = {}  # as `_sent` will be if Kafka takes everything
        self._full: set[int] = set()
        self.sent = self.stay = self.waiting = 0

    def run(self, *, again: bool, dry_run: bool) -> None:
        topic = self._settings.dlq_topic
        partitions = letters_partitions(self._consumer, self._settings)
        with asked(f"tell group {self._settings.group}.redrive what of {topic} was sent before"):
            known = self._consumer.committed([TopicPartition(topic, p) for p in partitions], timeout=_TIMEOUT_S)
            spans = bounds(self._consumer, topic, partitions)
        for tp in known:
            for book in (self._sent, self._noted):
                book[tp.partition] = SentOffsets() if again else SentOffsets.of(max(tp.offset, 0), tp.metadata)
        self._skip({p: (0, low) for p, (low, _) in spans.items()})
        try:
            self._read({p: (self._sent[p].begin, high) for p, (_, high) in spans.items()}, dry_run=dry_run)
        finally:  # after Ctrl-C too: what was sent is sent
            missing = self._sender.finish(_DELIVERY_S)
            if not dry_run:
                self._note()
        if missing:
            raise NotDelivered(
                f"{self._sender.delivered} were sent and are noted as sent. Kafka does not have {missing} more in "
                f"{self._settings.topic} "
                f"({self._sender.why()}); then run this again, it sends only those"
            )

    def _read(self, spans: dict[int, tuple[int, int]], *, dry_run: bool) -> None:
        after = {p: first for p, (first, _) in spans.items()}
        with asked(f"read {self._settings.dlq_topic}"):
            for m in records(self._consumer, self._settings, self._settings.dlq_topic, spans):
                partition, offset = m.partition(), m.offset()
                self._skip({partition: (after[partition], offset)})
                after[partition] = offset + 1
                if offset not in self._sent[partition]:
                    self._take(m, dry_run=dry_run)
        self._skip({p: (after[p], end) for p, (_, end) in spans.items()})

    def _skip(self, spans: dict[int, tuple[int, int]]) -> None:
        """Offsets at which there is no letter: nothing is left to send there."""
        for partition, span in spans.items():
            self._sent[partition].add(*span)
            self._noted[partition].add(*span)

    def _take(self, message: Any, *, dry_run: bool) -> None:
        partition, offset = message.partition(), message.offset()
        if not self._chosen(message):
            self.stay += 1
            return
        if partition in self._full:
            self.waiting += 1
            return
        self.sent += 1
        noted = self._noted[partition]
        noted.add(offset)
        if self.sent % _CHECK_EVERY == 0 and not noted.fits:
            self._full.add(partition)
        if not dry_run:
            place = f"{self._settings.dlq_topic}/{partition}/{offset}".encode()
            headers = [(n, v) for n, v in message.headers() or [] if not n.startswith(PREFIX)]
            self._sender.send(
                self._settings.topic,
                message.value(),
                message.key(),
                headers=[*headers, (REDRIVEN, place)],
                timestamp=_written_ms(message),
                on_delivered=lambda: self._sent[partition].add(offset),
            )

    def _note(self) -> None:
        topic = self._settings.dlq_topic
        marks = [TopicPartition(topic, p, sent.begin, sent.note()) for p, sent in self._sent.items()]
        try:
            self._consumer.commit(offsets=marks, asynchronous=False)
        except KafkaException as error:
            raise Unsafe(
                f"{self._sender.delivered} were sent, but Kafka did not note it ({error.args[0].name()}): give this "
                f"user READ on group {self._settings.group}.redrive. Until then each run sends them again"
            ) from None


def redrive(settings: Settings, *, again: bool, force: bool, dry_run: bool) -> int:
    """Send what is an event by now (with ``force``: everything that is whole) and say how many were sent and stay.

    Raises:
        NotDelivered: Kafka refused some; the others are sent and noted.
        Unsafe: Kafka does not answer, or does not note what was sent.
    """

    def chosen(message: Any) -> bool:
        whole = message.value() is not None and not was_cut(message.headers() or [])
        return whole and (force or _is_event(message.value()))

    sender = Sender({**producer_config(settings), "message.timeout.ms": _DELIVERY_S * 1_000})
    consumer = reader(settings, f"{settings.group}.redrive")
    run = _Redrive(settings, consumer, sender, chosen)
    try:
        run.run(again=again, dry_run=dry_run)
    finally:
        consumer.close()
    print(
        f"{'would send' if dry_run else 'sent'} {run.sent} to {settings.topic}; {run.stay} are still no events and stay"
    )
    if run.waiting:
        print(
            f"{run.waiting} more wait: too many letters that stay lie between those that were sent. Send these with "
            "--force, or run this again when retention has deleted them"
        )
    return ExitCode.OK


def letters_partitions(consumer: Consumer, settings: Settings) -> list[int]:
    """Partitions of the dead letters' topic.

    Raises:
        Unsafe: Kafka does not answer.
        SettingsError: there is no such topic.
    """
    topic = settings.dlq_topic
    try:
        found = consumer.list_topics(topic, timeout=8.0).topics[topic]
    except KafkaException as error:
        raise Unsafe(f"Kafka does not answer ({error.args[0].name()}): start it, or set CLICKSTAGE_KAFKA") from None
    if found.error is not None:
        raise SettingsError(f"Kafka has no topic {topic}: name the dead letters' topic with --dlq-topic")
    return list(found.partitions)


def why_dead(message: Any) -> dict[str, str]:
    """What a dead letter's own headers say of it."""
    if isinstance(message, Unreadable):  # its headers are in the batch, too
        return {"reason": CANNOT_READ[0], "exception.message": CANNOT_READ[1]}
    pairs = [(n.removeprefix(PREFIX), v) for n, v in message.headers() or [] if n.startswith(PREFIX)]
    return {name: (value or b"").decode(errors="replace") for name, value in pairs}


def _written_ms(message: Any) -> int:
    """When the record was written that became a dead letter, epoch ms; 0 has Kafka take the present."""
    said = why_dead(message).get("timestamp", "")
    written = int(said) if said.lstrip("-").isdigit() else int(message.timestamp()[1])
    return max(written, 0)


def _is_event(value: bytes | None) -> bool:
    try:
        decode(value or b"")
    except InvalidEvent:
        return False
    return True
