"""The decision that follows events which the stream has not applied yet: read, judged, handed out; nothing is written.

For each session: the stored state, then the events that this process has sent to Kafka and the worker has not applied,
then those of the request. What the state has applied already is told by the offset in it; what is counted twice all the
same has the same `event_id`, and the fold ignores it.

Questions of many requests are judged together (`Batcher`). A session comes once in a batch: a second question about it
waits for the next one.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from decisions.engine import Engine
from decisions.intake import Records, decode, plan
from decisions.loading import Loader
from decisions.policy import Policy
from edge.metrics import EdgeMetrics
from edge.publisher import Record
from edge.store import Outage
from featurestore.columns.jit import compiled
from featurestore.contract.event import EVENT
from featurestore.contract.ids import IdKey
from featurestore.contract.pages import USUAL, Pages
from featurestore.contract.partitioner import partitions_of
from featurestore.errors import StoreUnavailable
from featurestore.session.layout import STATE
from featurestore.session.state import LIVE
from featurestore.store.cluster.cluster_connection import AWAY
from featurestore.store.protocols import SessionReader, unavailable

UNKNOWN_OFFSET: Final = 1 << 40
"""Stands for the offset of an event that Kafka has not told, or never will: behind every one that it has."""


class Question(NamedTuple):
    """A session and its events that the worker may not have applied, in the order sent."""

    session_id: str
    values: list[bytes]
    offsets: list[int]
    record_ms: list[int]


class Answer(NamedTuple):
    """What the front end would be told.

    Attributes:
        document: as the stream would store it; None where the events change nothing that is shown.
        live: whether the session goes on; else nothing is shown: it ended, or consent was withdrawn.
        applied: offset of the session's last event in the stored state; -1 where it has none.
    """

    document: bytes | None
    live: bool
    applied: int = -1


GONE: Final = Answer(None, live=False)
WARM_SESSIONS: Final = 64
"""So many made-up sessions are on every node of a Cluster."""


def question(session_id: str, sent: Sequence[Record], values: Sequence[bytes], now_ms: int) -> Question:
    """What is asked: records on their way to Kafka, then values that are not sent."""
    offsets = [record.offset if record.offset >= 0 else UNKNOWN_OFFSET + place for place, record in enumerate(sent)]
    ahead = range(UNKNOWN_OFFSET + len(sent), UNKNOWN_OFFSET + len(sent) + len(values))
    return Question(
        session_id,
        [*(record.value for record in sent), *values],
        [*offsets, *ahead],
        [*(record.at_ms for record in sent), *([now_ms] * len(values))],
    )


class Decider:
    """Judges questions; used from one thread.

    Args:
        engine: judges and writes documents.
        reader: of stored sessions; asked anew after it failed.
        partitions: of the topic.
        buckets: of a partition.
        ids: of the workers.
    """

    def __init__(
        self,
        engine: Engine,
        reader: Callable[[], SessionReader],
        partitions: int,
        buckets: int,
        ids: IdKey,
        metrics: EdgeMetrics,
        pages: Pages = USUAL,
    ) -> None:
        self._pages = pages
        self.engine = engine
        self._reader = reader
        self._loader: Loader | None = None
        self._next_policy: Policy | None = None
        self._outage = Outage()
        self._partitions = partitions
        self._buckets = buckets
        self._ids = ids
        self._seconds = metrics.decide_seconds

    def use_policy(self, policy: Policy) -> None:
        """Decide by another policy from the next batch on; from any thread."""
        self._next_policy = policy

    def warm_up(self) -> None:
        """Compile, and connect to Redis, on a Cluster to every node: the first page does not wait for it. Reads only.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        _find_applied(np.zeros(0, EVENT), np.zeros(0, STATE), np.zeros(0, np.int64), np.zeros(0, np.bool_))
        value = b'{"session_id":"warm-%d","type":"page_view","ts":1,"event_id":"w"}'
        self._judged([question(f"warm-{i}", [], [value % i], 1) for i in range(WARM_SESSIONS)])

    def decide(self, questions: Sequence[Question]) -> list[Answer]:
        """What each session's front end would be told.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        began = time.perf_counter()
        if self._next_policy is not None:
            policy, self._next_policy = self._next_policy, None
            self.engine.use_policy(policy)
        answers = [GONE] * len(questions)
        left = list(range(len(questions)))
        while left:
            names: set[str] = set()
            now: list[int] = []
            later: list[int] = []
            for i in left:
                (later if questions[i].session_id in names else now).append(i)
                names.add(questions[i].session_id)
            for i, answer in zip(now, self._judged([questions[i] for i in now]), strict=True):
                answers[i] = answer
            left = later
        self._seconds.observe(time.perf_counter() - began)
        return answers

    def _judged(self, questions: list[Question]) -> list[Answer]:
        batch = plan(decode(self._records(questions), self._ids, self._pages), self._buckets, lambda _shard: -1)
        try:
            if self._loader is None:
                self._loader = self.engine.loader(self._reader())
            states, memories, profiles = self._loader.load(batch)
        except AWAY as error:
            self._loader = None
            raise self._outage.began(unavailable(error, "deciding inline")) from None
        except StoreUnavailable as error:
            self._loader = None
            raise self._outage.began(error) from None
        self._outage.over()
        applied = np.empty(states.size, np.int64)
        fresh = np.empty(batch.events.size, np.bool_)
        if _find_applied(batch.events, states, applied, fresh) < fresh.size:
            batch.events, batch.record_ms = batch.events[fresh], batch.record_ms[fresh]
        judgement = self.engine.judge.judge(states, memories, profiles, batch.events, time.time_ns() // 1_000_000)
        documents = self.engine.writer.newest(batch, judgement)
        live = (judgement.states["flags"] & LIVE != 0).tolist()
        answers = dict(zip(batch.sessions, map(Answer, documents, live, applied.tolist()), strict=True))
        return [answers.get(self._ids.session(question.session_id), GONE) for question in questions]

    def _records(self, questions: list[Question]) -> list[Records]:
        places = partitions_of([question.session_id for question in questions], self._partitions).tolist()
        by_partition: dict[int, Records] = {}
        for partition, asked in zip(places, questions, strict=True):
            records = by_partition.setdefault(partition, Records(partition, [], [], []))
            records.values.extend(asked.values)
            records.offsets.extend(asked.offsets)  # type: ignore[union-attr] # made above, as a list
            records.record_ms.extend(asked.record_ms)
        return list(by_partition.values())


@compiled
def _find_applied(
    events: NDArray[np.void], states: NDArray[np.void], applied: NDArray[np.int64], fresh: NDArray[np.bool_]
) -> int:
    """How far each stored state has come, and which events it has not seen yet; how many these are.

    A state knows the offset of the last event; one that says nothing has -1. One that withdrew is not live, and its
    place in the log is kept all the same.
    """
    for k in range(states.size):
        s = states[k]
        applied[k] = -1 if s["flags"] & LIVE == 0 and s["offset"] == 0 else s["offset"]
    count = 0
    for i in range(events.size):
        fresh[i] = events[i]["offset"] > applied[events[i]["session_index"]]
        count += fresh[i]
    return count
