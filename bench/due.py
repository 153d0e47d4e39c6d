"""Timers: 1,000,000 live sessions of which 10,000 fall silent at the same moment, beside 5,000 events a second."""

import time
from typing import Any, Final

import numpy as np

from bench.context import Context, Samples
from bench.latency import offered, warm
from bench.seed import QUIET_MS, evenly, quiet, seed, talking, templates
from bench.stack import ENV, Stack, Topics
from featurestore.store.keys import Namespace, Shard
from tests.services import topic_id

SESSIONS: Final = 1_000_000
DUE: Final = 10_000
RATE: Final = 5_000.0
BEFORE_S: Final = 10.0
SECONDS: Final = 20.0
SEEDING_PER_S: Final = 15_000
START_UP_S: Final = 25.0


class Silence:
    """Seeds the sessions and watches the due ones disappear from the index.

    Args:
        stack: where.
        sessions: live ones, those due included.
        due: how many.
    """

    def __init__(self, stack: Stack, sessions: int, due: int) -> None:
        self._sessions, self._due = sessions, due
        self._client: Any = stack.redis.client()
        self._bootstrap = stack.kafka.bootstrap
        self._idle: list[str] = []
        self.moment = 0.0
        self.fired_at = 0.0

    def seed(self, topics: Topics, group: str) -> None:
        """Quiet sessions whose end is far, and talking ones whose silence is due at `moment`."""
        of = templates()
        self.moment = float(int(time.time() + self._sessions / SEEDING_PER_S + START_UP_S + BEFORE_S))
        due_ms = int(self.moment * 1000)
        namespace = Namespace(ENV, group, topic_id(self._bootstrap, topics.clicks))
        calm = evenly(quiet(of, QUIET_MS), self._sessions - self._due)
        seed(self._client, namespace, topics.partitions, of, calm, np.full(calm.size, due_ms - of.now))
        about = evenly(talking(of), self._due)
        seed(self._client, namespace, topics.partitions, of, about, due_ms - of.due[about], calm.size)
        self._idle = [namespace.idle(Shard(partition)) for partition in range(topics.partitions)]

    def begin(self, earliest: float) -> float:
        """So that the load has run for a while when the silence is due."""
        if earliest > self.moment - BEFORE_S:
            raise TimeoutError(f"seeding took {earliest - self.moment + BEFORE_S:.0f} s too long")
        return self.moment - BEFORE_S

    def looked(self, now: float) -> None:
        """Note when the last due session has left its deadline behind."""
        if now < self.moment or self.fired_at:
            return
        left = sum(self._client.zcount(key, "-inf", int(self.moment * 1000)) for key in self._idle)
        if left == 0:
            self.fired_at = time.time()


def timers(context: Context) -> Samples:
    """``timers``: how long the firing takes, and what events feel of it."""
    samples: Samples = {}
    warm(context)
    for _ in range(min(context.runs, 2)):
        silence = Silence(context.stack, context.size(SESSIONS), context.size(DUE))
        seen = offered(context.stack, RATE, SECONDS, seeding=silence)
        took = silence.fired_at - silence.moment if silence.fired_at else float("inf")
        calm = seen.latency[(seen.due > 3) & (seen.due < BEFORE_S)]
        busy = seen.latency[(seen.due >= BEFORE_S) & (seen.due < BEFORE_S + 1)]
        figures = {
            "firing_s": took,
            "before.p50_ms": float(np.percentile(calm, 50, method="higher") * 1000),
            "before.p99_ms": float(np.percentile(calm, 99, method="higher") * 1000),
            "during.p50_ms": float(np.percentile(busy, 50, method="higher") * 1000),
            "during.p99_ms": float(np.percentile(busy, 99, method="higher") * 1000),
            "worker_cores": seen.cores["worker"],
        }
        for name, value in figures.items():
            samples.setdefault(name, []).append(value)
    return samples
