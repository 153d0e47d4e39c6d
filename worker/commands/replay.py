"""``clickstage replay``: send clicks from a file through a topic, as if they happened now or in their own time."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined] # all public

from featurestore.errors import ClickstageError, SettingsError
from worker.commands.options import add_settings, settings_from
from worker.errors import ExitCode
from worker.pipeline.outputs import producer_config
from worker.settings import TOPICS, Settings
from worker.trackers.adapters import ESHOP_SEED, FORMATS, read, shifted
from worker.trackers.rows import MAX_BAD_LINES, Click

NOTES: Final = f"""formats:
  eshop  UCI 553, `eshop_clothing_2008.csv`. The file has no time of day: the times inside a session are made from
         `order` with the fixed seed {ESHOP_SEED}, log-normal gaps with a median of 25 s and at most 20 minutes
  otto   OTTO's sessions as JSON lines, in real time: clicks, carts, orders -> view_item, add_to_cart, purchase
  jsonl  events of the contract, one JSON object a line
  snowplow, segment, ga4   enriched events as CSV, calls and Measurement Protocol payloads as JSON lines

The key is the session id, the record's timestamp the event's time. Kafka deletes by record timestamps: a topic for
historic data needs retention.ms=-1, or use --shift. Workers that read historic data want --timers event or off.
"""
REPORT_EVERY_S: Final = 2.0


class NotSent(ClickstageError):
    """Kafka did not take every record."""


def main(argv: Sequence[str]) -> int:
    """Read, send, say what was sent."""
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
    parser.add_argument("--limit", type=int, metavar="N", help="send the first N events only")
    parser.add_argument(
        "--max-bad-lines",
        type=int,
        default=MAX_BAD_LINES,
        metavar="N",
        help="leave out and count up to N lines that are no events, %(default)s by default",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="wait for the workers, then compare every decision in the decisions topic with a run of the same log "
        "through the batch code alone, byte for byte but for the times of computing; needs topics of its own and "
        "workers with --timers off",
    )
    add_settings(
        parser, ("kafka", "kafka_config", "kafka_password", "kafka_password_file", *TOPICS, "bundle", "policy")
    )
    args = parser.parse_args(argv)
    settings = settings_from(args)
    speed = _speed(args.speed)
    clicks = read(args.kind, args.file, args.max_bad_lines)[: args.limit]
    if args.shift:
        clicks = shifted(clicks, time.time_ns() // 1_000_000)
    _ready(settings, clicks)
    started = time.monotonic()
    send(settings, clicks, speed)
    seconds = max(time.monotonic() - started, 1e-9)
    sessions = len({click.session_id for click in clicks})
    print(
        f"sent {len(clicks)} events of {sessions} session ids to {settings.topic} in {seconds:.1f} s, "
        f"{len(clicks) / seconds:.0f} events/s"
    )
    if args.verify:
        from worker.checks.replay_check import verify

        differences = verify(settings)
        for topic, difference in differences.items():
            print(f"documents in {topic}: {difference}")
        return ExitCode.CHECK if any(differences.values()) else ExitCode.OK
    return ExitCode.OK


def send(settings: Settings, clicks: Sequence[Click], speed: float | None = None) -> None:
    """Produce in order and wait for the last acknowledgement.

    Args:
        settings: brokers and topic.
        clicks: in order of time.
        speed: seconds of the log a second; None for as fast as it goes.

    Raises:
        NotSent: Kafka refused a record or did not answer within a minute.
    """
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            failures.append(error)

    config = {**producer_config(settings), "linger.ms": 5, "message.timeout.ms": 60_000}
    producer = Producer(config)
    first = clicks[0].ts
    started = said = time.monotonic()
    for n, click in enumerate(clicks):
        if speed is not None:
            _wait(producer, started + (click.ts - first) / 1000 / speed)
        while True:
            try:
                producer.produce(
                    settings.topic, click.value, click.session_id, timestamp=click.ts, on_delivery=delivered
                )
                break
            except BufferError:
                producer.poll(0.05)
        if n % 1_000 == 0:
            producer.poll(0)
            if failures:
                break
            if time.monotonic() - said >= REPORT_EVERY_S:
                said = time.monotonic()
                print(f"  {n} of {len(clicks)} events ({n / len(clicks):.0%})", file=sys.stderr)
    left = producer.flush(60)
    if failures or left:
        why = failures[0].name() if failures else "no acknowledgement within a minute"
        raise NotSent(f"{len(failures) + left} records were not sent to {settings.topic} ({why}); the rest was")


def _wait(producer: Any, until: float) -> None:
    while (left := until - time.monotonic()) > 0:
        producer.poll(min(left, 0.1))


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


def _ready(settings: Settings, clicks: Sequence[Click]) -> None:
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
    age = time.time_ns() // 1_000_000 - clicks[0].ts
    if 0 <= retention < age:
        raise SettingsError(
            f"the oldest event is {age / 86_400_000:.0f} days old and topic {settings.topic} keeps records for "
            f"{retention / 86_400_000:.0f} days by their timestamps: Kafka would delete it within minutes. Set "
            "retention.ms=-1 on a topic for historic data, or send the data as of now with --shift"
        )
