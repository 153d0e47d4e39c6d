"""Asks Kafka which topic the clicks are in: its id is a part of every key of the workers."""

import logging

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from edge.settings import EdgeSettings
from featurestore.errors import SettingsError, Unsafe

log = logging.getLogger(__name__)


def unseen(topic: str, setting: str) -> str:
    """What to do about a topic that Kafka does not show."""
    return (
        f"Kafka has no topic {topic}, or this user has no right to see it: create it, give the right (WRITE), or set "
        f"{setting}"
    )


def topic_of_clicks(settings: EdgeSettings) -> tuple[str, int]:
    """Id and partition count of the topic of clicks. Blocks some seconds at most.

    Raises:
        Unsafe: Kafka does not answer.
        SettingsError: there is no such topic.
    """
    config: dict[str, str | int | float | bool] = {**settings.kafka_client(), "socket.timeout.ms": 5_000}
    admin = AdminClient(config, logger=logging.getLogger("edge.kafka"))
    try:
        topics = admin.list_topics(timeout=5.0).topics
        if settings.topic not in topics:
            raise SettingsError(unseen(settings.topic, "CLICKSTAGE_TOPIC"))
        if settings.exposures_topic and settings.exposures_topic not in topics:
            log.error("%s", unseen(settings.exposures_topic, "CLICKSTAGE_EXPOSURES_TOPIC"))
        partitions = len(topics[settings.topic].partitions)
        if settings.topic_id:
            return settings.topic_id, partitions
        described = admin.describe_topics(TopicCollection([settings.topic]), request_timeout=5.0)
        return str(described[settings.topic].result().topic_id), partitions
    except KafkaException as error:
        raise Unsafe(f"Kafka at {settings.kafka} does not answer ({error.args[0].name()})") from None
