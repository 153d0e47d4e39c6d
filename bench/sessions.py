"""What live sessions cost: memory of the worker, bytes of Redis a session, and speed, at 10,000 and 1,000,000."""

import time
from itertools import pairwise
from typing import Final

import numpy as np
from confluent_kafka import Producer

from bench.context import Context, Samples
from bench.processes import rss_mb
from bench.saturate import PARTITIONS, throughput
from bench.seed import Templates, crowd, name_of, seed, templates
from bench.stack import ENV, Stack, Topics, WorkerProcess
from bench.workload import SEED
from featurestore.keys import Namespace
from tests.services import topic_id

COUNTS: Final = (10_000, 1_000_000)
EVENTS: Final = 400_000
PER_MS: Final = 50
"""Events per millisecond of the shoppers' own time."""
TYPES: Final = (b"page_view", b"view_item", b"select_item", b"view_item_list", b"add_to_cart", b"search")


def fill(stack: Stack, topics: Topics, sessions: int, events: int, start_ms: int) -> None:
    """Events of sessions drawn evenly, each in the partition where its session was seeded."""
    rng = np.random.default_rng([SEED, sessions])
    who = rng.integers(0, sessions, events).tolist()
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


def seeded(stack: Stack, topics: Topics, group: str, sessions: int, of: Templates, flavour: str | None = None) -> float:
    """Put ``sessions`` live sessions in the emptied store; bytes of Redis a session."""
    client = stack.flush(flavour)
    before = int(client.info("memory")["used_memory"])
    namespace = Namespace(ENV, group, topic_id(stack.kafka.bootstrap, topics.clicks))
    rows, by_ms = crowd(of, sessions)
    seed(client, namespace, topics.partitions, of, rows, by_ms)
    grown = int(client.info("memory")["used_memory"]) - before
    time.sleep(1.5)  # the server's clock looks ten times a second whether the file wants rewriting
    while client.info("persistence")["aof_rewrite_in_progress"]:
        time.sleep(0.2)  # a fork makes the next write to each page dear: not what is measured
    return grown / sessions


def live_sessions(context: Context) -> Samples:
    """``sessions``: both counts, on Redis; bytes on Valkey too."""
    stack = context.stack
    of = templates()
    samples: Samples = {}
    speeds: dict[int, list[float]] = {}
    for full in COUNTS:
        sessions = context.size(full)
        events = context.size(EVENTS)
        topics = stack.topics(PARTITIONS)
        fill(stack, topics, sessions, events, of.now)
        group = stack.group()
        samples[f"redis_bytes_per_session.{full}"] = [seeded(stack, topics, group, sessions, of)]
        with WorkerProcess(stack, topics, group, {"timers": "event"}) as worker:
            edges = np.linspace(0.1, 0.98, context.runs + 1).tolist()
            pids = {"worker": worker.pid, "redis": stack.redis.pid}
            for span in pairwise(edges):
                figures = throughput(events, worker.count, pids, worker.check, span)
                speeds.setdefault(full, []).append(figures["events_per_s"])
                for name in ("events_per_s", "events_per_worker_cpu_s", "redis_cpu_us_per_event"):
                    samples.setdefault(f"{name}.{full}", []).append(figures[name])
                samples.setdefault(f"worker_rss_mb.{full}", []).append(rss_mb(worker.pid))
            time.sleep(0.1)
        valkey = seeded(stack, topics, stack.group(), sessions, of, "valkey")
        samples[f"valkey_bytes_per_session.{full}"] = [valkey]
        stack.flush("valkey")
    few, many = (speeds[count] for count in COUNTS)
    samples["million_sessions_ratio"] = [b / a for a, b in zip(few, many, strict=True)]
    return samples
