"""Tells a spare worker from one that the group has lost: asks the group's coordinator.

A worker may own no partition because others own them all, which is well, or because its client gets nowhere, which
nothing else would tell.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from enum import Enum
from typing import Any, Final

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient

from worker.clock import Clock

EVERY_S: Final = 2.0
TIMEOUT_S: Final = 3.0


class Standing(Enum):
    """What a worker without partitions is to its group."""

    SPARE = "spare"  # a member, and others own every partition
    NEEDED = "needed"  # no member, or partitions that nobody owns
    UNKNOWN = "unknown"  # the coordinator has not answered


class GroupWatch:
    """Asks the coordinator every few seconds, of either protocol; never blocks.

    Args:
        admin: asks.
        group: its name.
        topic: whose partitions count.
        partitions: how many it has.
        member: the id under which the group knows this worker, empty while it is no member.
        clock: time.
    """

    def __init__(
        self, admin: AdminClient, group: str, topic: str, partitions: int, member: Callable[[], str], clock: Clock
    ) -> None:
        self._admin = admin
        self._group = group
        self._topic = topic
        self._partitions = partitions
        self._member = member
        self._clock = clock
        self._next = 0.0
        self._asked: Future[Any] | None = None
        self._standing = Standing.UNKNOWN

    def standing(self) -> Standing:
        """What was answered last; asks again when it is time. To be called while the worker owns nothing."""
        if self._asked is not None and self._asked.done():
            asked, self._asked = self._asked, None
            try:
                self._standing = self._judged(asked.result())
            except KafkaException:
                self._standing = Standing.UNKNOWN
        now = self._clock.monotonic()
        if self._asked is None and now >= self._next:
            self._next = now + EVERY_S
            [self._asked] = self._admin.describe_consumer_groups([self._group], request_timeout=TIMEOUT_S).values()
        return self._standing

    def reset(self) -> None:
        """Forget the answer: it was about another time or another client."""
        self._standing = Standing.UNKNOWN
        self._asked = None

    def _judged(self, group: Any) -> Standing:
        member = self._member()
        if not member:
            return Standing.NEEDED
        return standing_of(group.state, group.members, member, self._topic, self._partitions)


def standing_of(
    state: ConsumerGroupState, members: Sequence[Any], member: str, topic: str, partitions: int
) -> Standing:
    """What a member is to its group.

    Args:
        state: of the group.
        members: as the client describes them.
        member: id of the one in question.
        topic: whose partitions count.
        partitions: how many it has.
    """
    if member not in {other.member_id for other in members}:
        return Standing.NEEDED
    owned = {
        tp.partition
        for other in members
        for tp in other.assignment.topic_partitions
        if tp.topic == topic and other.member_id != member
    }
    return Standing.SPARE if state == ConsumerGroupState.STABLE and len(owned) == partitions else Standing.NEEDED
