"""Whole journeys in memory: simulated or real clicks through fold, model and policy, without Kafka or Redis."""

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from decisions.engine import Engine
from decisions.intake import Plan, Records, plan, plan_ticks
from decisions.intake import decode as decode_records
from decisions.policy import Policy
from featurestore.columns.hashing import hash64
from featurestore.contract.decode import decode
from featurestore.contract.event import EVENT, TYPE_CODE, columns
from featurestore.session.fold import FoldConfig, empty_states, fold, ticks
from featurestore.session.layout import MEMORY
from featurestore.session.observation import SILENCE, Observations
from featurestore.session.visitors import NOBODY, unpack
from featurestore.store.keys import Namespace, Shard
from featurestore.store.memory import MemoryStore
from models.bundle.bundle import Bundle
from models.simulator.simulator import SimConfig, simulate

START_MS: Final = 1_767_225_600_000
MINUTES_31: Final = 31 * 60_000


class Clicks(NamedTuple):
    """Events in log order, and how many sessions they belong to."""

    events: NDArray[np.void]
    sessions: int


class Scored(NamedTuple):
    """What fold and model say; what remains is the policy."""

    seen: Observations
    probabilities: NDArray[np.float64]
    sessions: int


def simulated(sessions: int, seed: int) -> Clicks:
    """Simulated sessions."""
    events = [
        (decode(value), at) for chunk in simulate(SimConfig(sessions=sessions, seed=seed)) for _, value, at in chunk
    ]
    index: dict[str, int] = {}
    slots = [index.setdefault(event.session_id, len(index)) for event, _ in events]
    rows = columns([event for event, _ in events], slots, range(len(events)), [at for _, at in events])
    return Clicks(rows, len(index))


def eshop(path: Path, seed: int = 1) -> Clicks:
    """The clicks of a real clothing shop; it recorded their order but no time.

    Times inside a session are drawn: gaps are lognormal, median 15 s, and e times as long or short at one sigma.
    """
    with gzip.open(path, "rb") as file:
        rows = list(csv.DictReader(io.TextIOWrapper(file, "utf-8", newline=""), delimiter=";"))
    session = np.array([int(row["session ID"]) for row in rows]) - 1
    gaps = np.random.default_rng(seed).lognormal(np.log(15_000), 1, len(rows)).astype(np.int64)
    first = np.r_[True, session[1:] != session[:-1]]
    elapsed = np.cumsum(np.where(first, 0, gaps))
    events = np.zeros(len(rows), EVENT)
    events["session_index"] = session
    events["offset"] = np.arange(len(rows))
    events["t"] = START_MS + elapsed - np.repeat(elapsed[first], np.diff(np.r_[np.flatnonzero(first), len(rows)]))
    events["kind"] = TYPE_CODE["view_item"]
    events["page"] = hash64([row["page 2 (clothing model)"] for row in rows])
    events["category"] = hash64([row["page 1 (main category)"] for row in rows])
    events["price"] = [float(row["price"]) for row in rows]
    events["quantity"] = 1
    return Clicks(events, int(session.max()) + 1)


def scored(clicks: Clicks, bundle: Bundle, config: FoldConfig) -> Scored:
    """Fold and score all sessions to their ends; no history of visitors."""
    end = int(clicks.events["t"].max()) + MINUTES_31
    events = np.concatenate([clicks.events, ticks(list(range(clicks.sessions)), end)])
    seen = fold(empty_states(clicks.sessions), unpack([None] * clicks.sessions).rows, events, config)
    rows = seen.rows["kind"] <= SILENCE
    probabilities = np.zeros((rows.size, 4))
    probabilities[rows] = bundle.score(seen.features[rows])
    return Scored(seen, probabilities, clicks.sessions)


def decided(what: Scored, policy: Policy) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Decisions, and the memory of each ended session."""
    states, memories = empty_states(what.sessions), np.zeros(what.sessions, MEMORY)
    return policy.decide(what.seen, what.probabilities, np.empty((what.seen.rows.size, 0)), states, memories, NOBODY)


def documents(
    config: SimConfig, bundle: Bundle, policy: Policy, fold_config: FoldConfig
) -> Iterator[tuple[int, bytes]]:
    """(stream, document) of the decisions and sessions topics, as a worker would write them for a simulation."""
    namespace = Namespace("bench", "journeys", "simulated")
    engine = Engine.of(bundle, policy, namespace, config=fold_config)
    store = MemoryStore(namespace)
    shard = Shard(0)
    [lease] = store.acquire([shard], 0, 0)
    applied: int | None = None
    offset = 0
    now = START_MS

    def run(batch: Plan, last: int) -> Iterator[tuple[int, bytes]]:
        nonlocal applied
        result = engine.run(batch, engine.loader(store).load(batch), now)
        [write] = result.writes
        write.epoch, write.expected, write.applied = lease.epoch, applied, last
        store.write([write], engine.decision_ttl_ms)
        applied = last
        for output in result.outputs[0]:
            for value in output.values:
                yield output.stream, value

    for chunk in simulate(config):
        n = len(chunk)
        records = Records(
            0, [value for _, value, _ in chunk], list(range(offset, offset + n)), [at for *_, at in chunk]
        )
        offset += n
        now = max(records.record_ms)
        yield from run(plan(decode_records([records]), 1, lambda _: -1), offset - 1)
        [due] = store.due([(shard, now)], 1_000_000)
        if due:
            yield from run(plan_ticks([(shard, due, now)]), offset - 1)
    now += MINUTES_31
    [due] = store.due([(shard, now)], 10_000_000)
    if due:
        yield from run(plan_ticks([(shard, due, now)]), offset - 1)
