"""``clickstage replay --verify``: the topics of a finished replay against the batch code alone."""

import time
from collections.abc import Callable
from typing import Any, Final

from worker.checks.recompute import Difference, compare, engine_for, expect, records_of
from worker.kafka.reading import bounds, reader, records
from worker.settings import Settings

WAIT_S: Final = 120.0
ASK_EVERY_S: Final = 1.0


def verify(settings: Settings, wait_s: float = WAIT_S) -> dict[str, Difference]:
    """Wait until no document is missing, at most ``wait_s``, then compare every output topic; differences by topic.

    Raises:
        SettingsError, BundleError, PolicyError: Kafka, the bundle or the policy cannot be had.
    """
    from worker.wiring import kafka_topic

    topic_id, _ = kafka_topic(settings)
    log = records_of(read_all(settings, settings.topic))
    engine = engine_for(settings.bundle, None, topic_id, settings.policy, settings.outcomes, settings.decision_prefix)
    expected = expect(engine, log)
    found: dict[str, list[bytes]] = {}

    def complete() -> bool:
        for _, topic in settings.streams():
            found[topic] = values(settings, topic)
        return all(len(found[topic]) >= len(expected.documents[s.code]) for s, topic in settings.streams())

    _wait_for(complete, wait_s)
    return {topic: compare(expected.documents[s.code], found[topic]) for s, topic in settings.streams()}


def read_all(settings: Settings, topic: str) -> list[Any]:
    """Every message from the beginning to the present end of a topic."""
    consumer = reader(settings, f"{settings.group}.read-all")
    try:
        partitions = list(consumer.list_topics(topic, timeout=8.0).topics[topic].partitions)
        return list(records(consumer, settings, topic, bounds(consumer, topic, partitions)))
    finally:
        consumer.close()


def values(settings: Settings, topic: str) -> list[bytes]:
    """Of every message that has one."""
    return [value for message in read_all(settings, topic) if (value := message.value()) is not None]


def _wait_for(done: Callable[[], bool], wait_s: float) -> None:
    until = time.monotonic() + wait_s
    while not done() and time.monotonic() < until:
        time.sleep(ASK_EVERY_S)
