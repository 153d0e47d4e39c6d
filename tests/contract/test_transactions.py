"""A batch written by a transaction is a batch written by the script, or none at all."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
import redis

from featurestore.errors import StoreUnavailable
from featurestore.session.visitors import ENTRY
from featurestore.store.keys import Namespace, Shard
from featurestore.store.protocols import APPLIED, FENCED, MOVED, Lease, ShardWrite, WriteResult
from featurestore.store.redis.connection import connect
from featurestore.store.redis.store import RedisSessionStore
from tests.run_services import RunServices

SPACE = Namespace("test", "group", "topic")
ZERO, ONE = Shard(0), Shard(1)
LIFE_MS = 60_000


@dataclass(slots=True)
class Owner:
    """A store that holds a lease on two shards, and has written once: what it writes next may go by a transaction."""

    store: RedisSessionStore
    client: "redis.Redis"
    leases: list[Lease]

    def write(self, *writes: ShardWrite) -> list[WriteResult]:
        return self.store.write(writes, LIFE_MS)

    def next(self, shard: Shard, applied: int, **parts: Any) -> ShardWrite:
        """A write of one session on top of offset 1."""
        return ShardWrite(shard, self.leases[shard.partition].epoch, 1, applied, ["a"], [b"%d" % applied], **parts)

    def stored(self, shard: Shard = ZERO) -> bytes | None:
        return cast("bytes | None", self.client.hget(SPACE.states(shard), "a"))


@pytest.fixture(params=[pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("redis", "valkey")])
def owner(
    request: pytest.FixtureRequest, services: RunServices, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Owner]:
    server = services.redis(str(request.param), lambda: tmp_path_factory.mktemp(str(request.param)))
    client = connect(server.url, timeout_s=5)
    client.flushall()
    store = RedisSessionStore(connect(server.url, timeout_s=5), SPACE)
    made = Owner(store, client, store.acquire([ZERO, ONE], 1, 0))
    first = [ShardWrite(shard, made.leases[shard.partition].epoch, None, 1) for shard in (ZERO, ONE)]
    assert [result.status for result in made.write(*first)] == [APPLIED, APPLIED]
    assert store.transactions == 0
    yield made
    client.config_set("maxmemory", 0)
    client.close()


def test_an_owner_who_finds_all_as_it_left_it_writes_by_a_transaction(owner: Owner) -> None:
    """The fast path is the one that ran."""
    assert owner.write(owner.next(ZERO, 5), owner.next(ONE, 7)) == [
        WriteResult(APPLIED, "", 5),
        WriteResult(APPLIED, "", 7),
    ]
    assert owner.store.transactions == 1
    assert (owner.stored(ZERO), owner.stored(ONE)) == (b"5", b"7")


def test_nothing_to_write_is_no_error(owner: Owner) -> None:
    """All idle shards may have been written while the batch in flight was finished."""
    assert owner.write() == []
    assert [result.status for result in owner.write(owner.next(ZERO, 2))] == [APPLIED]


def test_another_owner_ends_the_transaction_and_the_script_says_why(owner: Owner) -> None:
    [theirs] = RedisSessionStore(owner.client, SPACE).acquire([ZERO], 10**15, 0)
    results = owner.write(owner.next(ZERO, 5), owner.next(ONE, 7))
    assert results == [WriteResult(FENCED, theirs.epoch, None), WriteResult(APPLIED, "", 7)]
    assert (owner.stored(ZERO), owner.stored(ONE)) == (None, b"7")
    assert owner.store.transactions == 0


def test_a_lost_shard_does_not_stand_in_the_way_of_the_others(owner: Owner) -> None:
    other = RedisSessionStore(owner.client, SPACE)
    [theirs] = other.acquire([ONE], 10**15, 0)
    assert owner.write(owner.next(ZERO, 5))[0].status == APPLIED  # by the script; ONE is watched no more
    assert other.write([ShardWrite(ONE, theirs.epoch, 1, 2)], LIFE_MS)[0].status == APPLIED
    write = ShardWrite(ZERO, owner.leases[0].epoch, 5, 6, ["a"], [b"6"])
    assert owner.write(write) == [WriteResult(APPLIED, "", 6)]
    assert owner.store.transactions == 1


def test_a_store_that_went_back_is_noticed(owner: Owner) -> None:
    owner.client.hset(SPACE.meta(ZERO), "applied", 0)
    assert owner.write(owner.next(ZERO, 5)) == [WriteResult(MOVED, "", 0)]
    assert owner.stored() is None


def test_a_flushed_store_is_noticed(owner: Owner) -> None:
    owner.client.flushall()
    assert owner.write(owner.next(ZERO, 5)) == [WriteResult(FENCED, "", None)]
    assert owner.client.dbsize() == 0


def test_what_was_read_on_another_connection_is_not_trusted(owner: Owner) -> None:
    for client in owner.client.client_list():
        if client["id"] != str(owner.client.client_id()):
            owner.client.client_kill_filter(client["id"])
    with pytest.raises(StoreUnavailable):
        owner.write(owner.next(ZERO, 5))
    assert owner.write(owner.next(ZERO, 5)) == [WriteResult(APPLIED, "", 5)]
    assert owner.store.transactions == 0


def test_the_same_write_again_is_applied_once(owner: Owner) -> None:
    """Whichever way it goes first."""
    write = owner.next(ZERO, 5, outbox=b"once", number=3)
    assert owner.write(write)[0].status == APPLIED
    assert owner.write(write) == [WriteResult(APPLIED, "", 5)]
    assert owner.store.transactions == 1
    assert owner.client.lrange(SPACE.outboxes(ZERO), 0, -1) == [b"once"]


def test_two_writes_of_a_shard_are_no_transaction(owner: Owner) -> None:
    """The second would not find the shard as it was read."""
    assert [result.status for result in owner.write(owner.next(ZERO, 5), owner.next(ZERO, 6))] == [APPLIED, MOVED]
    assert owner.store.transactions == 0


def test_without_memory_nothing_is_written(owner: Owner) -> None:
    owner.client.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailable, match="OutOfMemory"):
        owner.write(owner.next(ZERO, 5))
    owner.client.config_set("maxmemory", 0)
    assert owner.stored() is None
    assert owner.client.hget(SPACE.meta(ZERO), "applied") == b"1"
    assert owner.write(owner.next(ZERO, 5))[0].status == APPLIED


def _entry(key: int) -> bytes:
    import numpy as np

    row = np.zeros(1, ENTRY)
    row["key"], row["ended"], row["visit"] = key, 1_000 + key, 1
    return row.tobytes()


def _writes(chance: random.Random, epoch: str) -> list[ShardWrite]:
    names = [f"s{i}" for i in range(12)]
    writes: list[ShardWrite] = []
    applied: int | None = 1
    for number in range(1, 25):
        put, gone = chance.sample(names, 5), chance.sample(names, 2)
        write = ShardWrite(ZERO, epoch, applied, number + 1, number=number)
        write.sessions, write.blobs = put, [chance.randbytes(9) for _ in put]
        write.armed, write.deadlines = put[:3], [chance.randrange(10**13) for _ in put[:3]]
        write.decided, write.decisions = put[1:], [chance.randbytes(30) for _ in put[1:]]
        write.removed, write.undecided = gone, gone
        write.profiles = [(SPACE.visitor(chance.randrange(3)), _entry(chance.randrange(20))) for _ in range(2)]
        write.outbox, write.acknowledged = chance.choice([b"", chance.randbytes(20)]), chance.choice([0, 1])
        writes.append(write)
        applied = number + 1
    return writes


class ByScript(RedisSessionStore):
    """Every write goes by the script."""

    def begin_write(self, writes: Sequence[ShardWrite], decision_ttl_ms: int) -> Callable[[], list[WriteResult]]:
        return self._begin_fenced(writes, decision_ttl_ms)


def test_both_ways_leave_the_same(owner: Owner) -> None:
    """Every key, its value and whether it ends."""
    found = []
    for way, transactions in ((ByScript, 0), (RedisSessionStore, 24)):
        owner.client.flushall()
        store = way(owner.client, SPACE)
        [lease] = store.acquire([ZERO], 7, 0)
        assert store.write([ShardWrite(ZERO, lease.epoch, None, 1)], LIFE_MS)[0].status == APPLIED
        for write in _writes(random.Random(5), lease.epoch):
            assert store.write([write], LIFE_MS)[0].status == APPLIED
        assert store.transactions == transactions
        owner.client.hdel(SPACE.meta(ZERO), "epoch")
        keys: list[Any] = sorted(owner.client.keys())
        found.append({key: (_value(owner.client, key), owner.client.pttl(key) > 0) for key in keys})
    assert found[0] == found[1]
    assert len(found[0]) > 6


def _value(client: Any, key: bytes) -> Any:
    kind = client.type(key)
    read = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda name: client.lrange(name, 0, -1),
        b"zset": lambda name: client.zrange(name, 0, -1, withscores=True),
    }
    return read[kind](key)
