"""``clickstage dlq``: look at dead letters, send them again once mended, let a held partition go on."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from heapq import heappush, heappushpop
from typing import Any, Final

from featurestore.errors import SettingsError
from worker.commands import dlq_pass
from worker.commands.options import KAFKA, add_settings, positive, settings_from
from worker.commands.redrive import letters_partitions, redrive, why_dead
from worker.errors import ExitCode
from worker.kafka.reading import asked, bounds, reader, records
from worker.settings import Settings

_ACCESS: Final = (*KAFKA, "group", "topic", "dlq_topic")


def main(argv: Sequence[str]) -> int:
    """List, show, re-drive or let pass."""
    parser = argparse.ArgumentParser(prog="clickstage dlq", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="a line a dead letter, without its content")
    listing.add_argument("--limit", type=positive, default=50, metavar="N", help="the newest N (default: %(default)s)")
    show = commands.add_parser("show", help="one dead letter with its headers and its content")
    show.add_argument("where", metavar="PARTITION/OFFSET", help="as `list` prints it")
    again = commands.add_parser(
        "redrive",
        help="send dead letters to the clicks topic again, with key, headers and time as they were",
        description="Sends the letters that are there when it starts and are events by now; the others would only come "
        "back. Each is sent once: what was sent is noted in the consumer group GROUP.redrive. Letters that stay are "
        "looked at again the next time.",
    )
    again.add_argument("--again", action="store_true", help="from the beginning, also what was sent before")
    again.add_argument("--force", action="store_true", help="also those that are no events")
    again.add_argument("--dry-run", action="store_true", help="count only")
    for part in (listing, show, again):
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
    return redrive(settings, again=args.again, force=args.force, dry_run=args.dry_run)


def _list(settings: Settings, limit: int) -> int:
    newest: list[tuple[tuple[int, int, int], str]] = []  # a heap, the oldest first
    reasons: Counter[str] = Counter()
    for m in _letters(settings):
        why = why_dead(m)
        reasons[why.get("reason", "unknown")] += 1
        entry = (m.timestamp()[1], m.partition(), m.offset()), _line(m, why)
        if len(newest) < limit:
            heappush(newest, entry)
        else:
            heappushpop(newest, entry)
    for _, line in sorted(newest):
        print(line)
    print(f"{reasons.total()} dead letters in {settings.dlq_topic}: {dict(reasons)}")
    return ExitCode.OK


def _line(message: Any, why: dict[str, str]) -> str:
    origin = f"{why.get('topic', '?')}/{why.get('partition', '?')}/{why.get('offset', '?')}"
    return (
        f"{message.partition()}/{message.offset()}  {_time(message)}  from {origin}  "
        f"{len(message.value() or b'')} bytes  {why.get('reason', 'unknown')}: {why.get('exception.message', '')}"
    )


def _show(settings: Settings, where: str) -> int:
    partition, _, offset = where.partition("/")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise SettingsError(f"{where!r} is not PARTITION/OFFSET, for example 0/17; `clickstage dlq list` prints it")
    for m in _letters(settings, (int(partition), int(offset))):
        print(f"time   {_time(m)}\nkey    {_shown(m.key())}\nheaders")
        for name, value in m.headers() or []:
            print(f"  {name}: {_shown(value)}")
        print(f"value, {len(m.value() or b'')} bytes\n{_shown(m.value())}")
        return ExitCode.OK
    raise SettingsError(f"{settings.dlq_topic} holds no {where}; `clickstage dlq list` prints PARTITION/OFFSET")


def _letters(settings: Settings, only: tuple[int, int] | None = None) -> Iterator[Any]:
    """The dead letters that there are now; ``only`` the one at a partition and offset."""
    consumer = reader(settings, f"{settings.group}.dlq")
    try:
        partitions = letters_partitions(consumer, settings)
        if only is not None:
            partitions = [p for p in partitions if p == only[0]]
        with asked(f"tell what is in {settings.dlq_topic}"):
            spans = bounds(consumer, settings.dlq_topic, partitions)
            if only is not None:
                spans = {p: (max(only[1], low), min(only[1] + 1, high)) for p, (low, high) in spans.items()}
            yield from records(consumer, settings, settings.dlq_topic, spans)
    finally:
        consumer.close()


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
