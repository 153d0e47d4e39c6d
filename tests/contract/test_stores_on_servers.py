"""What only a server does: erasures, lives of keys, scripts that are gone, refusals."""

from typing import Any, cast

import pytest
import redis

from featurestore.columns.hashing import hash_text
from featurestore.errors import StoreUnavailable
from featurestore.store.erasure import eraser_for, fields_of
from featurestore.store.keys import ERASED_TTL_S, SHARD_TTL_S, VISITOR_TTL_S, decision_key
from featurestore.store.protocols import (
    APPLIED,
    FENCED,
    Due,
    Lease,
    ShardWrite,
    WriteResult,
    epoch_number,
)
from featurestore.store.redis.connection import connect
from featurestore.store.redis.store import RedisSessionStore
from featurestore.store.tombstones import Erased
from tests.contract.store_bench import LIFE_MS, ONE, SPACE, ZERO, Bench, full_write


def test_no_tombstones_to_begin_with(bench: Bench) -> None:
    assert not bench.store.erased(1).any()


def test_an_erasure_takes_the_session_and_the_lease_and_leaves_a_tombstone(served: Bench) -> None:
    """What the owner has under way is refused; the owner takes the shard again at once, by its own number."""
    client: Any = served.client
    eraser = eraser_for(client, SPACE, [ZERO, ONE])
    lease = served.lease(now_ms=9_000)
    served.write(full_write(lease, 41))
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


def test_everything_has_a_life(served: Bench) -> None:
    """Nothing is left for ever by a shop that closes."""
    bench = served
    client: Any = bench.client
    lease = bench.lease()
    bench.write(full_write(lease, 41))
    bench.write(full_write(Lease(lease.epoch, 41), 42))
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


def test_a_server_that_forgot_the_script_gets_it_again(served: Bench) -> None:
    """A restart or a failover empties the script cache."""
    lease = served.lease()
    cast(Any, served.client).script_flush()
    assert served.write(full_write(lease, 41)).status == APPLIED


def test_a_full_server_refuses_the_whole_write(served: Bench) -> None:
    """Out of memory under noeviction: nothing of the batch is there, and it fits later."""
    client: Any = served.client
    nodes = {"target_nodes": client.PRIMARIES} if isinstance(client, redis.RedisCluster) else {}
    write = full_write(served.lease(), 41)
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
    write = full_write(node.lease(), 41, session="secret-session")
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
