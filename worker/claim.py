"""A worker's part in `featurestore.store.deployment`: its deployment owns its decisions and its output topics."""

import logging
from typing import Any, Final

from confluent_kafka import KafkaException

from featurestore.errors import Foreign, Unsafe
from featurestore.store.cluster.cluster_connection import AWAY
from featurestore.store.deployment import Deployment, claim, claimed
from featurestore.store.redis.connection import Client
from worker.clock import Clock
from worker.settings import Settings

log = logging.getLogger(__name__)

EVERY_S: Final = 10.0
"""How soon the record is made again in a Redis that has lost it."""


def deployment_of(settings: Settings) -> Deployment:
    """Who this worker works for."""
    return Deployment(settings.env, settings.group, settings.topic)


def owned(settings: Settings) -> dict[str, str]:
    """What a worker's deployment must own, and the keys that record it.

    Raises:
        Unsafe: Kafka does not tell its id.
    """
    from worker.wiring import kafka_admin

    try:
        cluster: Any = kafka_admin(settings).list_topics(settings.topic, timeout=8.0).cluster_id
    except KafkaException as error:
        raise Unsafe(
            f"Kafka at {settings.kafka} does not tell its cluster id ({error.args[0].name()}): try again when it does"
        ) from None
    return claimed(settings.decision_prefix, str(cluster), [topic for _, topic in settings.streams()])


class Claim:
    """Records the deployment at the start, and again after Redis was emptied.

    Raises:
        Foreign: another deployment owns some of it; names both.
        Unsafe: Kafka does not answer.
    """

    def __init__(self, client: Client, settings: Settings, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._deployment = deployment_of(settings)
        self._wanted = owned(settings)
        claim(client, self._deployment, self._wanted)
        self._next = clock.monotonic() + EVERY_S

    def poll(self) -> None:
        """Call it often. A second deployment that came while the record was lost is logged: one of the two must go."""
        if self._clock.monotonic() < self._next:
            return
        self._next = self._clock.monotonic() + EVERY_S
        try:
            claim(self._client, self._deployment, self._wanted)
        except Foreign as error:
            log.error("two deployments share decisions: %s", error)  # noqa: TRY400 - the message is the report
        except AWAY:
            pass  # whoever needs Redis next says so
