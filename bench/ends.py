"""Ends: 900,000 sessions of one partition that end in the same two seconds, beside 500 events a second."""

import time
from typing import Any, Final

import numpy as np

from bench.context import Context, Samples
from bench.latency import offered, warm
from bench.seed import QUIET_MS, evenly, quiet, seed, templates
from bench.stack import ENV, Stack, Topics
from featurestore.store.expiry_buckets import EXPIRY_BUCKET_MS
from featurestore.store.keys import Namespace, Shard
from tests.services import topic_id

SESSIONS: Final = 900_000
RATE: Final = 500.0
BEFORE_S: Final = 5.0
SECONDS: Final = 90.0
SEEDING_PER_S: Final = 15_000
START_UP_S: Final = 25.0
SHARD: Final = Shard(0)


class FullBucket:
    """Seeds one list of one partition, and watches it being used up.

    Args:
        stack: where.
        sessions: that end.
    """

    def __init__(self, stack: Stack, sessions: int) -> None:
        self._sessions = sessions
        self._client: Any = stack.redis.client()
        self._bootstrap = stack.kafka.bootstrap
        self._key = ""
        self.moment = 0.0
        self.ended_at = 0.0

    def seed(self, topics: Topics, group: str) -> None:
        """Quiet sessions, all of which end at `moment`, put into the list of that bucket whatever a worker would do."""
        of = templates()
        self.moment = float(int(time.time() + self._sessions / SEEDING_PER_S + START_UP_S + BEFORE_S))
        namespace = Namespace(ENV, group, topic_id(self._bootstrap, topics.clicks))
        rows = evenly(quiet(of, QUIET_MS), self._sessions)
        bucket = int(self.moment * 1000) // EXPIRY_BUCKET_MS
        seed(self._client, namespace, 1, of, rows, bucket * EXPIRY_BUCKET_MS - of.due[rows])
        self._key = namespace.ending(SHARD, bucket)

    def begin(self, earliest: float) -> float:
        """So that the load has run for a while when the bucket has passed."""
        if earliest > self.moment - BEFORE_S:
            raise TimeoutError(f"seeding took {earliest - self.moment + BEFORE_S:.0f} s too long")
        return self.moment - BEFORE_S

    def looked(self, now: float) -> None:
        """Note when nobody is left in the list."""
        if now > self.moment and not self.ended_at and not self._client.exists(self._key):
            self.ended_at = time.time()


def ends(context: Context) -> Samples:
    """``ends``: how long the ends of a full bucket take, and how long fresh clicks wait meanwhile."""
    samples: Samples = {}
    warm(context)
    for _ in range(min(context.runs, 2)):
        full = FullBucket(context.stack, context.size(SESSIONS))
        seen = offered(context.stack, RATE, SECONDS, seeding=full)
        took = full.ended_at - full.moment if full.ended_at else float("inf")
        busy = seen.latency[(seen.due >= BEFORE_S) & (seen.due < BEFORE_S + took)]
        figures = {
            "ended_s": took,
            "during.p50_ms": float(np.percentile(busy, 50, method="higher") * 1000),
            "during.p99_ms": float(np.percentile(busy, 99, method="higher") * 1000),
            "during.most_ms": float(busy.max() * 1000),
        }
        for name, value in figures.items():
            samples.setdefault(name, []).append(value)
    return samples
