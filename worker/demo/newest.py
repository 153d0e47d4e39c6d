"""Reads the decisions topic, for the live view."""

import threading
from collections import Counter, OrderedDict, deque
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from decisions.document import Decision, decode_decision

GONE_MS: Final = 1_800_000
"""A session has ended if it got no decision for this long."""
MOST: Final = 100_000
"""Sessions that are kept in mind."""
TOLD: Final = 6
"""Turns that a screen has room for: a session with more is not followed from its beginning."""


class Visit:
    """What the view knows of one session: its turns, and when it was last decided."""

    __slots__ = ("at", "stage", "turns")

    def __init__(self) -> None:
        self.turns: list[Decision] = []
        self.stage = ""
        self.at = 0

    def take(self, decision: Decision) -> None:
        """Note a decision; it is a turn if stage or action are new."""
        self.stage, self.at = decision.stage, decision.event_ts
        if len(self.turns) <= TOLD and (
            not self.turns or (self.turns[-1].stage, self.turns[-1].action) != (decision.stage, decision.action)
        ):
            self.turns.append(decision)


class Sessions:
    """The newest decisions, the sessions of each stage, and the story of one session.

    Attributes:
        latest: the newest decisions, newest first.
        story: the turns of the session with the most stages, of those whose whole story fits.
        stages: sessions by the stage that they are in now.
    """

    def __init__(self) -> None:
        self.latest: deque[Decision] = deque(maxlen=16)
        self.story: list[Decision] = []
        self.stages: Counter[str] = Counter()
        self._visits: OrderedDict[str, Visit] = OrderedDict()  # the one without a decision for longest first

    def take(self, decision: Decision) -> None:
        """Note one decision."""
        self.latest.appendleft(decision)
        visit = self._visits.get(decision.session_id)
        if visit is None:
            visit = self._visits[decision.session_id] = Visit()
        else:
            self.stages[visit.stage] -= 1
        visit.take(decision)
        self.stages[visit.stage] += 1
        self._visits.move_to_end(decision.session_id)
        if len(visit.turns) <= TOLD and _stages(visit.turns) > _stages(self.story):
            self.story = visit.turns
        if len(self.story) > TOLD:  # it grew beyond the screen: the next best
            whole = (other.turns for other in self._visits.values() if len(other.turns) <= TOLD)
            self.story = max(whole, key=_stages, default=[])
        while len(self._visits) > MOST or next(iter(self._visits.values())).at < decision.event_ts - GONE_MS:
            _, gone = self._visits.popitem(last=False)
            self.stages[gone.stage] -= 1


class Newest:
    """Reads decisions in a thread of its own, from the beginning, until `close`.

    Args:
        bootstrap: Kafka.
        topic: of decisions.
        partitions: its number of partitions.

    Attributes:
        sessions: what they say.
    """

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "demo-view", "enable.auto.commit": False}
        )
        self._consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
        self.sessions = Sessions()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="newest", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for message in self._consumer.consume(500, 0.1):
                value = message.value()
                if message.error() is None and value is not None:
                    self.sessions.take(decode_decision(value))


def _stages(turns: list[Decision]) -> int:
    return len({turn.stage for turn in turns})
