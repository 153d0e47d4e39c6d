"""``clickstage bridge``: events of GA4, Segment or Snowplow from a Kafka topic to `clicks`, exactly once."""

import argparse
import logging
import signal
import threading
import time
import uuid
from collections.abc import Sequence
from types import FrameType
from typing import Final

from confluent_kafka import KafkaException

from featurestore import logs
from featurestore.errors import SettingsError, Unsafe
from worker.bridge.mapping import FORMATS
from worker.bridge.metrics import BridgeMetrics
from worker.bridge.transactions import Bridge, Source
from worker.commands.options import KAFKA, add_settings, settings_from
from worker.errors import ExitCode
from worker.metrics.health import HealthServer
from worker.settings import Settings
from worker.wiring import kafka_admin, largest_records, topic_id_of

log = logging.getLogger(__name__)

ACCESS: Final = (
    *KAFKA, "group", "dlq_topic", "session_timeout_s", "metrics_port", "metrics_host", "log_format",
)  # fmt: skip
ALIVE_S: Final = 60.0


def main(argv: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="clickstage bridge",
        description=__doc__,
        epilog="Events, dead letters and the offsets that they cover are one transaction: whatever is killed, each "
        "record is bridged once. What becomes no event goes to the dead letters' topic with the reason. Run as many "
        "bridges as the topic has partitions. docs/edge.md, 'Trackers that write to Kafka', says more.",
    )
    parser.add_argument("--from", dest="kind", required=True, choices=sorted(FORMATS), help="whose records these are")
    parser.add_argument("--topic", dest="foreign", required=True, metavar="T", help="topic that is read")
    parser.add_argument("--to", dest="topic", metavar="TOPIC", help="topic of click events (CLICKSTAGE_TOPIC, clicks)")
    parser.add_argument(
        "--instance",
        default="",
        metavar="NAME",
        help="stable name of this bridge, one each: what it left open when it was killed ends at its next start "
        "instead of ten seconds later (default: a new one at each start)",
    )
    add_settings(parser, ACCESS)
    args = parser.parse_args(argv)
    settings = settings_from(args)
    logs.configure(settings.log_format)
    return run(settings, args.kind, args.foreign, args.instance or uuid.uuid4().hex)


def run(settings: Settings, kind: str, topic: str, instance: str) -> int:
    """Check the topics, bridge until stopped; the exit code."""
    if topic in {settings.topic, settings.dlq_topic}:
        raise SettingsError(f"--topic {topic} is where the bridge writes: name the topic of the other tracker")
    admin = kafka_admin(settings)
    try:
        known = admin.list_topics(timeout=8.0).topics
    except KafkaException as error:
        raise Unsafe(f"Kafka at {settings.kafka} does not answer ({error.args[0].name()})") from None
    missing = [name for name in (topic, settings.topic, settings.dlq_topic) if name not in known]
    if missing:
        raise SettingsError(f"Kafka at {settings.kafka} has no topic {', '.join(missing)}: create it, or name another")
    metrics = BridgeMetrics()
    limit = largest_records(admin, settings).get(settings.dlq_topic)
    source = Source(kind, topic, topic_id_of(admin, topic, f"Kafka at {settings.kafka}"), instance)
    bridge = Bridge(settings, source, metrics, limit)
    health = HealthServer(
        settings.metrics_host,
        settings.metrics_port,
        metrics.registry,
        lambda: time.monotonic() - bridge.beat < ALIVE_S,
        lambda: bridge.trouble,
    )

    def stop(_signal: int, _frame: FrameType | None) -> None:
        bridge.stop()  # a flag: an exception inside a call of the client would lose what it fetched

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
    log.info("bridging %s from %s to %s; metrics on port %d", kind, topic, settings.topic, health.port)
    try:
        bridge.run()
    finally:
        health.close()
    return ExitCode.OK
