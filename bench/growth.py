"""How cost grows with sessions, partitions, batch size, one hot session, and features."""

import time
from typing import Final

import numpy as np

from bench.context import Context, Samples
from bench.saturate import drain
from bench.steps import Shop, engine
from bench.workload import SEED, batches, shoppers
from decisions.intake import Records
from featurestore.session.stages import STAGES
from models.simulator.simulator import SimEvent
from models.trees.ensemble import Ensemble

BATCH_SIZES: Final = (1, 10, 100, 1_000, 4_000, 16_000)
SESSIONS: Final = (1_000, 10_000, 100_000, 1_000_000)
PARTITIONS: Final = (1, 4, 16, 48)
FEATURES: Final = (9, 20, 40, 60)
HOT: Final = 250
EVENTS: Final = 200_000
TREES: Final = 200


def growth(context: Context) -> Samples:
    """``growth``: the pure parts one by one, the partitions end to end."""
    samples: Samples = {}
    _batch_sizes(context, samples)
    _sessions(context, samples)
    _hot(context, samples)
    _features(context, samples)
    stack = context.stack
    events = context.size(EVENTS)
    for count in PARTITIONS:
        topics = stack.filled("growth", shoppers(events), count)
        for _ in range(max(context.runs // 2, 1)):
            figures, _ = drain(stack, topics, events)
            for name in ("events_per_s", "worker_cpu_us_per_event", "redis_cpu_us_per_event"):
                samples.setdefault(f"partitions.{count}.{name}", []).append(figures[name])
    return samples


def cpu_us(shop: Shop, stream: list[Records]) -> float:
    """CPU microseconds per event of some batches."""
    begin = time.process_time()
    for records in stream:
        shop.process(records)
    return (time.process_time() - begin) * 1e6 / sum(len(records.values) for records in stream)


def _batch_sizes(context: Context, samples: Samples) -> None:
    warm, each = 40_000, context.size(32_000)
    events = shoppers(warm + each)
    for size in BATCH_SIZES:
        for _ in range(context.runs):
            shop = Shop(engine())
            for records in batches(events[:warm], 4_000):
                shop.process(records)
            part = events[warm : warm + min(each, size * 500)]
            samples.setdefault(f"batch.{size}.us_per_event", []).append(cpu_us(shop, batches(part, size)))


def _sessions(context: Context, samples: Samples) -> None:
    """Every event another session: batches of 4,000 sessions out of n known ones; the store is a dictionary."""
    rng = np.random.default_rng(SEED)
    for count in SESSIONS:
        shop = Shop(engine())
        known = context.size(count)
        first = [_event(i, 0, 0) for i in range(min(known, 4_000))]
        shop.process(batches(first, len(first))[0])
        names, blobs = list(shop.sessions), list(shop.sessions.values())
        for i in range(known):
            shop.sessions.setdefault(f"g{i:07d}", blobs[i % len(names)])
        for run in range(context.runs):
            chosen = rng.integers(0, known, 16_000).tolist()
            events = [_event(i, 16_000 * run + k, 10_000 * (run + 1) + k // 4) for k, i in enumerate(chosen, 1)]
            samples.setdefault(f"sessions.{count}.us_per_event", []).append(cpu_us(shop, batches(events, 4_000)))


def _hot(context: Context, samples: Samples) -> None:
    """One session of 250 events in one batch, against 250 sessions of one event."""
    hot = batches([_event(1, i, 1_000 * i) for i in range(HOT)], HOT)
    cold = batches([_event(i, i, 1_000 * i) for i in range(HOT)], HOT)
    for name, stream in (("hot", hot), ("cold", cold)):
        shop = Shop(engine())
        shop.process(stream[0])
        for _ in range(context.runs):
            spent = 0.0
            for _ in range(20):
                shop.sessions.clear()
                spent += cpu_us(shop, stream)
            samples.setdefault(f"session_of_250.{name}.us_per_event", []).append(spent / 20)


def _features(context: Context, samples: Samples) -> None:
    """The forest alone on random rows: as many trees as the shipped one, more columns."""
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(SEED)
    for count in FEATURES:
        X = rng.random((4_000, count))
        y = (X[:, :4].argmax(axis=1) + (rng.random(4_000) < 0.1)) % 4
        trees = TREES // 10 if context.quick else TREES
        made = RandomForestClassifier(trees, max_leaf_nodes=32, max_features=5, random_state=SEED).fit(X, y)
        forest = Ensemble.from_sklearn(made, STAGES)
        forest.predict(X)
        for _ in range(context.runs):
            begin = time.process_time()
            for _ in range(5):
                forest.predict(X)
            samples.setdefault(f"features.{count}.us_per_row", []).append(
                (time.process_time() - begin) * 1e6 / (5 * len(X))
            )


def _event(session: int, number: int, after_ms: int) -> SimEvent:
    at = 1_767_225_600_000 + after_ms
    name = b"g%07d" % session
    value = b'{"session_id":"%b","type":"view_item","ts":%d,"event_id":"%d.%d","page":"/p/%d","price":19.9}'
    return name, value % (name, at, session, number, (session + number) % 5_000), at
