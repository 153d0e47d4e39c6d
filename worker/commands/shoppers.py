"""``clickstage shoppers``: simulated shoppers that publish to Kafka at the pace of the wall clock, until stopped.

For trying out a deployment: dashboards, alerts (``--drift`` and ``--mix`` set them off), scaling.
"""

import argparse
import logging
import signal
from collections.abc import Sequence
from threading import Event
from types import FrameType
from typing import Final

from confluent_kafka import KafkaException

from featurestore import logs
from featurestore.errors import SettingsError
from models.simulator.simulator import SimConfig, live
from worker.commands.options import KAFKA, add_settings, positive, settings_from
from worker.errors import ExitCode
from worker.kafka.sender import NotDelivered, Sender
from worker.pipeline.outputs import RELIABLE
from worker.settings import Settings
from worker.wiring import kafka_admin

log = logging.getLogger(__name__)

_FLUSH_S: Final = 2.0
_WARM_S: Final = 240.0


def main(argv: Sequence[str]) -> int:
    """Publish until SIGTERM or SIGINT, or until ``--sessions`` have begun."""
    parser = argparse.ArgumentParser(prog="clickstage shoppers", description=__doc__)
    parser.add_argument(
        "--shoppers", type=positive, default=200, metavar="N", help="sessions at a time, on average (200)"
    )
    parser.add_argument("--sessions", type=positive, default=100_000_000, metavar="N", help="stop after this many")
    parser.add_argument("--seed", type=int, default=42, metavar="S", help="of the simulation (42)")
    parser.add_argument("--drift", action="append", default=[], metavar="FEATURE=X", help="shift one feature")
    parser.add_argument("--mix", action="append", default=[], metavar="PERSONA=X", help="multiply a persona's share")
    add_settings(parser, only=(*KAFKA, "topic", "log_format"))
    args = parser.parse_args(argv)
    settings = settings_from(args)
    logs.configure(settings.log_format)
    config = SimConfig.checked(
        sessions=args.sessions, seed=args.seed, drift=_factors(args.drift), mix=_factors(args.mix)
    )
    stop = Event()

    def stopped(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, stopped)
    signal.signal(signal.SIGINT, stopped)
    publish(settings, config, args.shoppers, stop)
    return ExitCode.OK


def publish(settings: Settings, config: SimConfig, shoppers: int, stop: Event, warm_s: float = _WARM_S) -> int:
    """Publish until ``stop`` or the simulation's end; the number of events sent. Blocks while Kafka is away.

    The last ``warm_s`` seconds are sent at once, so that the shop is not empty.

    Raises:
        SettingsError: Kafka cannot be reached at start, or has no such topic.
        NotDelivered: Kafka does not have every event.
    """
    _reachable(settings)
    sender = Sender({**settings.kafka_client(), **RELIABLE, "linger.ms": 5, "allow.auto.create.topics": False})
    log.info("shoppers are coming", extra={"shoppers": shoppers})
    sent = 0
    for batch in live(config, shoppers=shoppers, warm_s=warm_s, sleep=lambda seconds: _wait(stop, seconds)):
        for event in batch:
            key, value, _ = event
            sent += sender.send(settings.topic, value, key, go_on=lambda: not stop.is_set())
        sender.poll()
        if stop.is_set():
            break
    missing = sender.finish(_FLUSH_S)
    log.info("the shop is closed", extra={"events": sender.delivered})
    if missing:
        raise NotDelivered(f"Kafka does not have {missing} of {sent} events ({sender.why()})")
    return sent


def _reachable(settings: Settings) -> None:
    admin = kafka_admin(settings)
    try:
        topics = admin.list_topics(timeout=10.0).topics
    except KafkaException as error:
        raise SettingsError(
            f"Kafka at {settings.kafka} does not answer ({error.args[0].name()}): start it, or set CLICKSTAGE_KAFKA"
        ) from None
    if settings.topic not in topics:
        raise SettingsError(
            f"Kafka at {settings.kafka} has no topic {settings.topic}: create it (deploy/kafka/create-topics.sh)"
        )


def _factors(pairs: Sequence[str]) -> dict[str, str]:
    return dict(pair.partition("=")[::2] for pair in pairs)


def _wait(stop: Event, seconds: float) -> None:
    stop.wait(seconds)
