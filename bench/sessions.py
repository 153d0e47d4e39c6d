"""What live sessions cost: memory of the worker, bytes of Redis a session, and speed, at 10,000 and 1,000,000."""

import time
from itertools import pairwise
from typing import Any, Final

import numpy as np
from confluent_kafka import Producer
from numpy.typing import NDArray

from bench.context import Context, Samples
from bench.processes import rss_mb
from bench.saturate import PARTITIONS, drain, throughput
from bench.seed import Templates, crowd, name_of, seed, talkers, templates
from bench.stack import ENV, Stack, Topics, WorkerProcess
from bench.workload import SEED, shoppers
from featurestore.store.keys import Namespace
from tests.services import topic_id

CASES: Final = (("10000", 10_000, 10_000), ("1000000", 1_000_000, 10_000), ("1000000_all_active", 1_000_000, 1_000_000))
"""Name, live sessions, and how many of them the events go to."""
EVENTS: Final = 400_000
PER_MS: Final = 50
"""Events per millisecond of the shoppers' own time."""
TYPES: Final = (b"page_view", b"view_item", b"select_item", b"view_item_list", b"add_to_cart", b"search")


def fill(stack: Stack, topics: Topics, sessions: int, active: int, events: int, start_ms: int) -> None:
    """Events of ``active`` out of ``sessions``, drawn evenly, each in the partition where its session was seeded.

    They go to sessions that are being talked to, the latest ones, as far as there are so many. The same draws meet the
    same partitions whatever ``sessions`` is: a stream to one partition would be another stream.
    """
    rng = np.random.default_rng([SEED, active])
    drawn = rng.integers(0, active, events)
    latest = max(active, talkers(sessions))
    who = (sessions - latest + among(drawn, latest // active, topics.partitions)).tolist()
    what = rng.integers(0, len(TYPES), events).tolist()
    page = rng.integers(0, 5_000, events).tolist()
    producer = Producer(
        {"bootstrap.servers": stack.kafka.bootstrap, "compression.type": "lz4", "linger.ms": 20}
        | {"enable.idempotence": True, "queue.buffering.max.messages": 500_000}
    )
    for i in range(events):
        name = name_of(who[i]).encode()
        at = start_ms + 1 + i // PER_MS
        value = (
            b'{"session_id":"%b","device":"mobile","source":"organic","country":"DE","type":"%b","ts":%d,'
            b'"event_id":"%d","page":"/p/%d","item_id":"sku-%d","category":"shoes","price":59.9}'
            % (name, TYPES[what[i]], at, i, page[i], page[i])
        )
        while True:
            try:
                producer.produce(topics.clicks, value, name, who[i] % topics.partitions, timestamp=at)
                break
            except BufferError:
                producer.poll(0.05)
    if producer.flush(120):
        raise TimeoutError("Kafka did not take the events")


def among(drawn: NDArray[np.int64], step: int, partitions: int) -> NDArray[np.int64]:
    """The drawn ones among ``step`` times as many, spread over all of them, each in the partition it has alone.

    >>> among(np.arange(6), 100, 4).tolist()
    [0, 101, 202, 303, 400, 501]
    """
    return drawn * step + (drawn - drawn * step) % partitions


def seeded(stack: Stack, topics: Topics, group: str, sessions: int, of: Templates, flavour: str | None = None) -> float:
    """Put ``sessions`` live sessions in the emptied store; bytes of Redis a session."""
    client = stack.flush(flavour)
    before = int(client.info("memory")["used_memory"])
    namespace = Namespace(ENV, group, topic_id(stack.kafka.bootstrap, topics.clicks))
    rows, by_ms = crowd(of, sessions)
    seed(client, namespace, topics.partitions, of, rows, by_ms)
    grown = int(client.info("memory")["used_memory"]) - before
    # Rewrite the file now: a fork during the measurement would make the first write to each page dear.
    _rewritten(client)
    client.bgrewriteaof()
    _rewritten(client)
    return grown / sessions


def _rewritten(client: Any) -> None:
    """Block until the server rewrites no append-only file, nor is about to."""
    time.sleep(1.0)
    names = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")
    while any(client.info("persistence")[name] for name in names):
        time.sleep(0.2)


def live_sessions(context: Context) -> Samples:
    """``sessions``: the same stream on a small and a large store, and one that goes to every session of the large."""
    stack = context.stack
    of = templates()
    warm = context.size(EVENTS)
    drain(stack, stack.filled("shoppers", shoppers(warm), PARTITIONS), warm)  # the broker's Java is compiled meanwhile
    samples: Samples = {}
    speeds: dict[str, list[float]] = {}
    for name, full, active in CASES:
        sessions, events = context.size(full), context.size(EVENTS)
        topics = stack.topics(PARTITIONS)
        fill(stack, topics, sessions, context.size(active), events, of.now)
        group = stack.group()
        samples[f"redis_bytes_per_session.{name}"] = [seeded(stack, topics, group, sessions, of)]
        with WorkerProcess(stack, topics, group, {"timers": "event"}) as worker:
            edges = np.linspace(0.1, 0.98, context.runs + 1).tolist()
            pids = {"worker": worker.pid, "redis": stack.redis.pid}
            for span in pairwise(edges):
                figures = throughput(events, worker.count, pids, worker.check, span)
                speeds.setdefault(name, []).append(figures["events_per_s"])
                for figure in ("events_per_s", "events_per_worker_cpu_s", "redis_cpu_us_per_event"):
                    samples.setdefault(f"{figure}.{name}", []).append(figures[figure])
                samples.setdefault(f"worker_rss_mb.{name}", []).append(rss_mb(worker.pid))
    last = stack.topics(PARTITIONS)
    samples["valkey_bytes_per_session.1000000"] = [
        seeded(stack, last, stack.group(), context.size(1_000_000), of, "valkey")
    ]
    stack.flush("valkey")
    few, many, spread = (speeds[name] for name, _, _ in CASES)
    samples["million_sessions_ratio"] = [b / a for a, b in zip(few, many, strict=True)]
    samples["million_sessions_all_active_ratio"] = [b / a for a, b in zip(few, spread, strict=True)]
    return samples
