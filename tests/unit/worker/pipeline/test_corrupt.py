"""Stored records that cannot be read: the worker goes on, whoever they are of begins anew, and they can be seen."""

import random
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry

from decisions.intake import Records, decode, plan
from featurestore.columns.hashing import hash64
from featurestore.session.codec import unpack
from featurestore.store.keys import Shard
from featurestore.store.memory import MemoryStore
from featurestore.store.protocols import APPLIED
from featurestore.store.set_aside import MOST, SetAside
from featurestore.store.set_aside import decode as set_aside
from featurestore.store.write_ops import Part
from tests.unit.worker.pipeline.loop_fakes import T0
from tests.unit.worker.pipeline.loop_world import World, engine
from worker.metrics.metrics import Metrics

ZERO = Shard(0)
SESSIONS, DAMAGED = 1_500, 1_000


def _clicks(names: list[str], first: int, t: int) -> Records:
    values: list[bytes | None] = [
        b'{"session_id":"%b","type":"page_view","ts":%d,"page":"/%d","visitor_id":"v%b"}'
        % (name.encode(), t, t, name.encode())
        for name in names
    ]
    return Records(0, values, list(range(first, first + len(names))), [t] * len(names))


class Desk:
    """A worker's core over a store in memory, batch by batch."""

    def __init__(self) -> None:
        self.engine = engine()
        self.store = MemoryStore(self.engine.namespace)
        [self.lease] = self.store.acquire([ZERO], 0, 0)
        self.applied: int | None = None

    def serve(self, records: Records) -> None:
        batch = plan(decode([records]), 1, lambda _: -1)
        loading = self.engine.loader(self.store).begin(batch)
        result = self.engine.run(batch, loading.finish(), T0, loading.unread)
        for write in result.writes:
            write.epoch, write.expected, write.applied = self.lease.epoch, self.applied, records.offsets[-1]
        assert [answer.status for answer in self.store.write(result.writes, 1)] == [APPLIED]
        self.applied = records.offsets[-1]

    @property
    def states(self) -> dict[str, bytes]:
        return self.store.shards[ZERO].states

    def views(self) -> dict[str, int]:
        """How many page views each stored session has had."""
        names = list(self.states)
        states, _, corrupt = unpack(list(self.states.values()), hash64(names))
        assert not corrupt.size
        return dict(zip(names, states["counts"].sum(axis=1).tolist(), strict=True))

    def set_aside(self) -> list[SetAside]:
        return [set_aside(entry) for entry in self.store.shards[ZERO].lists[Part.SET_ASIDE]]


def _damaged(states: dict[str, bytes], rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """A thousand sessions' records, each with a flipped bit, cut, or swapped with another session's."""
    names = rng.sample(sorted(states), DAMAGED)
    flipped, cut, swapped = names[:400], names[400:700], names[700:]
    for name in flipped:
        record = bytearray(states[name])
        record[rng.randrange(len(record))] ^= 1 << rng.randrange(8)
        yield name, bytes(record)
    for name in cut:
        yield name, states[name][: rng.randrange(1, len(states[name]))]
    for name, other in zip(swapped, [*swapped[1:], swapped[0]], strict=True):
        yield name, states[other]


def test_exactly_the_sessions_of_damaged_records_begin_anew() -> None:
    """A thousand of fifteen hundred; each is set aside once, with the bytes that were found."""
    desk = Desk()
    names = [f"s{i}" for i in range(SESSIONS)]
    for turn in range(2):
        desk.serve(_clicks(names, turn * SESSIONS, T0 + turn))
    damaged = dict(_damaged(desk.states, random.Random(19)))
    assert len(damaged) == DAMAGED
    desk.states.update(damaged)
    desk.serve(_clicks(names, 2 * SESSIONS, T0 + 2))
    assert desk.views() == {name: 1 if name in damaged else 3 for name in names}
    found = desk.set_aside()
    assert len(found) == DAMAGED <= MOST
    assert {one.name: one.record for one in found} == damaged
    assert {one.kind for one in found} == {"session"}
    desk.serve(_clicks(names, 3 * SESSIONS, T0 + 3))
    assert len(desk.set_aside()) == DAMAGED, "what was set aside is not met again"


def test_a_visitor_whose_profile_cannot_be_read_is_unknown() -> None:
    desk = Desk()
    key = desk.engine.namespace.visitor(int(hash64(["va"])[0]))
    desk.store.visitors[key] = b"\2damaged"
    desk.serve(_clicks(["a", "b"], 0, T0))
    assert desk.views() == {"a": 1, "b": 1}
    assert desk.set_aside() == [SetAside("profile", key, T0, b"\2damaged")]


def test_the_list_of_what_is_set_aside_is_bounded() -> None:
    desk = Desk()
    names = [f"s{i}" for i in range(MOST + 5)]
    desk.serve(_clicks(names, 0, T0))
    for name in names:
        desk.states[name] = b"\2"
    desk.serve(_clicks(names, len(names), T0 + 1))
    assert len(desk.set_aside()) == MOST


class Registered(World):
    """A world in which nothing fails, and whose counters can be read."""

    def __init__(self) -> None:
        super().__init__(3, trouble=0.0)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)

    def counted(self, kind: str) -> Any:
        return self.registry.get_sample_value("clickstage_corrupt_records_total", {"kind": kind}) or 0


def test_the_loop_goes_on_and_counts(caplog: Any) -> None:
    """A session and an outbox are damaged under a running worker and its heir: both are counted, and all is applied."""
    world = Registered()
    loop = world.loop()
    while not any(data.states for data in world.store.shards.values()):
        loop.step()
    [shard] = [shard for shard, data in world.store.shards.items() if data.states][:1]
    data = world.store.shards[shard]
    name, record = next(iter(data.states.items()))
    loop.close()
    data.states[name] = record[:-1]
    data.lists[Part.OUTBOXES].insert(0, b"\2no outbox")
    world.work()
    assert world.applied()
    assert world.counted("session") == 1
    assert world.counted("outbox") == 1
    kinds = [set_aside(entry).kind for entry in data.lists[Part.SET_ASIDE]]
    assert sorted(kinds) == ["outbox", "session"]
    assert b"\2no outbox" not in data.lists[Part.OUTBOXES], "the next owner does not meet it again"
    told = [line.getMessage() for line in caplog.records if "cannot be read" in line.getMessage()]
    assert told
    assert not any(name in line for line in told)
