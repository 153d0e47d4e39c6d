"""A world for the loop without servers: a log, a store and topics in memory, in which things fail by a seed."""

import copy
import json
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from decisions.engine import Engine
from decisions.intake import Records
from decisions.policy import Policy
from decisions.shipped import DEFAULT_POLICY
from featurestore.errors import StoreUnavailable
from featurestore.session.fold import FoldConfig
from featurestore.store.keys import Namespace, Shard
from featurestore.store.memory import MemoryStore
from featurestore.store.outbox import Output
from featurestore.store.streams import DECISIONS, SESSIONS
from tests.unit.worker.pipeline.loop_fakes import (
    T0,
    Crash,
    FakeClock,
    FakeOutputs,
    FakeSource,
    FlakyStore,
    LooksAway,
    NoGroup,
)
from worker.checks.recompute import Expected, Identity, compare, expect, let_time_pass
from worker.kafka.time_order import TimeOrdered
from worker.metrics.metrics import Metrics
from worker.partitions.ownership import Ownership
from worker.pipeline.loop import Loop
from worker.pipeline.past import Past
from worker.protocols import BatchObserver, Consumer, Producer
from worker.settings import Settings

FOLD = FoldConfig(idle_after_ms=1_500, idle_mean_ms=500, gap_cap_ms=3_500, session_gap_ms=4_500)
PARTITIONS = 2
FAULTS = ("refuse", "refuse", "refuse", "crash", "rollback", "snapshot", "snapshot", "flush", "usurp")
FAR_MS = 2**52


class Scorer:
    """Any function of the features will do; it needs to be the same in whatever batch a row comes."""

    def score(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        filled = np.nan_to_num(X, nan=0.5)
        raw = np.stack([1 + filled[:, 0], 1 + filled[:, 2], 1 + 9 * filled[:, 3], 1 + 5 * filled[:, 8]], axis=1) ** 3
        scores: NDArray[np.float64] = raw / raw.sum(axis=1, keepdims=True)
        return scores


class NoReasons:
    def words(
        self, X: NDArray[np.float64], stages: NDArray[np.uint8], only_first: NDArray[np.bool_] | None = None
    ) -> list[list[str]]:
        return [[] for _ in stages]


@cache
def default_policy() -> Policy:
    """The shipped one, parsed once: it is immutable, and parsing is a good part of what a world costs."""
    return Policy.from_file(DEFAULT_POLICY)


def engine(config: FoldConfig = FOLD) -> Engine:
    namespace = Namespace("test", "loop", "topic")
    explainer: Any = NoReasons()
    return Engine(Scorer(), default_policy(), config, namespace, "model", explainer)


SLOW_MS = (0, 0, 240_000, -45_000, 3_000_000)
"""How slow the clocks of shoppers are."""


def some_log(rng: random.Random, events: int, sessions: int, *, ids: bool = True) -> dict[int, Records]:
    """Events of interleaved sessions in two partitions; every page is new. No id, no hiding of a doubled event.

    Clocks are wrong, some by so much that the first click is taken for an old upload. Records have the right times.
    """
    offsets: dict[int, list[int]] = {number: [] for number in range(PARTITIONS)}
    log = {number: Records(number, [], taken, []) for number, taken in offsets.items()}
    following = [rng.randrange(5) for _ in log]
    t = T0
    for n in range(events):
        session = rng.randrange(sessions)
        number = session % PARTITIONS
        t += rng.choice([1, 20, 60, 60, 60, 700])
        ts = t - SLOW_MS[session % len(SLOW_MS)]
        event = {
            "session_id": f"s{session}",
            "type": rng.choice(["page_view", "add_to_cart", "view_item"]),
            "ts": ts,
            "page": f"/{n}",
        }
        if session % 4 == 3:
            event["sent_ts"] = ts + 15
        if ids:
            event["event_id"] = f"{n}"
        log[number].values.append(json.dumps(event).encode())
        offsets[number].append(following[number])
        log[number].record_ms.append(t)
        following[number] += rng.choice([1, 1, 1, 2])  # transaction markers leave holes
    return log


class World:
    """A log, and a worker that works it off while things fail.

    Args:
        seed: of everything.
        trouble: how often a call fails.
        buckets: of each partition; several go back in time one by one, as on nodes of a Cluster.
        bots: most sessions are soon taken for bots, so that batches of events put ends into lists.
        late: the worker comes when all of it has long happened, and goes by the wall clock once it has read it.
        log: to work off; None for `some_log`.
    """

    def __init__(
        self,
        seed: int,
        *,
        events: int = 400,
        trouble: float = 0.05,
        buckets: int = 1,
        bots: bool = False,
        late: bool = False,
        log: dict[int, Records] | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.trouble = trouble
        self.late = late
        self.ends = 0
        self.clock = FakeClock(T0 + 3_600_000 * late if log is None else FAR_MS)
        self.engine = engine(replace(FOLD, bot_clicks=1) if bots else FOLD)
        self.buckets = buckets
        self.log = log or some_log(self.rng, events, sessions=12, ids=buckets == 1)
        self.store = FlakyStore(self.engine.namespace, self)
        self.topic: list[Output] = []
        self.committed: dict[int, int] = {}
        self.metrics = Metrics(None)
        self._snapshot = copy.deepcopy(self.store.shards)
        self.happened: deque[str] = deque(maxlen=60)

    def log_ends(self) -> dict[int, int]:
        """One past the last offset of each partition."""
        return {number: part.offsets[-1] + 1 if part.offsets else 0 for number, part in self.log.items()}

    def dice(self, where: str) -> None:
        """Let something happen here, or nothing.

        Raises:
            StoreUnavailable, Crash: as the dice fell.
        """
        if self.rng.random() >= self.trouble:
            return
        fault = self.rng.choice(FAULTS)
        self.happened.append(f"{fault} at {where}")
        if fault == "refuse" and where != "poll":
            raise StoreUnavailable("Redis failed")
        if fault == "crash":
            raise Crash
        if fault == "rollback":
            for shard in sorted(self.store.shards.keys() | self._snapshot.keys()):
                if self.buckets > 1 and self.rng.random() < 0.5:
                    continue
                self.store.shards.pop(shard, None)
                if shard in self._snapshot:
                    self.store.shards[shard] = copy.deepcopy(self._snapshot[shard])
        if fault == "snapshot":
            self._snapshot = copy.deepcopy(self.store.shards)
        if fault == "flush" and self.rng.random() < 0.3:
            self.store.shards = {}
        if fault == "usurp":
            bucket = self.rng.randrange(self.buckets) if self.buckets > 1 else 0
            self.store.acquire([Shard(self.rng.randrange(PARTITIONS), bucket)], 0, 0)

    def loop(self) -> Loop:
        """A new worker."""
        settings = Settings(
            batch_max=16,
            timers="live" if self.late else "event",
            session_timeout_s=3,
            commit_every_s=0.05,
            verify_every_s=0.2,
            buckets=self.buckets,
        )
        fake: Consumer = FakeSource(self)
        gap_ms = self.engine.judge.config.session_gap_ms
        ordered = None if self.late else TimeOrdered(fake, self.clock, gap_ms)
        source = ordered or fake
        outputs: Producer = FakeOutputs(self)
        ownership = Ownership(source, self.store, outputs, settings, self.clock, self.metrics)
        observer: BatchObserver = LooksAway(self.metrics)
        self.store.under_way.clear()
        loop = Loop(settings, self.engine, source, outputs, self.store, ownership, NoGroup(), observer, self.clock)
        if ordered is not None:
            loop.preparation.past = Past(ordered, gap_ms)
        return loop

    def work(self) -> None:
        """Let workers come and go until everything is applied, then without trouble to the end."""
        for steps in (600, 3_000):
            left = steps
            while left > 0 and not (steps == 3_000 and self.applied()):
                loop = self.loop()
                try:
                    while left > 0 and not (steps == 3_000 and self.applied()):
                        left -= 1
                        loop.step()
                except Crash:
                    continue
            if steps == 600:
                self.trouble = 0.0
        for _ in range(20):  # outputs on their way, deadlines that are due
            self.clock.sleep(0.2)
            loop.step()
        loop.close()

    def applied(self) -> bool:
        """Whether the store is at the end of the log."""
        return all(
            (data := self.store.shards.get(Shard(number, bucket))) is not None and (data.applied or 0) + 1 >= end
            for number, end in self.log_ends().items()
            for bucket in range(self.buckets)
        )

    def difference(self) -> str:
        """What departs from one pass over the log; empty if nothing does."""
        expected = expect(self.engine, self.log, FAR_MS)
        rest = self.rest()  # so the stored states are compared too
        decisions = compare(expected.decisions, [*self._produced(DECISIONS), *_documents(rest.decisions)])
        summaries = compare(expected.summaries, [*self._produced(SESSIONS), *_documents(rest.summaries)])
        words = [f"decisions: {decisions}" if decisions else "", f"summaries: {summaries}" if summaries else ""]
        return "; ".join(word for word in words if word)

    def rest(self) -> Expected:
        """What is still open in the store comes to its end."""
        rest = Expected(MemoryStore(self.engine.namespace))
        rest.store.shards = copy.deepcopy(self.store.shards)
        for shard in list(rest.store.shards):
            let_time_pass(self.engine, rest, shard, FAR_MS)
        return rest

    def _produced(self, wanted: int) -> list[bytes]:
        return [document for stream, _, documents, _ in self.topic if stream == wanted for document in documents]


def _documents(contents: Mapping[Identity, dict[str, Any]]) -> list[bytes]:
    return [msgspec.json.encode(content) for content in contents.values()]
