"""``clickstage replay``: send clicks from a file through a topic, as if they happened now or in their own time."""

import argparse
import gzip
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined] # all public

from featurestore.contract.files import MAX_BAD_LINES, MAX_BAD_SHARE
from featurestore.errors import SettingsError
from worker.commands.options import KAFKA, add_settings, positive, settings_from
from worker.errors import ExitCode
from worker.kafka.sender import NotDelivered, Sender
from worker.pipeline.outputs import producer_config
from worker.settings import TOPICS, Settings
from worker.trackers.adapters import ESHOP_SEED, FORMATS, shifted, spooled
from worker.trackers.rows import Click
from worker.trackers.spool import Spool

NOTES: Final = f"""formats:
  eshop  UCI 553, `eshop_clothing_2008.csv`. The file has no time of day: the times inside a session are made from
         `order` with the fixed seed {ESHOP_SEED}, log-normal gaps with a median of 25 s and at most 20 minutes
  otto   OTTO's sessions as JSON lines, in real time: clicks, carts, orders -> view_item, add_to_cart, purchase
  jsonl  events of the contract, one JSON object a line
  snowplow, segment, ga4   enriched events as CSV, calls and Measurement Protocol payloads as JSON lines
  shop   a shop's event log as CSV, a row a view, cart, remove_from_cart and article of a purchase: event_time,
         event_type, user_session, and, where they are there, product_id, category_code, price, user_id

The key is the session id, the record's timestamp the event's time. Kafka deletes by record timestamps: a topic for
historic data needs retention.ms=-1, or use --shift. Workers that read historic data want --timers event or off: with
event, one worker knows a visitor's earlier visits (the bounce rate) as if it had read them live.
"""
REPORT_EVERY_S: Final = 2.0
MOST_COUNTED: Final = 1_000_000
"""Session ids that are told apart."""
STOP_S: Final = 2.0
"""After Ctrl-C, requests under way may take this long."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clickstage replay",
        description=__doc__,
        epilog=NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="what to send; .gz too")
    parser.add_argument("--format", choices=tuple(FORMATS), required=True, dest="kind", help="of the file")
    parser.add_argument("--speed", default="max", metavar="max|FACTOR", help="1 is real time, 60 a minute a second")
    parser.add_argument("--shift", action="store_true", help="move all times so that the newest event happens now")
    parser.add_argument("--limit", type=positive, metavar="N", help="send the first N events only")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="send nothing: write the events of the contract to this file, one JSON object a line (.gz too), for "
        "`clickstage calibrate` and `clickstage train`",
    )
    parser.add_argument(
        "--max-bad-lines",
        type=int,
        metavar="N",
        help=f"leave out, count and name up to N lines that are no events (default: {MAX_BAD_LINES}, or "
        f"{MAX_BAD_SHARE * 100:g} %% of the lines if that is more)",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="wait for the workers, then compare every decision in the decisions topic with a run of the same log "
        "through the batch code alone, byte for byte but for the times of computing; needs topics of its own and "
        "workers with --timers off",
    )
    add_settings(parser, (*KAFKA, "decision_prefix", *TOPICS, "bundle", "policy"))
    return parser


def main(argv: Sequence[str]) -> int:
    """Read, send, say what was sent."""
    args = _parser().parse_args(argv)
    settings = settings_from(args)
    speed = _speed(args.speed)
    with spooled(args.kind, args.file, args.max_bad_lines) as spool:
        chosen = Chosen(spool, args.limit, shift=args.shift)
        if args.out:
            _write(args.out, chosen)
            return ExitCode.OK
        _ready(settings, chosen.first_ts)
        started = time.monotonic()
        send(settings, chosen, speed)
        seconds = max(time.monotonic() - started, 1e-9)
    print(
        f"sent {len(chosen)} events of {chosen.sessions()} session ids to {settings.topic} in {seconds:.1f} s, "
        f"{len(chosen) / seconds:.0f} events/s"
    )
    if args.verify:
        from worker.checks.replay_check import verify

        differences = verify(settings)
        for topic, difference in differences.items():
            print(f"documents in {topic}: {difference}")
        return ExitCode.CHECK if any(differences.values()) else ExitCode.OK
    return ExitCode.OK


class Clicks(Protocol):
    """Clicks in order of time."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Click]: ...


class Chosen:
    """Clicks of a spool on their way: the first ones, moved in time if that is wanted.

    Args:
        spool: the clicks.
        limit: take so many; None for all.
        shift: move all by one duration, so that the newest of them happens now.

    Attributes:
        first_ts: of the oldest, as it will be sent, epoch ms.
    """

    def __init__(self, spool: Spool, limit: int | None, *, shift: bool) -> None:
        self._spool = spool
        self._n = len(spool) if limit is None else min(limit, len(spool))
        self._by_ms = 0
        if shift:
            newest = spool.last_ts
            if self._n < len(spool):
                newest = max(click.ts for click in islice(spool, self._n))
            self._by_ms = time.time_ns() // 1_000_000 - newest
        self.first_ts = spool.first_ts + self._by_ms
        self._ids: set[int] = set()

    def __len__(self) -> int:
        """How many."""
        return self._n

    def __iter__(self) -> Iterator[Click]:
        """In order of time."""
        for click in islice(self._spool, self._n):
            if len(self._ids) <= MOST_COUNTED:
                self._ids.add(hash(click.session_id))
            yield shifted(click, self._by_ms) if self._by_ms else click

    def sessions(self) -> str:
        """How many session ids were sent."""
        n = len(self._ids)
        return str(n) if n <= MOST_COUNTED else f"more than {MOST_COUNTED}"


def send(settings: Settings, clicks: Clicks, speed: float | None = None) -> None:
    """Produce in order and wait for the last acknowledgement.

    Args:
        settings: brokers and topic.
        clicks: in order of time.
        speed: seconds of the log a second; None for as fast as it goes.

    Raises:
        NotDelivered: Kafka refused a record or did not answer within a minute.
    """
    sender = Sender({**producer_config(settings), "linger.ms": 5, "message.timeout.ms": 60_000})
    try:
        _produce(settings.topic, clicks, speed, sender)
    except KeyboardInterrupt:
        sender.finish(STOP_S)
        print(f"stopped: {sender.delivered} of {len(clicks)} events are in {settings.topic}", file=sys.stderr)
        raise
    if sender.finish(60):
        raise NotDelivered(
            f"{sender.delivered} of {len(clicks)} events were sent to {settings.topic}; Kafka does not have the others "
            f"({sender.why()})"
        )


def _produce(topic: str, clicks: Clicks, speed: float | None, sender: Sender) -> None:
    first: int | None = None
    started = said = time.monotonic()
    for n, click in enumerate(clicks):
        first = click.ts if first is None else first
        if speed is not None:
            _wait(sender, started + (click.ts - first) / 1000 / speed)
        sender.send(topic, click.value, click.session_id, timestamp=click.ts)
        if n % 1_000 == 0:
            sender.poll()
            if sender.refused:
                break
            if time.monotonic() - said >= REPORT_EVERY_S:
                said = time.monotonic()
                print(f"  {n} of {len(clicks)} events ({n / len(clicks):.0%})", file=sys.stderr)


def _write(path: Path, clicks: Chosen) -> None:
    """The events as a file.

    Raises:
        SettingsError: it cannot be written.
    """
    try:
        with gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb") as out:
            out.writelines(click.value + b"\n" for click in clicks)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written ({error.strerror}); check the path and the rights") from None
    print(f"wrote {len(clicks)} events of {clicks.sessions()} session ids to {path}")


def _wait(sender: Sender, until: float) -> None:
    while (left := until - time.monotonic()) > 0:
        sender.poll(min(left, 0.1))


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < 1e9:
        raise SettingsError(f"--speed is max or a positive factor, not {text!r}")
    return speed


def _ready(settings: Settings, first_ts: int) -> None:
    """The topic exists and will keep what is sent.

    Raises:
        SettingsError: it does not, or not long enough.
    """
    admin = AdminClient({**settings.kafka_client(), "socket.timeout.ms": 5_000, "log_level": 0})
    try:
        topics = admin.list_topics(timeout=8.0).topics
        if settings.topic not in topics:
            raise SettingsError(
                f"Kafka at {settings.kafka} has no topic {settings.topic}: create it, or name another with --topic"
            )
        resource = ConfigResource(ResourceType.TOPIC, settings.topic)
        config = admin.describe_configs([resource], request_timeout=8.0)[resource].result()
    except KafkaException as error:
        raise SettingsError(
            f"Kafka at {settings.kafka} does not answer ({error.args[0].name()}): start it, or set CLICKSTAGE_KAFKA"
        ) from None
    retention = int(config["retention.ms"].value) if "retention.ms" in config else -1
    age = time.time_ns() // 1_000_000 - first_ts
    if 0 <= retention < age:
        raise SettingsError(
            f"the oldest event is {age / 86_400_000:.0f} days old and topic {settings.topic} keeps records for "
            f"{retention / 86_400_000:.0f} days by their timestamps: Kafka would delete it within minutes. Set "
            "retention.ms=-1 on a topic for historic data, or send the data as of now with --shift"
        )
