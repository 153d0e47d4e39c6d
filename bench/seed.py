"""Stores full of live sessions, without the hours that it takes to browse them.

Some ten thousand sessions are run through the worker's own core; what they leave behind (state, deadline, decision) is
then written as often as needed under other ids and shifted in time, which changes no byte's length. What is in Redis
afterwards is what a worker would have left there.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.steps import SHARD, SIZE, Shop, engine
from bench.workload import batches, shoppers
from decisions.intake import plan_ticks
from featurestore.columns.column import Blobs
from featurestore.columns.hashing import hash64
from featurestore.session.codec import pack
from featurestore.session.fold import deadlines
from featurestore.session.layout import MEMORY_FIELDS, STATE_FIELDS
from featurestore.session.state import IS_BOT, SILENT
from featurestore.store.expiry_buckets import expiry_bucket
from featurestore.store.keys import Namespace, Shard, decision_key
from featurestore.store.protocols import Due

TEMPLATE_EVENTS: Final = 240_000
TTL_MS: Final = 1_800_000
CHUNK: Final = 1_000
TALKING: Final = 0.06
QUIET_MS: Final = 1_000_000
CLOCKS: Final = ("t_min", *(field.name for field in STATE_FIELDS if field.time and field.name != "armed"))
"""Absolute times of a state; 0 is no time."""
MEMORY_CLOCKS: Final = tuple(field.name for field in MEMORY_FIELDS if field.time and not field.length)


class Templates(NamedTuple):
    """Live sessions at one moment.

    Attributes:
        states: `STATE` rows.
        memory: `MEMORY` rows.
        decisions: the document of each.
        names: session id of each.
        due: next deadline of each, epoch ms.
        now: the moment, epoch ms: every deadline lies after it.
    """

    states: NDArray[np.void]
    memory: NDArray[np.void]
    decisions: list[bytes]
    names: list[str]
    due: NDArray[np.int64]
    now: int


@cache
def templates(events: int = TEMPLATE_EVENTS) -> Templates:
    """Sessions of a shop after so many events (four minutes), silences acted on."""
    shop = Shop(engine("seed"))
    decisions: dict[str, bytes] = {}
    now = 0
    for records in batches(shoppers(events), SIZE):
        _, result = shop.process(records)
        now = max(now, records.record_ms[-1])
        for write in result.writes:
            decisions.update(zip(write.decided, write.decisions, strict=True))
    core = shop.core
    names = list(shop.sessions)
    ticks = plan_ticks([(SHARD, Due(names, []), now)])
    loaded = core.loader(shop.store).load(ticks)
    result = core.run(ticks, loaded, now)
    for write in result.writes:
        decisions.update(zip(write.decided, write.decisions, strict=True))
    states, memory, _ = loaded
    due = deadlines(states, core.judge.config)
    kept = np.flatnonzero(due > now)
    chosen = [names[i] for i in kept.tolist()]
    return Templates(states[kept], memory[kept], [decisions.get(name, b"") for name in chosen], chosen, due[kept], now)


def shifted(of: Templates, rows: NDArray[np.int64], by_ms: NDArray[np.int64], names: Sequence[str]) -> Blobs:
    """The stored form of some templates, each moved in time and under another name."""
    states, memory = of.states[rows].copy(), of.memory[rows].copy()
    before = _calendar(states)
    for name in CLOCKS:
        states[name] += np.where(states[name] != 0, by_ms, 0)
    for name, was, now in zip(("first_hour", "first_weekday"), before, _calendar(states), strict=True):
        states[name] = np.where(states[name] == was, now, states[name])  # as the codec expects it
    for name in MEMORY_CLOCKS:
        memory[name] += np.where(memory[name] != 0, by_ms, 0)
    states["armed"] = of.due[rows] + by_ms  # the index holds the deadline itself
    states["session"] = hash64(names)
    memory["action_at"] += np.where(memory["action_at"] != 0, by_ms[:, None], 0)
    return pack(states, memory)


def _calendar(states: NDArray[np.void]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hour and weekday (Monday is 0), in UTC, of the earliest event of each session."""
    hours = states["t_min"] // 3_600_000
    return hours % 24, (hours // 24 + 3) % 7


def quiet(of: Templates, at_least_ms: int) -> NDArray[np.int64]:
    """Templates whose next deadline is their end, at least so far away."""
    return np.flatnonzero(_silent(of) & (of.due >= of.now + at_least_ms))


def talking(of: Templates) -> NDArray[np.int64]:
    """Templates whose next deadline is their silence."""
    return np.flatnonzero(~_silent(of))


def _silent(of: Templates) -> NDArray[np.bool_]:
    silent: NDArray[np.bool_] = of.states["flags"] & (SILENT | IS_BOT) != 0
    return silent


def name_of(number: int) -> str:
    """The id of a seeded session: as long as the simulator's."""
    return f"x{number:07d}"


def seed(
    client: Any,
    namespace: Namespace,
    partitions: int,
    of: Templates,
    rows: NDArray[np.int64],
    by_ms: NDArray[np.int64],
    first: int = 0,
) -> None:
    """Write one session a row, named from ``first`` on; session i lies in partition i mod ``partitions``."""
    due = (of.due[rows] + by_ms).tolist()
    sources = rows.tolist()
    silent = _silent(of).tolist()
    ending: dict[tuple[int, int], list[str]] = {}
    for begin in range(0, len(sources), CHUNK):
        pipe: Any = client.pipeline(transaction=False)
        numbers = range(begin, min(begin + CHUNK, len(sources)))
        part = slice(begin, begin + CHUNK)
        blobs = shifted(of, rows[part], by_ms[part], [name_of(first + i) for i in numbers])
        for partition in range(partitions):
            mine = [i for i in numbers if (first + i) % partitions == partition]
            if not mine:
                continue
            states: list[Any] = []
            idle: list[Any] = []
            for i in mine:
                name = name_of(first + i)
                states += (name, blobs[i - begin])
                if silent[sources[i]]:
                    ending.setdefault((partition, expiry_bucket(due[i])), []).append(name)
                else:
                    idle += (due[i], name)
            pipe.execute_command("HSET", namespace.states(Shard(partition)), *states)
            if idle:
                pipe.execute_command("ZADD", namespace.idle(Shard(partition)), *idle)
        for i in numbers:
            name, source = name_of(first + i), sources[i]
            if of.decisions[source]:
                pipe.set(decision_key(name), of.decisions[source], px=TTL_MS)
        pipe.execute()
    pipe = client.pipeline(transaction=False)
    for (partition, slot), names in ending.items():
        pipe.rpush(namespace.ending(Shard(partition), slot), *names)
        pipe.zadd(namespace.ends(Shard(partition)), {str(slot): slot})
    pipe.execute()


def crowd(of: Templates, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``count`` live sessions of a shop that has been open for long: rows, and by how much each is moved, ms.

    A visit lasts two minutes and its session half an hour more: `TALKING` of the live ones are being talked to, the
    ends of the others lie evenly in the half hour ahead. They come in the order of their last events, in which a worker
    writes them: the quiet ones as they will end, then those that are being talked to.
    """
    rng = np.random.default_rng(count)
    active = talkers(count)
    calm = rng.permutation(evenly(quiet(of, QUIET_MS), count - active))
    ahead = np.sort(rng.integers(1_000, TTL_MS, calm.size))
    rows = np.concatenate([calm, rng.permutation(evenly(talking(of), active))])
    return rows, np.concatenate([np.minimum(of.now + ahead - of.due[calm], 0), np.zeros(active, np.int64)])


def talkers(count: int) -> int:
    """How many of ``count`` live sessions are being talked to."""
    return int(count * TALKING)


def evenly(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """``count`` rows, each as often as the next."""
    return np.resize(rows, count)
