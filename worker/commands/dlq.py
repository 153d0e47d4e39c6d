"""``clickstage dlq``: look at dead letters, send them again once mended, let a held partition go on."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from featurestore.contract.decode import decode
from featurestore.errors import Backpressure, InvalidEvent, SettingsError, Unsafe
from worker.commands import dlq_pass
from worker.commands.options import add_settings, settings_from
from worker.errors import ExitCode
from worker.kafka.letters import PREFIX, was_cut
from worker.pipeline.outputs import producer_config
from worker.settings import Settings

REDRIVEN: Final = "clickstage.redriven"
"""Header of a record sent again: where its dead letter stands."""
_ACCESS: Final = ("kafka", "kafka_config", "kafka_password", "kafka_password_file", "group", "topic", "dlq_topic")


def main(argv: Sequence[str]) -> int:
    """List, show, re-drive or let pass."""
    parser = argparse.ArgumentParser(prog="clickstage dlq", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="a line a dead letter, without its content")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="the newest N (default: %(default)s)")
    show = commands.add_parser("show", help="one dead letter with its headers and its content")
    show.add_argument("where", metavar="PARTITION/OFFSET", help="as `list` prints it")
    redrive = commands.add_parser(
        "redrive",
        help="send dead letters to the clicks topic again, with key, headers and time as they were",
        description="Sends those that are events by now; the others would only come back. Each is sent once: the place "
        "is kept in the consumer group GROUP.redrive.",
    )
    redrive.add_argument("--again", action="store_true", help="from the beginning, also what was sent before")
    redrive.add_argument("--force", action="store_true", help="also those that are no events")
    redrive.add_argument("--dry-run", action="store_true", help="count only")
    for part in (listing, show, redrive):
        add_settings(part, _ACCESS)
    passing = commands.add_parser("pass", help="let held partitions go on", description=dlq_pass.DESCRIPTION)
    passing.add_argument(
        "--partition", type=int, nargs="+", default=[], metavar="N", help="these alone (default: all that are held)"
    )
    passing.add_argument(
        "--until", type=int, metavar="OFFSET", help="let pass what lies before it (default: what is there now)"
    )
    add_settings(passing, dlq_pass.ACCESS)
    args = parser.parse_args(argv)
    settings = settings_from(args)
    if args.command == "list":
        return _list(settings, args.limit)
    if args.command == "show":
        return _show(settings, args.where)
    if args.command == "pass":
        return dlq_pass.let_pass(settings, args.partition, args.until)
    return _redrive(settings, again=args.again, force=args.force, dry_run=args.dry_run)


def _list(settings: Settings, limit: int) -> int:
    letters = list(_letters(settings))
    letters.sort(key=lambda m: (m.timestamp()[1], m.partition(), m.offset()))
    reasons = Counter(_why(m).get("reason", "unknown") for m in letters)
    for m in letters[-limit:]:
        why = _why(m)
        origin = f"{why.get('topic', '?')}/{why.get('partition', '?')}/{why.get('offset', '?')}"
        size = len(m.value() or b"")
        print(
            f"{m.partition()}/{m.offset()}  {_time(m)}  from {origin}  {size} bytes  "
            f"{why.get('reason', 'unknown')}: {why.get('exception.message', '')}"
        )
    print(f"{len(letters)} dead letters in {settings.dlq_topic}: {dict(reasons)}")
    return ExitCode.OK


def _show(settings: Settings, where: str) -> int:
    partition, _, offset = where.partition("/")
    for m in _letters(settings):
        if (str(m.partition()), str(m.offset())) == (partition, offset):
            print(f"time   {_time(m)}\nkey    {_shown(m.key())}\nheaders")
            for name, value in m.headers() or []:
                print(f"  {name}: {_shown(value)}")
            print(f"value, {len(m.value() or b'')} bytes\n{_shown(m.value())}")
            return ExitCode.OK
    raise SettingsError(f"{settings.dlq_topic} holds no {where}; `clickstage dlq list` prints PARTITION/OFFSET")


def _redrive(settings: Settings, *, again: bool, force: bool, dry_run: bool) -> int:
    producer = Producer({**producer_config(settings), "message.timeout.ms": 60_000})
    refused: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            refused.append(error)

    consumer = _consumer(settings, f"{settings.group}.redrive")
    try:
        partitions = _partitions(consumer, settings.dlq_topic)
        kept = [] if again else consumer.committed(partitions, timeout=10.0)
        start = {tp.partition: max(tp.offset, 0) for tp in kept}
        sent = left = 0
        following: dict[int, int] = {}
        for m in _read(consumer, partitions, start):
            following[m.partition()] = m.offset() + 1
            if was_cut(m.headers() or []) or not (force or _is_event(m.value())):
                left += 1
                continue
            sent += 1
            if not dry_run:
                headers = [(n, v) for n, v in m.headers() or [] if not n.startswith(PREFIX)]
                place = f"{settings.dlq_topic}/{m.partition()}/{m.offset()}".encode()
                while True:
                    try:
                        producer.produce(
                            settings.topic,
                            m.value(),
                            m.key(),
                            headers=[*headers, (REDRIVEN, place)],
                            timestamp=_written_ms(m),
                            on_delivery=delivered,
                        )
                        break
                    except BufferError:
                        producer.poll(0.05)
        if producer.flush(60) or refused:
            raise Backpressure("Kafka did not take all of them; nothing is noted as sent, run it again")
        if not dry_run and following:
            done = [TopicPartition(settings.dlq_topic, p, o) for p, o in following.items()]
            consumer.commit(offsets=done, asynchronous=False)
    finally:
        consumer.close()
    print(f"{'would send' if dry_run else 'sent'} {sent} to {settings.topic}; {left} are still no events and stay")
    return ExitCode.OK


def _written_ms(message: Any) -> int:
    """When the record was written that became a dead letter, epoch ms; 0 has Kafka take the present."""
    said = _why(message).get("timestamp", "")
    written = int(said) if said.lstrip("-").isdigit() else int(message.timestamp()[1])
    return max(written, 0)


def _is_event(value: bytes | None) -> bool:
    try:
        decode(value or b"")
    except InvalidEvent:
        return False
    return True


def _why(message: Any) -> dict[str, str]:
    pairs = [(n.removeprefix(PREFIX), v) for n, v in message.headers() or [] if n.startswith(PREFIX)]
    return {name: (value or b"").decode(errors="replace") for name, value in pairs}


def _letters(settings: Settings) -> Iterator[Any]:
    consumer = _consumer(settings, f"{settings.group}.dlq")
    try:
        yield from _read(consumer, _partitions(consumer, settings.dlq_topic), {})
    finally:
        consumer.close()


def _consumer(settings: Settings, group: str) -> Consumer:
    config = {"group.id": group, "enable.auto.commit": False, "enable.partition.eof": True, "log_level": 2}
    return Consumer({**settings.kafka_client(), **config, "auto.offset.reset": "earliest"})


def _partitions(consumer: Consumer, topic: str) -> list[TopicPartition]:
    try:
        found = consumer.list_topics(topic, timeout=8.0).topics[topic]
    except KafkaException as error:
        raise Unsafe(f"Kafka does not answer ({error.args[0].name()}): start it, or set CLICKSTAGE_KAFKA") from None
    if found.error is not None:
        raise SettingsError(f"Kafka has no topic {topic}: name the dead letters' topic with --dlq-topic")
    return [TopicPartition(topic, number) for number in found.partitions]


def _read(consumer: Consumer, partitions: list[TopicPartition], start: dict[int, int]) -> Iterator[Any]:
    """Every record from ``start`` (else the beginning) to the present end."""
    consumer.assign([TopicPartition(tp.topic, tp.partition, start.get(tp.partition, 0)) for tp in partitions])
    ended: set[int | None] = set()
    while len(ended) < len(partitions):
        for message in consumer.consume(1_000, 0.2):
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's name
                ended.add(message.partition())
            else:
                raise Backpressure(f"reading {partitions[0].topic} failed ({error.name()}); try again")


def _time(message: Any) -> str:
    kind, ms = message.timestamp()
    if not kind:
        return "no time"
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")


def _shown(value: bytes | None) -> str:
    """Bytes for a terminal: printable text as it is, the rest escaped."""
    if value is None:
        return "(none)"
    text = value.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
