"""One suite for every session store: in memory, on Redis 7 and Valkey 9, and on a Cluster of each."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
import redis

from featurestore.columns.hashing import hash_text
from featurestore.errors import StoreUnavailable
from featurestore.session.visitors import ENTRY, append_entry, unpack
from featurestore.store.cluster.store import ClusterSessionStore
from featurestore.store.erasure import eraser_for, fields_of
from featurestore.store.expiry_buckets import DUE_BYTES, EXPIRY_BUCKET_MS, expiry_bucket
from featurestore.store.keys import ERASED_TTL_S, SHARD_TTL_S, VISITOR_TTL_S, Namespace, Shard, decision_key
from featurestore.store.memory import MemoryStore
from featurestore.store.protocols import (
    APPLIED,
    FENCED,
    MOVED,
    Due,
    Lease,
    SessionStore,
    ShardWrite,
    WriteResult,
    epoch_number,
)
from featurestore.store.redis.connection import Client, connect, connect_cluster
from featurestore.store.redis.store import RedisSessionStore
from featurestore.store.refusals import PASSES, Note, Refused
from featurestore.store.tombstones import Erased
from tests.run_services import RunServices

SPACE = Namespace("test", "group", "topic")
ZERO, ONE = Shard(0), Shard(1)
LIFE_MS = 1_800_000


@dataclass
class Bench:
    """A store and a way to look at what the front end and an operator see."""

    store: SessionStore
    client: Client | None

    def decision(self, session: str) -> bytes | None:
        if self.client is None:
            return cast(MemoryStore, self.store).decisions.get(decision_key(session))
        return cast("bytes | None", self.client.get(decision_key(session)))

    def lease(self, shard: Shard = ZERO, now_ms: int = 1_000, own: int = 0) -> Lease:
        return self.store.acquire([shard], now_ms, own)[0]

    def write(self, write: ShardWrite) -> WriteResult:
        return self.store.write([write], LIFE_MS)[0]

    def due(self, now_ms: int = 10**15, limit: int = 10_000) -> Due:
        return self.store.due([(ZERO, now_ms)], limit)[0]

    def sessions(self, *names: str, shard: Shard = ZERO) -> list[bytes | None]:
        return self.store.load([(shard, names)])[0]


def _as_of(bench: Bench, version: int) -> SessionStore:
    """The same store as a worker has it that writes this version."""
    return _of(bench, replace(SPACE, write_version=version))


def _of(bench: Bench, space: Namespace) -> SessionStore:
    """The same store with other keys."""
    if isinstance(bench.store, MemoryStore):
        bench.store.namespace = space
        return bench.store
    if isinstance(bench.client, redis.RedisCluster):
        return ClusterSessionStore(bench.client, space)
    return RedisSessionStore(cast("redis.Redis", bench.client), space)


NODES = [pytest.param("redis", marks=pytest.mark.redis), pytest.param("valkey", marks=pytest.mark.valkey)]
CLUSTERS = [
    pytest.param("redis-cluster", marks=pytest.mark.redis),
    pytest.param("valkey-cluster", marks=pytest.mark.valkey),
]
SERVERS = [*NODES, *CLUSTERS]


@contextmanager
def _served(name: str, services: RunServices, folders: pytest.TempPathFactory) -> Iterator[Bench]:
    flavour, _, kind = name.partition("-")
    if kind:
        cluster = services.cluster(flavour, lambda: folders.mktemp(name))
        cluster.empty()
        nodes = connect_cluster(cluster.url, timeout_s=5)
        yield Bench(ClusterSessionStore(nodes, SPACE), nodes)
        nodes.close()
        return
    server = services.redis(flavour, lambda: folders.mktemp(flavour))
    client = connect(server.url, timeout_s=5)
    client.flushall()
    client.script_flush()
    yield Bench(RedisSessionStore(client, SPACE), client)
    client.close()


@pytest.fixture(params=["memory", *SERVERS])
def bench(
    request: pytest.FixtureRequest, services: RunServices, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """Each store, empty."""
    if request.param == "memory":
        yield Bench(MemoryStore(SPACE), None)
        return
    with _served(str(request.param), services, tmp_path_factory) as made:
        yield made


@pytest.fixture(params=SERVERS)
def served(
    request: pytest.FixtureRequest, services: RunServices, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """The stores on a server: nothing expires in memory."""
    with _served(str(request.param), services, tmp_path_factory) as made:
        yield made


@pytest.fixture(params=NODES)
def node(
    request: pytest.FixtureRequest, services: RunServices, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """The stores on one node."""
    with _served(str(request.param), services, tmp_path_factory) as made:
        yield made


def _full(lease: Lease, applied: int, session: str = "a") -> ShardWrite:
    """A write that uses every part."""
    return ShardWrite(
        ZERO,
        lease.epoch,
        lease.applied,
        applied,
        sessions=[session, "other"],
        blobs=[b"state of " + session.encode(), b"\0binary\xff"],
        armed=[session, "other"],
        deadlines=[5_000, 6_000],
        disarmed=["quiet"],
        ending=["quiet", "quieter"],
        expiry_buckets=[3, 4],
        passed=[1],
        decided=[session],
        decisions=[b'{"v":1}'],
        profiles=[(SPACE.visitor(7), _entry(1))],
        outbox=b"\0outbox\xff",
    )


def _entry(key: int, *, bounced: int = 1, shown: int = 0, segment: int = 0) -> bytes:
    import numpy as np

    row = np.zeros(1, ENTRY)
    row["key"], row["ended"], row["visit"], row["shown"] = key, 1_000 + key, bounced | segment << 1, shown
    return row.tobytes()


def test_the_first_owner_finds_nothing_applied(bench: Bench) -> None:
    lease = bench.lease(now_ms=1_234)
    assert lease.applied is None
    assert lease.number == 1_234
    assert not lease.outboxes


def test_an_epoch_exceeds_the_stored_one_the_clock_and_the_callers_own(bench: Bench) -> None:
    """A plain counter would roll back with the data it protects."""
    assert bench.lease(now_ms=500).number == 500
    assert bench.lease(now_ms=200).number == 501
    assert bench.lease(now_ms=200, own=9_000).number == 9_001
    first, second = bench.lease(now_ms=0), bench.lease(now_ms=0)
    assert first.epoch != second.epoch


def test_a_write_puts_everything_and_moves_the_offset(bench: Bench) -> None:
    lease = bench.lease()
    assert bench.write(_full(lease, 41)) == WriteResult(APPLIED, "", 41)
    assert bench.sessions("other", "nobody", "a") == [b"\0binary\xff", None, b"state of a"]
    assert bench.decision("a") == b'{"v":1}'
    assert bench.due(5_999, 10) == Due(["a"], [])
    assert bench.store.profiles([SPACE.visitor(7), SPACE.visitor(8)]) == [append_entry(None, _entry(1)), None]
    taken = bench.lease()
    assert (taken.applied, taken.outboxes) == (41, (b"\0outbox\xff",))


def test_a_reader_finds_the_current_documents_in_the_order_asked(bench: Bench) -> None:
    """And None for a session without one; anybody may ask."""
    lease = bench.lease()
    one, two = (b'{"v":1,"source":"topic","seq":%d}' % seq for seq in (1, 2))
    write = ShardWrite(ZERO, lease.epoch, None, 1, decided=["a", "c"], decisions=[one, two])
    assert bench.write(write).status == APPLIED
    assert bench.store.documents(["c", "b", "a"]) == [two, None, one]
    assert bench.store.documents([]) == []


def test_another_owner_is_fenced_and_changes_nothing(bench: Bench) -> None:
    old = bench.lease()
    new = bench.lease()
    assert bench.write(_full(old, 41)) == WriteResult(FENCED, new.epoch, None)
    _nothing_is_there(bench)


def test_a_writer_that_is_wrong_about_the_offset_changes_nothing(bench: Bench) -> None:
    lease = bench.lease()
    bench.write(ShardWrite(ZERO, lease.epoch, None, 10))
    assert bench.write(_full(lease, 41)) == WriteResult(MOVED, "", 10)
    behind = Lease(lease.epoch, 9)
    assert bench.write(_full(behind, 41)) == WriteResult(MOVED, "", 10)
    _nothing_is_there(bench)


def test_a_store_that_lost_its_offset_says_so(bench: Bench) -> None:
    """An expected offset where there is none: MOVED to none, not a silent start."""
    lease = bench.lease()
    assert bench.write(_full(Lease(lease.epoch, 5), 41)) == WriteResult(MOVED, "", None)
    _nothing_is_there(bench)


def _nothing_is_there(bench: Bench) -> None:
    assert bench.sessions("a", "other") == [None, None]
    assert bench.decision("a") is None
    assert not bench.due()
    assert bench.store.profiles([SPACE.visitor(7)]) == [None]
    assert not bench.lease().outboxes


def test_the_same_call_again_is_recognised_and_counts_nothing_twice(bench: Bench) -> None:
    """After an unknown outcome the worker repeats: MOVED to its own offset means applied once."""
    lease = bench.lease()
    write = _full(lease, 41)
    assert bench.write(write).status == APPLIED
    assert bench.write(write) == WriteResult(MOVED, "", 41)
    assert bench.store.profiles([SPACE.visitor(7)]) == [append_entry(None, _entry(1))]


def test_a_repeat_of_a_write_that_moves_no_offset_changes_nothing_more(bench: Bench) -> None:
    """Timers write at an unchanged offset: both times APPLIED, with the same outcome."""
    lease = bench.lease()
    bench.write(ShardWrite(ZERO, lease.epoch, None, 41))
    write = _full(Lease(lease.epoch, 41), 41)
    assert [bench.write(write).status for _ in range(2)] == [APPLIED, APPLIED]
    assert bench.store.profiles([SPACE.visitor(7)]) == [append_entry(None, _entry(1))]
    assert bench.sessions("a") == [b"state of a"]


def test_an_empty_write_verifies_the_fence(bench: Bench) -> None:
    lease = bench.lease()
    bench.write(_full(lease, 41))
    assert bench.write(ShardWrite(ZERO, lease.epoch, 41, 41)) == WriteResult(APPLIED, "", 41)
    assert bench.lease().outboxes == (b"\0outbox\xff",), "an empty outbox leaves the stored one"
    assert bench.write(ShardWrite(ZERO, lease.epoch, 41, 41)).status == FENCED


def test_outboxes_are_kept_until_they_have_served(bench: Bench) -> None:
    lease = bench.lease()
    kept = []
    for n, (outbox, served) in enumerate([(b"1", 0), (b"2", 0), (b"", 0), (b"3", 1), (b"4", 2)]):
        bench.write(ShardWrite(ZERO, lease.epoch, n - 1 if n else None, n, outbox=outbox, acknowledged=served))
        lease = bench.lease()
        kept.append(lease.outboxes)
    assert kept == [(b"1",), (b"1", b"2"), (b"1", b"2"), (b"2", b"3"), (b"4",)]
    bench.write(ShardWrite(ZERO, lease.epoch, 4, 4, acknowledged=1))
    assert not bench.lease().outboxes


def test_a_numbered_write_that_comes_again_is_applied_once(bench: Bench) -> None:
    """An answer that was lost: also of a write that moves no offset, as timers write."""
    lease = bench.lease()
    for number, expected, applied in ((1, None, 10), (2, 10, 10), (3, 10, 11)):
        write = ShardWrite(ZERO, lease.epoch, expected, applied, outbox=b"%d" % number, number=number)
        assert [bench.write(write) for _ in range(2)] == [WriteResult(APPLIED, "", applied)] * 2
    late = ShardWrite(ZERO, lease.epoch, 11, 11, outbox=b"late", number=2)
    assert bench.write(late).status == APPLIED, "out of an old socket, after later ones: nobody reads this answer"
    drop = ShardWrite(ZERO, lease.epoch, 11, 11, acknowledged=1, number=4)
    assert [bench.write(drop).status for _ in range(2)] == [APPLIED, APPLIED]
    lease = bench.lease()
    assert lease.outboxes == (b"2", b"3")
    assert bench.write(ShardWrite(ZERO, lease.epoch, 10, 12, number=4)).status == MOVED, (
        "the number was another owner's"
    )


def test_removal_takes_state_and_deadline_and_the_decision_where_asked(bench: Bench) -> None:
    lease = bench.lease()
    bench.write(_full(lease, 41))
    bench.write(ShardWrite(ZERO, lease.epoch, 41, 42, removed=["a", "never"], undecided=["a", "x"]))
    assert bench.sessions("a", "other") == [None, b"\0binary\xff"]
    assert bench.due() == Due(["other", "quiet", "quieter"], [3, 4])
    assert bench.decision("a") is None


def test_deadlines_come_earliest_first_up_to_the_limit_and_move(bench: Bench) -> None:
    lease = bench.lease()
    names = [f"s{i}" for i in range(6)]
    write = ShardWrite(ZERO, lease.epoch, None, 1, names, [b"x"] * 6, names, [60, 50, 40, 30, 20, 10])
    bench.write(write)
    assert bench.store.due([(ZERO, 40), (ONE, 10**9), (ZERO, 9)], 3) == [
        Due(["s5", "s4", "s3"], []),
        Due([], []),
        Due([], []),
    ]
    bench.write(ShardWrite(ZERO, lease.epoch, 1, 2, ["s5"], [b"y"], ["s5"], [99]))
    assert bench.due(40, 3) == Due(["s4", "s3", "s2"], [])
    bench.write(ShardWrite(ZERO, lease.epoch, 2, 3, ["s4"], [b"z"]))
    assert bench.due(20, 3) == Due(["s4"], []), "a session that is not armed anew stays where it was"


def test_an_end_is_due_once_all_of_its_bucket_has_passed(bench: Bench) -> None:
    """And stays due until a write says that the bucket was looked at: who asks again is told the same."""
    lease = bench.lease()
    ending = {"a": 5, "b": 7, "c": 5, "d": 6}
    bench.write(ShardWrite(ZERO, lease.epoch, None, 1, ending=list(ending), expiry_buckets=list(ending.values())))
    bench.write(ShardWrite(ZERO, lease.epoch, 1, 2, ending=["e", "a"], expiry_buckets=[5, 6]))
    assert not bench.due(6 * EXPIRY_BUCKET_MS - 1)
    assert bench.due(6 * EXPIRY_BUCKET_MS) == bench.due(6 * EXPIRY_BUCKET_MS) == Due(["a", "c", "e"], [5])
    assert bench.due(8 * EXPIRY_BUCKET_MS) == Due(["a", "c", "e", "d", "a", "b"], [5, 6, 7])
    bench.write(ShardWrite(ZERO, lease.epoch, 2, 3, passed=[5, 6]))
    assert bench.due() == Due(["b"], [7])
    bench.write(ShardWrite(ZERO, lease.epoch, 3, 4, passed=[7, 99]))
    assert not bench.due()


def test_a_bucket_that_passes_takes_nothing_with_it_that_the_same_write_puts_there(bench: Bench) -> None:
    lease = bench.lease()
    bench.write(ShardWrite(ZERO, lease.epoch, None, 1, ending=["a"], expiry_buckets=[5]))
    bench.write(ShardWrite(ZERO, lease.epoch, 1, 2, ending=["b"], expiry_buckets=[5], passed=[5]))
    assert bench.due() == Due(["b"], [5])


def test_an_answer_is_bounded_and_a_long_bucket_comes_in_pieces(bench: Bench) -> None:
    """Of silences as many as wanted, earliest first; of ends as many, oldest bucket first, and nobody is overlooked."""
    lease = bench.lease()
    bench.write(ShardWrite(ZERO, lease.epoch, None, 1, armed=["s", "t", "u"], deadlines=[3, 2, 1]))
    ending = ["a", "b", "c", "d", "e"]
    bench.write(ShardWrite(ZERO, lease.epoch, 1, 2, ending=ending, expiry_buckets=[1, 1, 1, 2, 3]))
    assert bench.due(limit=2) == Due(["u", "t", "a", "b"], [], (1, 2))
    assert bench.due(limit=3) == Due(["u", "t", "s", "a", "b", "c"], [1])
    assert bench.due(limit=4) == Due(["u", "t", "s", "a", "b", "c", "d"], [1, 2])
    assert bench.due(2, limit=1) == Due(["u"], [])
    bench.write(ShardWrite(ZERO, lease.epoch, 2, 3, disarmed=["s", "t", "u", "a"], begun=(1, 2), number=1))
    bench.write(ShardWrite(ZERO, lease.epoch, 2, 3, disarmed=["s", "t", "u", "a"], begun=(1, 2), number=1))
    assert bench.due(limit=2) == Due(["c", "d"], [1, 2]), "a write that comes again cuts nothing off"
    bench.write(ShardWrite(ZERO, lease.epoch, 3, 4, removed=["c"], ending=["f"], expiry_buckets=[1], number=2))
    assert bench.due(limit=2) == Due(["c", "f"], [1]), "an entry in a list stays, whatever becomes of its session"
    bench.write(ShardWrite(ZERO, lease.epoch, 4, 5, begun=(1, 1), number=3))
    assert bench.due(limit=9) == Due(["f", "d", "e"], [1, 2, 3]), "whoever came meanwhile stays"


def test_long_ids_make_a_shorter_answer(bench: Bench) -> None:
    """Bytes are bounded too: of silences and of ends each."""
    lease = bench.lease()
    names = [f"{n:0128}" for n in range(DUE_BYTES // 128 + 9)]
    bench.write(ShardWrite(ZERO, lease.epoch, None, 1, armed=names, deadlines=list(range(len(names)))))
    bench.write(ShardWrite(ZERO, lease.epoch, 1, 2, ending=names, expiry_buckets=[5] * len(names)))
    fit = DUE_BYTES // 128
    assert bench.due() == Due(names[:fit] * 2, [], (5, fit))


def test_nine_thousand_ends_are_one_write(bench: Bench) -> None:
    lease = bench.lease()
    names = [f"s{i}" for i in range(9_000)]
    write = ShardWrite(
        ZERO, lease.epoch, None, 1, disarmed=names, ending=names, expiry_buckets=[i // 8_000 for i in range(9_000)]
    )
    assert bench.write(write).status == APPLIED
    assert bench.due() == Due(names, [0, 1])


def test_a_load_of_no_session_is_answered_in_its_place(bench: Bench) -> None:
    bench.write(_full(bench.lease(), 41))
    asked: list[tuple[Shard, list[str]]] = [(ZERO, []), (ZERO, ["other", "a"]), (ONE, []), (ONE, ["a"])]
    assert bench.store.load(asked) == [[], [b"\0binary\xff", b"state of a"], [], [None]]
    assert bench.store.load([(ZERO, [])]) == [[]]


def test_shards_do_not_see_each_other(bench: Bench) -> None:
    zero, one = bench.store.acquire([ZERO, ONE], 1_000, 0)
    other = _full(Lease(one.epoch, None), 7)
    other.shard = ONE
    results = bench.store.write([_full(zero, 41), other, ShardWrite(Shard(0, 1), "x", None, 1)], LIFE_MS)
    assert [r.status for r in results] == [APPLIED, APPLIED, FENCED]
    bench.write(ShardWrite(ZERO, zero.epoch, 41, 42, removed=["a"]))
    assert bench.sessions("a") == [None]
    assert bench.sessions("a", shard=ONE) == [b"state of a"]
    assert [lease.applied for lease in bench.store.acquire([ZERO, ONE], 1, 0)] == [42, 7]


def test_a_profile_keeps_ten_sessions_counts_all_and_none_twice(bench: Bench) -> None:
    lease = bench.lease()
    for i in range(12):
        entries = [(SPACE.visitor(7), _entry(i, bounced=i % 2, shown=i, segment=i + 1)), (SPACE.visitor(7), _entry(i))]
        bench.write(ShardWrite(ZERO, lease.epoch, i or None, i + 1, profiles=entries))
    [profile] = unpack(bench.store.profiles([SPACE.visitor(7)])).rows
    assert profile["sessions"] == 12
    assert profile["key"].tolist() == list(range(2, 12))
    assert profile["shown"].tolist() == list(range(2, 12))
    assert profile["bounced"].tolist() == [0, 1] * 5
    assert profile["segment"].tolist() == list(range(3, 13))


@pytest.mark.parametrize("versions", [(1, 2, 1), (2, 1, 2)])
def test_a_profile_is_written_in_the_version_that_is_set_and_read_in_both(
    bench: Bench, versions: tuple[int, ...]
) -> None:
    """A fleet that is rolled out, or back: each worker extends what the other wrote."""
    expected: bytes | None = None
    for i, version in enumerate(versions, 1):
        store = _as_of(bench, version)
        lease = store.acquire([ZERO], i, 0)[0]
        entry = _entry(i, segment=0 if version == 1 else i)
        write = ShardWrite(ZERO, lease.epoch, i - 1 or None, i, profiles=[(SPACE.visitor(7), entry)])
        assert store.write([write], LIFE_MS)[0].status == APPLIED
        expected = append_entry(expected, entry, version)
        assert store.profiles([SPACE.visitor(7)]) == [expected]
        assert version == 2 or max(expected[19::18]) == 1, "version 1 knows no segments, also of sessions before"


def test_what_is_no_profile_begins_anew(served: Bench) -> None:
    client: Any = served.client
    client.set(SPACE.visitor(7), b"\2")
    lease = served.lease()
    served.write(ShardWrite(ZERO, lease.epoch, None, 1, profiles=[(SPACE.visitor(7), _entry(1))]))
    assert served.store.profiles([SPACE.visitor(7)]) == [append_entry(None, _entry(1))]


def test_a_batch_of_nine_thousand_sessions_is_one_write(bench: Bench) -> None:
    """More arguments than Lua can unpack at once."""
    lease = bench.lease()
    names = [f"s{i}" for i in range(9_000)]
    blobs = [name.encode() for name in names]
    write = ShardWrite(ZERO, lease.epoch, None, 1, names, blobs, names, list(range(9_000)))
    assert bench.write(write).status == APPLIED
    assert bench.sessions(*names) == blobs
    assert len(bench.due(10**9).sessions) == 9_000
    assert bench.write(ShardWrite(ZERO, lease.epoch, 1, 2, removed=names)).status == APPLIED
    assert bench.sessions("s0", "s8999") == [None, None]
    assert not bench.due(10**9)


def test_names_may_hold_anything_that_the_contract_allows(bench: Bench) -> None:
    names = ["ü✓", "a b", "nul\0in", "{brace}:colon", "x" * 128]
    lease = bench.lease()
    bench.write(ShardWrite(ZERO, lease.epoch, None, 1, names, [b"x"] * 5, names, [1] * 5, names, [b"d"] * 5))
    assert bench.sessions(*names) == [b"x"] * 5
    assert sorted(bench.due(1).sessions) == sorted(names)
    bench.write(ShardWrite(ZERO, lease.epoch, 1, 2, disarmed=names, ending=names, expiry_buckets=[3] * 5))
    assert bench.due() == Due(names, [3])
    assert [bench.decision(name) for name in names] == [b"d"] * 5


def test_what_is_begun_first_is_done_first(bench: Bench) -> None:
    """A load sent behind a write sees what it wrote, before either answer is read."""
    lease = bench.lease()
    written = bench.store.begin_write([_full(lease, 41)], LIFE_MS)
    loaded = bench.store.begin_load([(ZERO, ["a"])])
    assert loaded() == [[b"state of a"]]
    assert written() == [WriteResult(APPLIED, "", 41)]


def test_random_writes_leave_what_they_leave_in_memory(bench: Bench) -> None:
    """The twin in memory is the meaning of the script."""
    chance = random.Random(5)
    twin = MemoryStore(SPACE)
    lease = bench.lease()
    twin.shards.clear()
    twin.acquire([ZERO], 1, 0)
    twin.shards[ZERO].epoch = lease.epoch
    names = [f"s{i}" for i in range(20)]
    applied: int | None = None
    for n in range(150):
        expected = applied if chance.random() < 0.9 else 10**6
        put = chance.sample(names, chance.randrange(5))
        gone = [name for name in chance.sample(names, chance.randrange(4)) if name not in put]
        moved = [name for name in put if chance.random() < 0.7]
        write = ShardWrite(ZERO, lease.epoch if chance.random() < 0.95 else "1:x", expected, n, put)
        write.blobs = [chance.randbytes(4) for _ in put]
        write.armed, write.deadlines = moved, [chance.randrange(1_000) for _ in moved]
        write.disarmed = write.ending = chance.sample(names, chance.randrange(4))
        write.expiry_buckets = [chance.randrange(8) for _ in write.ending]
        write.passed = chance.sample(range(8), chance.randrange(2))
        found = bench.due(limit=2)
        write.begun = (
            found.begun if chance.random() < 0.3 and found.begun and found.begun[0] not in write.passed else None
        )
        write.decided, write.decisions = moved, [chance.randbytes(3) for _ in moved]
        write.removed, write.undecided = gone, gone
        write.profiles = [(SPACE.visitor(chance.randrange(3)), _entry(chance.randrange(30)))]
        write.outbox, write.acknowledged = chance.randbytes(chance.randrange(3)), chance.randrange(3)
        result = bench.write(write)
        assert result == twin.write([write], LIFE_MS)[0]
        applied = result.applied if result.status == APPLIED else applied
    assert bench.sessions(*names) == twin.load([(ZERO, names)])[0]
    looks = [(now, limit) for now in (999, 10_000, 10**15) for limit in (1, 5, 20, 100)]
    assert [bench.due(*look) for look in looks] == [twin.due([(ZERO, look[0])], look[1])[0] for look in looks]
    assert twin.due([(ZERO, 10**15)], 100)[0].passed, "there were some"
    assert [bench.decision(s) for s in names] == [twin.decisions.get(decision_key(s)) for s in names]
    keys = [SPACE.visitor(i) for i in range(3)]
    assert bench.store.profiles(keys) == twin.profiles(keys)
    assert bench.lease().outboxes == twin.acquire([ZERO], 1, 0)[0].outboxes


def test_decisions_are_at_their_deployments_prefix(bench: Bench) -> None:
    """Written, read and deleted there; the usual prefix is somebody else's."""
    store = _of(bench, replace(SPACE, prefix="rehearsal:"))
    lease = store.acquire([ZERO], 1_000, 0)[0]
    write = ShardWrite(ZERO, lease.epoch, None, 1)
    write.decided, write.decisions = ["a", "b"], [b"{1}", b"{2}"]
    assert store.write([write], LIFE_MS)[0].status == APPLIED
    assert store.documents(["a", "b"]) == [b"{1}", b"{2}"]
    assert bench.decision("a") is None
    if bench.client is not None:
        assert bench.client.get("rehearsal:b") == b"{2}"
    write = ShardWrite(ZERO, lease.epoch, 1, 2)
    write.undecided = ["a"]
    assert store.write([write], LIFE_MS)[0].status == APPLIED
    assert store.documents(["a", "b"]) == [None, b"{2}"]


def test_no_tombstones_to_begin_with(bench: Bench) -> None:
    assert not bench.store.erased(1).any()


def test_an_erasure_takes_the_session_and_the_lease_and_leaves_a_tombstone(served: Bench) -> None:
    """What the owner has under way is refused; the owner takes the shard again at once, by its own number."""
    client: Any = served.client
    eraser = eraser_for(client, SPACE, [ZERO, ONE])
    lease = served.lease(now_ms=9_000)
    served.write(_full(lease, 41))
    assert eraser.holders("a", [ZERO]) == eraser.holders("quiet", [ZERO]) == [ZERO]
    assert not eraser.holders("nobody", [ZERO])
    assert eraser.erase({ZERO: ["a"]}, fields_of([hash_text("a")], [7]), 5_000) == (1, 1, 1, 0)
    refused = served.write(ShardWrite(ZERO, lease.epoch, 41, 42, ["a"], [b"under way"]))
    assert refused.status == FENCED
    assert epoch_number(refused.epoch) < lease.number, "an owner reads this as its own, rolled back"
    assert served.sessions("a", "other") == [None, b"\0binary\xff"]
    again = served.lease(now_ms=0, own=lease.number)
    assert (again.applied, again.number) == (41, lease.number + 1)
    assert served.store.erased(1) == Erased({hash_text("a"): 5_000}, {7: 5_000})
    assert eraser.erase({ZERO: ["a"]}, fields_of([hash_text("a")]), 6_000) == (0, 0, 0, 0), "again is harmless"
    assert client.ttl(SPACE.erased()) > SHARD_TTL_S
    late = 6_000 + ERASED_TTL_S * 1_000
    eraser.bury(fields_of([1]), late)
    assert served.store.erased(1) == Erased({hash_text("a"): 6_000, 1: late}, {}), "a tombstone goes when it has served"


def test_an_erasure_leaves_no_entry_in_any_list(served: Bench) -> None:
    """A session counts once, however many lists name it; a bucket that is left empty passes like any other."""
    client: Any = served.client
    lease = served.lease()
    write = ShardWrite(ZERO, lease.epoch, None, 1, armed=["a", "b"], deadlines=[1, 2])
    write.ending, write.expiry_buckets = ["a", "c", "a", "a", "b"], [1, 1, 1, 2, 3]
    served.write(write)
    eraser = eraser_for(client, SPACE, [ZERO, ONE])
    names = ["a", "b", "nobody"]
    assert eraser.erase({ZERO: names}, fields_of([1]), 5_000) == (0, 2, 0, 0)
    assert served.due() == Due(["c"], [1, 2, 3])
    assert eraser.erase({ZERO: names}, fields_of([1]), 5_000) == (0, 0, 0, 0)


def test_a_bucket_whose_list_is_gone_is_passed_all_the_same(served: Bench) -> None:
    client: Any = served.client
    lease = served.lease()
    served.write(ShardWrite(ZERO, lease.epoch, None, 1, ending=["a", "b"], expiry_buckets=[1, 2]))
    client.delete(SPACE.ending(ZERO, 1))
    assert served.due(limit=1) == Due(["b"], [1, 2])
    served.write(ShardWrite(ZERO, lease.epoch, 1, 2, passed=[1, 2]))
    assert not client.exists(SPACE.ends(ZERO))


def test_everything_has_a_life(served: Bench) -> None:
    """Nothing is left for ever by a shop that closes."""
    bench = served
    client: Any = bench.client
    lease = bench.lease()
    bench.write(_full(lease, 41))
    bench.write(_full(Lease(lease.epoch, 41), 42))
    parts = [SPACE.meta, SPACE.states, SPACE.idle, SPACE.ends, SPACE.outboxes]
    nodes = {}
    if isinstance(client, redis.RedisCluster):
        parts.append(SPACE.cross_slot_outbox)
        nodes = {"target_nodes": client.PRIMARIES}
    lives = {key.decode(): client.pttl(key) for key in client.keys("*", **nodes)}
    wanted = {
        decision_key("a"): LIFE_MS,
        SPACE.visitor(7): VISITOR_TTL_S * 1_000,
        **{key(ZERO): SHARD_TTL_S * 1_000 for key in parts},
        **{SPACE.ending(ZERO, bucket): SHARD_TTL_S * 1_000 for bucket in (3, 4)},
    }
    assert lives.keys() == wanted.keys()
    for key, life in lives.items():
        assert wanted[key] - 60_000 < life <= wanted[key], key


def test_a_list_outlives_its_bucket(served: Bench) -> None:
    """An end may lie far ahead, by a wrong clock: whoever is in the list is still found there then."""
    client: Any = served.client
    month_s = 30 * 86_400
    far = expiry_bucket((int(time.time()) + month_s) * 1_000)
    lease = served.lease()
    for expected, applied in ((None, 1), (1, 2)):  # the first by a script, the second, on one node, by a transaction
        served.write(
            ShardWrite(ZERO, lease.epoch, expected, applied, ["a"], [b"A"], ending=["a"], expiry_buckets=[far])
        )
        assert client.ttl(SPACE.ending(ZERO, far)) > month_s + SHARD_TTL_S - 60


def test_a_server_that_forgot_the_script_gets_it_again(served: Bench) -> None:
    """A restart or a failover empties the script cache."""
    lease = served.lease()
    cast(Any, served.client).script_flush()
    assert served.write(_full(lease, 41)).status == APPLIED


def test_a_full_server_refuses_the_whole_write(served: Bench) -> None:
    """Out of memory under noeviction: nothing of the batch is there, and it fits later."""
    client: Any = served.client
    nodes = {"target_nodes": client.PRIMARIES} if isinstance(client, redis.RedisCluster) else {}
    write = _full(served.lease(), 41)
    try:
        client.config_set("maxmemory", 1, **nodes)
        with pytest.raises(StoreUnavailable, match="OutOfMemoryError"):
            served.write(write)
        assert served.sessions("a") == [None]
    finally:
        client.config_set("maxmemory", 0, **nodes)
    assert served.write(write) == WriteResult(APPLIED, "", 41)


def test_a_replica_is_not_written_and_the_error_quotes_nothing(node: Bench) -> None:
    client = cast("redis.Redis", node.client)
    write = _full(node.lease(), 41, session="secret-session")
    try:
        client.replicaof("127.0.0.1", "1")
        with pytest.raises(StoreUnavailable) as caught:
            node.write(write)
    finally:
        client.replicaof("NO", "ONE")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert node.write(write).status == APPLIED


def test_a_server_that_is_gone_is_unavailable() -> None:
    store = RedisSessionStore(connect("redis://127.0.0.1:1/0", timeout_s=0.5), SPACE)
    with pytest.raises(StoreUnavailable, match="will retry"):
        store.acquire([ZERO], 1, 0)


def test_what_was_refused_is_noted_with_the_applied_offset_and_an_operators_word_is_heard(bench: Bench) -> None:
    """Behind the fence: a replaced owner notes nothing. The next owner reads the newest note."""
    assert bench.store.refusals([0, 1]) == [Refused(None, 0), Refused(None, 0)]
    first, second = Note(5, 3, 5, 4), Note(9, 7, 9, 8, 1_234)
    lease = bench.lease()
    bench.write(ShardWrite(ZERO, lease.epoch, None, 4, refused=first, number=1))
    bench.write(ShardWrite(ZERO, lease.epoch, 4, 8, refused=second, sessions=["a"], blobs=[b"s"], number=2))
    bench.write(ShardWrite(ZERO, lease.epoch, 8, 9, number=3))
    assert bench.store.refusals([0, 1]) == [Refused(second, 0), Refused(None, 0)]
    bench.lease(own=lease.number)
    assert bench.write(ShardWrite(ZERO, lease.epoch, 9, 10, refused=first, number=4)).status == FENCED
    if bench.client is not None:
        bench.client.hset(SPACE.meta(ZERO), PASSES, "77")
        assert bench.store.refusals([0]) == [Refused(second, 77)]
    assert bench.store.acquire([ZERO], 1, 0)[0].applied == 9
