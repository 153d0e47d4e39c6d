"""Each step of a batch alone, and the pure batch: microseconds per event on one thread.

The batches are those of a shop with about 10,000 shoppers, taken once it is full; every step gets exactly what the
step before it gives in the worker. ``write`` and ``load`` go to a real Redis, ``log`` to a real Kafka, and count the
waiting too; the other steps are pure.
"""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.context import Context, Samples
from bench.stack import ENV, Stack
from bench.workload import batches, shoppers
from decisions import engine as engines
from decisions.core import Judgement
from decisions.effects import Result
from decisions.engine import Engine
from decisions.intake import Plan, Records, decode, plan
from decisions.outcome import Outcome, outcome
from decisions.shipped import load_bundle, load_policy
from featurestore.columns.hashing import hash64
from featurestore.contract.decode import read
from featurestore.contract.event import columns
from featurestore.contract.pages import USUAL
from featurestore.session.codec import pack, unpack
from featurestore.session.fold import fold
from featurestore.session.visitors import NOBODY
from featurestore.session.visitors import unpack as unpack_profiles
from featurestore.store.keys import Namespace, Shard
from featurestore.store.memory import MemoryStore
from featurestore.store.redis.connection import connect
from featurestore.store.redis.store import RedisSessionStore
from worker.pipeline.outputs import Outputs
from worker.settings import Settings

SIZE: Final = 4_000
WARM: Final = 200_000
BATCHES: Final = 12
SHARD: Final = Shard(0)


def engine(group: str = "steps") -> Engine:
    """The shipped bundle and policy, and the default outcomes in documents."""
    bundle = load_bundle(None)
    made = Engine.of(bundle, load_policy(None), Namespace(ENV, group, "bench-topic"), outcomes=engines.USUAL)
    made.warm_up()
    return made


class Shop:
    """Sessions in memory, as Redis would hold them."""

    def __init__(self, core: Engine) -> None:
        self.core = core
        self.store = MemoryStore(core.namespace)
        self.store.acquire([SHARD], 0, 0)
        self.sessions = self.store.shards[SHARD].states
        self._loader = core.loader(self.store)

    def process(self, records: Records) -> tuple[Plan, Result]:
        """One whole batch, as the loop calls it, without the input and output between the steps."""
        batch = plan(decode([records]), 1, lambda _: -1)
        result = self.core.run(batch, self._loader.load(batch), records.record_ms[-1])
        for write in result.writes:
            self.sessions.update(zip(write.sessions, write.blobs, strict=True))
            for session in write.removed:
                self.sessions.pop(session, None)
        return batch, result


class Prepared(NamedTuple):
    """A batch with what each step of it needs."""

    records: Records
    batch: Plan
    sessions: dict[str, bytes]
    blobs: list[bytes | None]
    result: Result


def pure(context: Context) -> Samples:
    """``batch.pure``: decode to encoded writes, sessions in memory."""
    core = engine()
    size = SIZE
    stream = batches(shoppers(context.size(WARM + context.runs * BATCHES * size)), size)
    shop = Shop(core)
    warm = len(stream) - context.runs * BATCHES if not context.quick else len(stream) // 2
    samples: Samples = {"events_per_s": [], "us_per_event": []}
    for records in stream[:warm]:
        shop.process(records)
    rest = stream[warm:]
    each = max(len(rest) // context.runs, 1)
    for run in range(context.runs):
        part = rest[run * each : (run + 1) * each] or rest[:each]
        begin = time.process_time()
        for records in part:
            shop.process(records)
        spent = time.process_time() - begin
        events = sum(len(records.values) for records in part)
        samples["events_per_s"].append(events / spent)
        samples["us_per_event"].append(spent * 1e6 / events)
    return samples


def steps(context: Context) -> Samples:
    """``steps``: each alone; CPU time for the pure ones, wall time for those that wait for a server."""
    core = engine()
    ready = prepared(core, context)
    samples: Samples = {}

    def measure(name: str, clock: Callable[[], float], step: Callable[[Prepared], object]) -> None:
        step(ready[0])  # connections, metadata, caches
        for _ in range(context.runs):
            spent = 0.0
            events = 0
            for one in ready:
                begin = clock()
                step(one)
                spent += clock() - begin
                events += len(one.records.values)
            samples.setdefault(f"{name}_us_per_event", []).append(spent * 1e6 / events)

    cpu, wall = time.process_time, time.perf_counter
    measure("decode", cpu, lambda one: decode([one.records]))
    measure("decode_msgspec", cpu, lambda one: _by_msgspec(one.records))
    decoded = {id(one): decode([one.records]) for one in ready}
    measure("plan", cpu, lambda one: plan(decoded[id(one)], 1, lambda _: -1))
    measure("unpack", cpu, lambda one: unpack(one.blobs, one.batch.hashes))
    opened = {id(one): _opened(one) for one in ready}
    none = {id(one): unpack_profiles([None] * len(one.batch.sessions)).rows for one in ready}
    for name, step in _thinking(core, ready, opened, none):
        measure(name, cpu, step)
    folded = {id(one): _folded(core, one) for one in ready}
    measure("pack", cpu, lambda one: pack(*folded[id(one)]))
    measure("process_batch", cpu, lambda one: _whole(core, one))
    _with_servers(context.stack, core, measure, wall)
    return samples


def _by_msgspec(records: Records) -> NDArray[np.void]:
    """What `decode` does, with msgspec in the place of the compiled reader (`featurestore.contract.scan`)."""
    events = [read(value)[0] for value in records.values if value is not None]
    hash64([event.session_id for event in events])
    return columns(events, [0] * len(events), records.offsets, records.record_ms, USUAL)


def prepared(core: Engine, context: Context) -> list[Prepared]:
    """Batches of a full shop."""
    count = 3 if context.quick else BATCHES
    stream = batches(shoppers(context.size(WARM) + count * SIZE), SIZE)
    shop = Shop(core)
    for records in stream[:-count]:
        shop.process(records)
    ready = []
    for records in stream[-count:]:
        names = plan(decode([records]), 1, lambda _: -1).sessions
        blobs = [shop.sessions.get(name) for name in names]
        stored = {name: blob for name, blob in zip(names, blobs, strict=True) if blob is not None}
        batch, result = shop.process(records)
        ready.append(Prepared(records, batch, stored, blobs, result))
    return ready


Opened = dict[int, tuple[NDArray[np.void], NDArray[np.void]]]


def _thinking(
    core: Engine, ready: list[Prepared], opened: Opened, none: dict[int, NDArray[np.void]]
) -> list[tuple[str, Callable[[Prepared], object]]]:
    """Fold, score, decide, encode. Copies are taken where a step changes its input, and are part of the figure."""
    config = core.judge.config

    def after(one: Prepared) -> Outcome:
        states = opened[id(one)][0].copy()
        seen = fold(states, none[id(one)].copy(), one.batch.events, core.judge.config)
        return outcome(one.batch.events, seen.rows, one.result.judgement.scored, states, config)

    outcomes = {id(one): after(one) for one in ready}

    def encode(one: Prepared) -> None:
        core.effects.documents(one.batch, one.result, outcomes[id(one)])

    return [
        (
            "fold",
            lambda one: fold(opened[id(one)][0].copy(), none[id(one)].copy(), one.batch.events, core.judge.config),
        ),
        (
            "score",
            lambda one: core.judge.scorer.score(
                one.result.judgement.observations.features[one.result.judgement.scored]
            ),
        ),
        (
            "decide",
            lambda one: core.judge.policy.decide(
                one.result.judgement.observations,
                one.result.judgement.probabilities,
                one.result.judgement.outputs,
                one.result.judgement.states,
                opened[id(one)][1].copy(),
                NOBODY,
            ),
        ),
        ("encode", encode),
    ]


def _scored(judgement: Judgement) -> NDArray[np.float64]:
    return judgement.observations.features[judgement.scored]


def _opened(one: Prepared) -> tuple[NDArray[np.void], NDArray[np.void]]:
    states, memory, _ = unpack(one.blobs, one.batch.hashes)
    return states, memory


def _folded(core: Engine, one: Prepared) -> tuple[NDArray[np.void], NDArray[np.void]]:
    writes = one.result.writes
    names = [name for write in writes for name in write.sessions]
    states, memory, _ = unpack([blob for write in writes for blob in write.blobs], hash64(names))
    return states, memory


def _whole(core: Engine, one: Prepared) -> Result:
    batch = plan(decode([one.records]), 1, lambda _: -1)
    store = MemoryStore(core.namespace)
    store.acquire([SHARD], 0, 0)
    store.shards[SHARD].states = one.sessions
    return core.run(batch, core.loader(store).load(batch), 1)


def _with_servers(
    stack: Stack,
    core: Engine,
    measure: Callable[[str, Callable[[], float], Callable[[Prepared], object]], None],
    wall: Callable[[], float],
) -> None:
    stack.flush()
    store = RedisSessionStore(connect(stack.redis.url, timeout_s=30), core.namespace)
    [lease] = store.acquire([SHARD], 0, 0)
    applied: list[int | None] = [None]

    def write(one: Prepared) -> None:
        for shard_write in one.result.writes:
            following = (applied[0] or 0) + 1
            shard_write.epoch, shard_write.expected, shard_write.applied = lease.epoch, applied[0], following
            [answer] = store.write([shard_write], core.decision_ttl_ms)
            assert answer.status == 1, answer
            applied[0] = following

    measure("write", wall, write)
    measure("load", wall, lambda one: store.load([(SHARD, one.batch.sessions)]))
    topics = stack.topics(4)
    outputs = Outputs(
        Settings(kafka=stack.kafka.bootstrap, decisions_topic=topics.decisions, sessions_topic=topics.sessions)
    )

    def log(one: Prepared) -> None:
        for produced in one.result.outputs:
            outputs.send(produced)
        while not outputs.settled(5.0):
            pass

    measure("log", wall, log)
