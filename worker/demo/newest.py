"""Reads the decisions topic, for the live view."""

import threading
from collections import deque

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from decisions.document import Decision, decode_decision


class Newest:
    """The newest decisions, and the story of one session.

    Args:
        bootstrap: Kafka.
        topic: of decisions.
        partitions: its number of partitions.
    """

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "demo-view", "enable.auto.commit": False}
        )
        self._consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
        self.latest: deque[Decision] = deque(maxlen=8)
        self.story: list[Decision] = []
        self._stories: dict[str, list[Decision]] = {}
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
                    self._take(decode_decision(value))

    def _take(self, decision: Decision) -> None:
        self.latest.appendleft(decision)
        story = self._stories.setdefault(decision.session_id, [])
        if not story or story[-1].stage != decision.stage or story[-1].action != decision.action:
            story.append(decision)
        # Follow the session with the most turns so far; a richer one takes over.
        if len({d.stage for d in story}) > len({d.stage for d in self.story}) or story is self.story:
            self.story = story
        if len(self._stories) > 20_000:
            self._stories = {self.story[0].session_id: self.story} if self.story else {}
