"""Notices that the clicks topic was deleted and created anew under a running worker.

Its offsets then count in another log, so everything that this worker knows is void: it leaves, and the supervisor's
restart finds the new topic's id, under which no key exists, and reads it from its beginning.

More partitions than before are told and no more: nothing is lost, but a session open at that moment goes on in another
partition as a new one, and no worker starts until the keys are drained.
"""

import logging
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from featurestore.errors import TopicReplaced
from worker.clock import Clock

log = logging.getLogger(__name__)

EVERY_S: Final = 5.0


class TopicWatch:
    """Asks Kafka for the topic's id every few seconds; never blocks.

    Args:
        admin: asks.
        topic: its name.
        topic_id: the id that this worker was built for.
        partitions: how many it had.
        clock: time.
    """

    def __init__(self, admin: AdminClient, topic: str, topic_id: str, partitions: int, clock: Clock) -> None:
        self._admin = admin
        self._topic = topic
        self._topic_id = topic_id
        self._partitions = partitions
        self._clock = clock
        self._next = clock.monotonic() + EVERY_S
        self._answer: Future[Any] | None = None

    def poll(self) -> None:
        """Look at the answer, ask again when it is time.

        Raises:
            TopicReplaced: the topic has another id now.
        """
        if self._answer is not None and self._answer.done():
            answer, self._answer = self._answer, None
            self._compare(answer)
        now = self._clock.monotonic()
        if self._answer is None and now >= self._next:
            self._next = now + EVERY_S
            asked = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=EVERY_S)
            self._answer = asked[self._topic]

    def _compare(self, answer: Future[Any]) -> None:
        try:
            described = answer.result()
        except KafkaException:  # away, or between deletion and creation: ask again
            return
        found = str(described.topic_id)
        if found != self._topic_id:
            raise TopicReplaced(
                f"topic {self._topic} was created anew (id {found}, this worker read {self._topic_id}); start the "
                "worker again: it reads the new topic from its beginning, and keeps nothing of the old one"
            )
        if len(described.partitions) != self._partitions:
            log.error(
                "topic %s has %d partitions now, the keys were made for %d: sessions that are open begin anew in their "
                "new partition, and no worker starts before docs/guarantees.md, 'Raising the partition count'",
                self._topic,
                len(described.partitions),
                self._partitions,
            )
            self._partitions = len(described.partitions)
