"""Real clicks through a real Kafka, real workers and a real store."""

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.proof_eshop import CLICKS, ESHOP, OTTO, PARTITIONS, SESSIONS, Stack, prove, stored, wait_applied, workers
from tests.services import RedisServer
from tests.services.kafka_broker import Kafka
from tests.services.kafka_topics import read_topic
from worker.adapters import read
from worker.commands.replay import send
from worker.replay_check import verify

needs_data = pytest.mark.skipif(not ESHOP.exists(), reason="../shared/data is not here")
GAP_MS = 1_800_000


@needs_data
@pytest.mark.parametrize("flavour", ["redis"])
def test_every_click_of_a_real_shop_is_applied_once(
    kafka: Kafka, redis_server: RedisServer, unique: str, tmp_path: Path
) -> None:
    """165,474 clicks, two workers, 24,026 sessions: nine features each as recomputed from the CSV."""
    figures = prove(Stack(kafka.bootstrap, redis_server, unique), tmp_path / "workers.log")
    assert figures["events"] == CLICKS
    assert figures["sessions"] == SESSIONS


@needs_data
@pytest.mark.parametrize("flavour", ["valkey"])
def test_gaps_of_thirty_minutes_split_real_sessions(
    kafka: Kafka, redis_server: RedisServer, unique: str, tmp_path: Path
) -> None:
    """OTTO's 20 shoppers paused 842 times, 124 times for more than 30 minutes; every decision is the batch code's."""
    stack = Stack(kafka.bootstrap, redis_server, unique)
    stack.make_topics()
    clicks = read("otto", OTTO)
    by_shopper: dict[str, list[int]] = {}
    for click in clicks:
        by_shopper.setdefault(click.session_id, []).append(click.ts)
    gaps = [b - a for times in by_shopper.values() for a, b in itertools.pairwise(times)]
    long = {s: sum(b - a > GAP_MS for a, b in itertools.pairwise(times)) for s, times in by_shopper.items()}
    assert (len(gaps), sum(long.values())) == (842, 124)
    with workers(stack, 1, tmp_path / "worker.log") as running:
        send(stack.settings(), clicks)
        assert wait_applied(running, len(clicks)) == {"applied": 862.0}, "no session has more than 250 interactions"
        assert not verify(stack.settings(), 30)
    with redis_server.client() as client:
        assert stored(client, stack.namespace(), PARTITIONS).keys() == by_shopper.keys()
    summaries = [json.loads(m.value() or b"") for m in read_topic(kafka.bootstrap, stack.settings().sessions_topic)]
    assert Counter(s["session_id"] for s in summaries) == Counter({s: n for s, n in long.items() if n})
    assert not any(s["bot"] for s in summaries)
