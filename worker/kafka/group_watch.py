"""Tells a spare worker from one that the group has lost: asks the group's coordinator.

A worker may own no partition because others own them all, which is well, or because its client gets nowhere, which
nothing else would tell.

Describing a group ends the process where the coordinator does not answer in time (an assertion of librdkafka, its
issue 4605), which is the very case that matters here. So a consumer asks first for a committed offset, which fails in
peace; only a coordinator that has just answered that is asked for the group.
"""

import threading
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import Future
from enum import Enum
from typing import Any, Final

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient

from worker.clock import Clock

EVERY_S: Final = 2.0
DESCRIBE_S: Final = 30.0
"""Longer than the connection waits for an answer: whoever gives up first must be the connection."""


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
        answers: waits for the coordinator's answer to another question; raises `KafkaException` where it has none.
        clock: time.
    """

    def __init__(
        self,
        admin: AdminClient,
        group: str,
        topic: str,
        partitions: int,
        member: Callable[[], str],
        answers: Callable[[], object],
        clock: Clock,
    ) -> None:
        self._admin = admin
        self._group = group
        self._topic = topic
        self._partitions = partitions
        self._member = member
        self._answers = answers
        self._clock = clock
        self._next = 0.0
        self._asked: Future[Standing] | None = None
        self._standing = Standing.UNKNOWN

    def standing(self) -> Standing:
        """What was answered last; asks again when it is time. To be called while the worker owns nothing."""
        if self._asked is not None and self._asked.done():
            asked, self._asked = self._asked, None
            self._standing = asked.result()
        now = self._clock.monotonic()
        if self._asked is None and now >= self._next:
            self._next = now + EVERY_S
            self._asked = Future()
            ask = threading.Thread(target=self._ask, args=(self._asked, self._member()), name="group", daemon=True)
            ask.start()
        return self._standing

    def reset(self) -> None:
        """Forget the answer: it was about another time or another client."""
        self._standing = Standing.UNKNOWN
        self._asked = None

    def _ask(self, asked: Future[Standing], member: str) -> None:
        try:
            asked.set_result(self._found(member))
        except (KafkaException, TimeoutError):
            asked.set_result(Standing.UNKNOWN)
        except BaseException as error:
            asked.set_exception(error)

    def _found(self, member: str) -> Standing:
        self._answers()
        if not member:
            return Standing.NEEDED
        [answer] = self._admin.describe_consumer_groups([self._group], request_timeout=DESCRIBE_S).values()
        group: Any = answer.result(DESCRIBE_S)
        owned = {
            one.member_id: {tp.partition for tp in one.assignment.topic_partitions if tp.topic == self._topic}
            for one in group.members
        }
        stable = group.state == ConsumerGroupState.STABLE
        return standing_of(owned, member, self._partitions, stable=stable)


def standing_of(owned: Mapping[str, AbstractSet[int]], member: str, partitions: int, *, stable: bool) -> Standing:
    """What a member is to its group.

    Args:
        owned: the partitions of each member.
        member: id of the one in question.
        partitions: how many the topic has.
        stable: whether the group is not giving partitions away just now.
    """
    if member not in owned:
        return Standing.NEEDED
    others = {partition for name, mine in owned.items() for partition in mine if name != member}
    return Standing.SPARE if stable and len(others) == partitions else Standing.NEEDED
