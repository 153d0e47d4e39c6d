"""What a judgement needs is loaded the same way by everybody, in one step or in two."""

import json
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import pytest

from decisions.engine import Engine
from decisions.intake import Plan, Records, decode, plan
from decisions.loading import Loaded
from featurestore.columns.hashing import hash64
from featurestore.errors import StoreUnavailable
from featurestore.session.visitors import ENTRY, profile_at
from featurestore.store.keys import Shard
from featurestore.store.memory import MemoryStore
from tests.unit.worker.pipeline.loop_world import engine

T = TypeVar("T")
T0 = 1_700_000_000_000
ZERO = Shard(0)


def made(names: Sequence[str], t: int, first: int = 0) -> Plan:
    """A batch with one event of each session, all of one visitor."""
    values: list[bytes | None] = [
        json.dumps({"session_id": n, "type": "view_item", "ts": t, "visitor_id": "v", "page": "/"}).encode()
        for n in names
    ]
    records = Records(0, values, list(range(first, first + len(values))), [t] * len(values))
    return plan(decode([records]), 1, lambda _: -1)


def store(core: Engine) -> MemoryStore:
    found = MemoryStore(core.namespace)
    found.acquire([ZERO], 0, 0)
    return found


def same(a: Loaded, b: Loaded) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def test_what_a_batch_changed_is_laid_over_what_was_loaded_before_its_write() -> None:
    """So a batch that was loaded too early gets what one that waits for the write gets, profiles included."""
    core = engine()
    early, late = store(core), store(core)
    first, second = made(["a", "b"], T0), made(["b", "c"], T0 + 60, 2)
    result = core.run(first, core.loader(late).load(first), 0)
    result.writes[0].profiles = [
        (core.namespace.visitor(int(second.events["visitor"][0])), np.zeros(1, ENTRY).tobytes())
    ]
    loading = core.loader(early).begin(second)
    loading.open([result.overlay])
    got = loading.finish([result.overlay])
    [write] = result.writes
    write.epoch, write.expected, write.applied = late.shards[ZERO].epoch, None, 1
    late.write([write], 1)
    assert same(got, core.loader(late).load(second))
    assert got.profiles["sessions"].tolist() == [1]


def test_profiles_are_a_table_with_a_row_for_each_visitor_and_partition() -> None:
    """Every visitor that events name to sessions that are new to them, once; for the sessions of one partition."""
    core = engine()
    parts = []
    for partition, named in ((3, ["vera", "wim", "vera"]), (5, ["vera", None, "vera"])):
        said = [{"session_id": f"{partition}{i % 2}", "type": "click", "ts": T0} for i in range(3)]
        more = [{} if name is None else {"visitor_id": name} for name in named]
        values: list[bytes | None] = [json.dumps(a | b).encode() for a, b in zip(said, more, strict=True)]
        parts.append(Records(partition, values, range(3), [T0] * 3))
    batch = plan(decode(parts), 4, lambda _: -1)
    table = core.loader(store(core)).load(batch).profiles
    vera, wim = hash64(["vera", "wim"]).tolist()
    assert [tuple(row) for row in table[["visitor", "first", "end"]].tolist()] == sorted(
        [(vera, 0, 2), (wim, 0, 2), (vera, 2, 4)]
    )
    places = [[profile_at(table, name, i) for i in range(4)] for name in np.array([vera, wim, 7], np.uint64)]
    rows = [[-1 if at < 0 else int(table["first"][at]) for at in of] for of in places]
    assert rows == [[0, 0, 2, 2], [0, 0, -1, -1], [-1] * 4]


def test_a_session_that_names_its_visitor_again_needs_no_profile() -> None:
    core = engine()
    found = Counted(core.namespace)
    found.acquire([ZERO], 0, 0)
    batch = made(["a"], T0)
    result = core.run(batch, core.loader(found).load(batch), 0)
    [write] = result.writes
    write.epoch, write.expected, write.applied = found.shards[ZERO].epoch, None, 0
    found.write([write], 1)
    core.loader(found).load(made(["a"], T0 + 60, 1))
    assert found.asked == 1


class Counted(MemoryStore):
    """Counts the questions for profiles."""

    asked = 0

    def begin_profiles(self, keys: Sequence[str]) -> Callable[[], list[bytes | None]]:
        self.asked += 1
        return super().begin_profiles(keys)


class Down(MemoryStore):
    """Answers at the second attempt."""

    failed = False

    def begin_load(self, requests: Sequence[tuple[Shard, Sequence[str]]]) -> Callable[[], list[list[bytes | None]]]:
        if not self.failed:
            self.failed = True
            raise StoreUnavailable("away")
        return super().begin_load(requests)


class Again:
    """Asks until there is an answer."""

    def __call__(self, op: str, begin: Callable[[], Callable[[], T]]) -> Callable[[], T]:
        def read() -> T:
            while True:
                try:
                    return begin()()
                except StoreUnavailable:
                    pass

        return read


def test_who_asks_decides_how_often() -> None:
    core, batch = engine(), made(["a"], T0)
    with pytest.raises(StoreUnavailable):
        core.loader(Down(core.namespace)).load(batch)
    loaded = core.loader(Down(core.namespace), Again()).load(batch)
    assert loaded.states["session"].tolist() == batch.hashes.tolist()
