"""``clickstage evaluate --live``: yesterday's decisions against what came of them, as a report and as metrics.

Reads the ``decisions`` and ``sessions`` topics from a point in time to their ends, and the clicks of the same time if
decisions carry outcomes of heads. Its consumer joins no group and commits nothing, so it can run anywhere and as often
as wanted.
"""

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition
from prometheus_client import CollectorRegistry, write_to_textfile

from decisions.shipped import load_bundle
from featurestore import logs
from featurestore.errors import SettingsError
from worker.checks.decision_accuracy import Truth, as_json, export, join, report
from worker.checks.outcome_truth import asked_by
from worker.clock import SystemClock
from worker.commands.options import KAFKA, add_settings, settings_from
from worker.errors import ExitCode
from worker.kafka.reading import bounds, reader, records
from worker.kafka.unreadable import value_of
from worker.settings import Settings

log = logging.getLogger(__name__)

DAY_MS: Final = 86_400_000


def main(argv: Sequence[str]) -> int:
    """Run once, or repeatedly until stopped."""
    parser = argparse.ArgumentParser(prog="clickstage evaluate --live", description=__doc__)
    parser.add_argument("--live", action="store_true", help="judge decisions from the topics (this command)")
    parser.add_argument("--days", type=int, default=1, metavar="N", help="full UTC days to judge (default 1)")
    parser.add_argument(
        "--textfile", type=Path, metavar="FILE", help="metrics for the node exporter's textfile collector"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="the report as Markdown (also printed)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the report as JSON")
    parser.add_argument("--every-h", type=float, metavar="HOURS", help="repeat, until stopped")
    wanted = (
        *KAFKA,
        "topic",
        "decisions_topic",
        "sessions_topic",
        "bundle",
        "log_format",
    )
    add_settings(parser, only=wanted)
    args = parser.parse_args(argv)
    if args.days < 1 or (args.every_h is not None and args.every_h <= 0):
        raise SettingsError("--days must be at least 1 and --every-h more than 0")
    settings = settings_from(args)
    logs.configure(settings.log_format)
    while True:
        try:
            _run(args, settings)
        except SettingsError as error:
            if args.every_h is None:
                raise
            log.warning("the daily evaluation failed and will be tried again", extra={"why": str(error)})
        if args.every_h is None:
            return ExitCode.OK
        SystemClock().sleep(args.every_h * 3600)


def _run(args: argparse.Namespace, settings: Settings) -> None:
    now_ms = SystemClock().now_ms()
    truth = judge(settings, now_ms, args.days)
    text = report(truth)
    sys.stdout.write(text)
    if args.report:
        args.report.write_text(text, encoding="utf-8")
    if args.json:
        args.json.write_text(json.dumps(as_json(truth), indent=1) + "\n", encoding="utf-8")
    if args.textfile:
        registry = CollectorRegistry()
        export(truth.last_full_day(now_ms), now_ms, registry)
        write_to_textfile(str(args.textfile), registry)


def judge(settings: Settings, now_ms: int, days: int) -> Truth:
    """The last ``days`` full UTC days before ``now_ms``, and today so far.

    Sessions that ended since are read, and decisions from a day earlier on: a session may span midnight.

    Raises:
        SettingsError: Kafka cannot be reached, or lacks a topic.
        BundleError: there is no bundle to take the rules from.
    """
    if not settings.decisions_topic or not settings.sessions_topic:
        raise SettingsError("evaluate --live needs both topics: set CLICKSTAGE_DECISIONS_TOPIC and _SESSIONS_TOPIC")
    bundle = load_bundle(settings.bundle)
    since_ms = (now_ms // DAY_MS - days) * DAY_MS
    summaries = read_topic(settings, settings.sessions_topic, since_ms)
    decisions = read_topic(settings, settings.decisions_topic, since_ms - DAY_MS)
    return join(
        decisions,
        summaries,
        bundle.rules,
        lambda: read_records(settings, settings.topic, since_ms - DAY_MS),
        asked_by(bundle.heads),
    )


def read_topic(settings: Settings, topic: str, since_ms: int) -> Iterator[bytes]:
    """As `read_records`, the values alone."""
    return (value for _, value in read_records(settings, topic, since_ms))


def read_records(settings: Settings, topic: str, since_ms: int) -> Iterator[tuple[int, bytes]]:
    """Offset and value of the records of ``topic`` at or after ``since_ms``, to the ends as they are now; blocks.

    Raises:
        SettingsError: Kafka does not answer, or there is no such topic.
    """
    with closing(reader(settings, "clickstage-evaluate")) as consumer:
        try:
            spans = _spans(consumer, topic, since_ms)
            for m in records(consumer, settings, topic, spans):
                if (value := value_of(m)) is not None:
                    yield m.offset() or 0, value
        except KafkaException as error:
            raise SettingsError(
                f"Kafka at {settings.kafka} did not answer while reading {topic} ({error.args[0].name()}): "
                "start it, or set CLICKSTAGE_KAFKA to its address"
            ) from None


def _spans(consumer: Consumer, topic: str, since_ms: int) -> dict[int, tuple[int, int]]:
    """Where to begin and where the end is, by partition."""
    described = consumer.list_topics(topic, timeout=10.0).topics[topic]
    if described.error or not described.partitions:
        raise SettingsError(f"there is no topic {topic}: create it, or name another in the settings")
    spans = bounds(consumer, topic, sorted(described.partitions))
    at = [TopicPartition(topic, partition, since_ms) for partition in spans]
    for start in consumer.offsets_for_times(at, timeout=10.0):
        low, high = spans[start.partition]
        spans[start.partition] = (high if start.offset == OFFSET_END else max(start.offset, low), high)
    return spans
