"""One suite for every session store: in memory, on Redis 7 and Valkey 9, and on a Cluster of each."""

import random
from dataclasses import replace
from typing import Any

import pytest

from featurestore.session.visitors import append_entry, unpack
from featurestore.store.keys import Shard, decision_key
from featurestore.store.memory import MemoryStore
from featurestore.store.protocols import (
    APPLIED,
    FENCED,
    MOVED,
    Due,
    Lease,
    ShardWrite,
    WriteResult,
)
from featurestore.store.refusals import PASSES, Note, Refused
from tests.contract.store_bench import (
    LIFE_MS,
    ONE,
    SPACE,
    ZERO,
    Bench,
    as_of,
    entry_of,
    full_write,
    nothing_is_there,
    of_space,
)


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
    assert bench.write(full_write(lease, 41)) == WriteResult(APPLIED, "", 41)
    assert bench.sessions("other", "nobody", "a") == [b"\0binary\xff", None, b"state of a"]
    assert bench.decision("a") == b'{"v":1}'
    assert bench.due(5_999, 10) == Due(["a"], [])
    assert bench.store.profiles([SPACE.visitor(7), SPACE.visitor(8)]) == [append_entry(None, entry_of(1)), None]
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
    assert bench.write(full_write(old, 41)) == WriteResult(FENCED, new.epoch, None)
    nothing_is_there(bench)


def test_a_writer_that_is_wrong_about_the_offset_changes_nothing(bench: Bench) -> None:
    lease = bench.lease()
    bench.write(ShardWrite(ZERO, lease.epoch, None, 10))
    assert bench.write(full_write(lease, 41)) == WriteResult(MOVED, "", 10)
    behind = Lease(lease.epoch, 9)
    assert bench.write(full_write(behind, 41)) == WriteResult(MOVED, "", 10)
    nothing_is_there(bench)


def test_a_store_that_lost_its_offset_says_so(bench: Bench) -> None:
    """An expected offset where there is none: MOVED to none, not a silent start."""
    lease = bench.lease()
    assert bench.write(full_write(Lease(lease.epoch, 5), 41)) == WriteResult(MOVED, "", None)
    nothing_is_there(bench)


def test_the_same_call_again_is_recognised_and_counts_nothing_twice(bench: Bench) -> None:
    """After an unknown outcome the worker repeats: MOVED to its own offset means applied once."""
    lease = bench.lease()
    write = full_write(lease, 41)
    assert bench.write(write).status == APPLIED
    assert bench.write(write) == WriteResult(MOVED, "", 41)
    assert bench.store.profiles([SPACE.visitor(7)]) == [append_entry(None, entry_of(1))]


def test_a_repeat_of_a_write_that_moves_no_offset_changes_nothing_more(bench: Bench) -> None:
    """Timers write at an unchanged offset: both times APPLIED, with the same outcome."""
    lease = bench.lease()
    bench.write(ShardWrite(ZERO, lease.epoch, None, 41))
    write = full_write(Lease(lease.epoch, 41), 41)
    assert [bench.write(write).status for _ in range(2)] == [APPLIED, APPLIED]
    assert bench.store.profiles([SPACE.visitor(7)]) == [append_entry(None, entry_of(1))]
    assert bench.sessions("a") == [b"state of a"]


def test_an_empty_write_verifies_the_fence(bench: Bench) -> None:
    lease = bench.lease()
    bench.write(full_write(lease, 41))
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
    bench.write(full_write(lease, 41))
    bench.write(ShardWrite(ZERO, lease.epoch, 41, 42, removed=["a", "never"], undecided=["a", "x"]))
    assert bench.sessions("a", "other") == [None, b"\0binary\xff"]
    assert bench.due() == Due(["other", "quiet", "quieter"], [3, 4])
    assert bench.decision("a") is None


def test_a_load_of_no_session_is_answered_in_its_place(bench: Bench) -> None:
    bench.write(full_write(bench.lease(), 41))
    asked: list[tuple[Shard, list[str]]] = [(ZERO, []), (ZERO, ["other", "a"]), (ONE, []), (ONE, ["a"])]
    assert bench.store.load(asked) == [[], [b"\0binary\xff", b"state of a"], [], [None]]
    assert bench.store.load([(ZERO, [])]) == [[]]


def test_shards_do_not_see_each_other(bench: Bench) -> None:
    zero, one = bench.store.acquire([ZERO, ONE], 1_000, 0)
    other = full_write(Lease(one.epoch, None), 7)
    other.shard = ONE
    results = bench.store.write([full_write(zero, 41), other, ShardWrite(Shard(0, 1), "x", None, 1)], LIFE_MS)
    assert [r.status for r in results] == [APPLIED, APPLIED, FENCED]
    bench.write(ShardWrite(ZERO, zero.epoch, 41, 42, removed=["a"]))
    assert bench.sessions("a") == [None]
    assert bench.sessions("a", shard=ONE) == [b"state of a"]
    assert [lease.applied for lease in bench.store.acquire([ZERO, ONE], 1, 0)] == [42, 7]


def test_a_profile_keeps_ten_sessions_counts_all_and_none_twice(bench: Bench) -> None:
    lease = bench.lease()
    for i in range(12):
        entries = [
            (SPACE.visitor(7), entry_of(i, bounced=i % 2, shown=i, segment=i + 1)),
            (SPACE.visitor(7), entry_of(i)),
        ]
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
        store = as_of(bench, version)
        lease = store.acquire([ZERO], i, 0)[0]
        entry = entry_of(i, segment=0 if version == 1 else i)
        write = ShardWrite(ZERO, lease.epoch, i - 1 or None, i, profiles=[(SPACE.visitor(7), entry)])
        assert store.write([write], LIFE_MS)[0].status == APPLIED
        expected = append_entry(expected, entry, version)
        assert store.profiles([SPACE.visitor(7)]) == [expected]
        assert version == 2 or max(expected[19::18]) == 1, "version 1 knows no segments, also of sessions before"


def test_what_is_no_profile_begins_anew(served: Bench) -> None:
    client: Any = served.client
    client.set(SPACE.visitor(7), b"\2")
    lease = served.lease()
    served.write(ShardWrite(ZERO, lease.epoch, None, 1, profiles=[(SPACE.visitor(7), entry_of(1))]))
    assert served.store.profiles([SPACE.visitor(7)]) == [append_entry(None, entry_of(1))]


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
    written = bench.store.begin_write([full_write(lease, 41)], LIFE_MS)
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
        write.profiles = [(SPACE.visitor(chance.randrange(3)), entry_of(chance.randrange(30)))]
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
    store = of_space(bench, replace(SPACE, prefix="rehearsal:"))
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
