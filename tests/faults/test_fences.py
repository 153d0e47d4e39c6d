"""The parts of the fence on their own, on real servers: what a mutation of each would let through."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from featurestore.store.keys import Namespace, Shard
from featurestore.store.protocols import APPLIED, FENCED, MOVED, ShardWrite
from featurestore.store.redis.connection import connect
from featurestore.store.redis.store import RedisSessionStore
from tests.conftest import StartRedis
from tests.faults import patches
from tests.services import FLAVOURS, RedisServer

SHARD = Shard(0)


@pytest.fixture(params=FLAVOURS)
def server(request: pytest.FixtureRequest, own_redis: StartRedis) -> RedisServer:
    patches.mutate()
    return own_redis(request.param)


def store_of(server: RedisServer) -> RedisSessionStore:
    return RedisSessionStore(connect(server.url, timeout_s=2), Namespace("test", "fence", "topic"))


def put(epoch: str, expected: int | None, applied: int, sessions: Sequence[str] = ("a",)) -> ShardWrite:
    write = ShardWrite(SHARD, epoch, expected, applied)
    write.sessions, write.blobs = list(sessions), [b"%d" % applied for _ in sessions]
    return write


def test_an_earlier_owner_cannot_write(server: RedisServer) -> None:
    """Not even where the applied offset is the one it knows: what it decided may come from an older model or policy."""
    zombie, owner = store_of(server), store_of(server)
    old = zombie.acquire([SHARD], 1_000, 0)[0]
    new = owner.acquire([SHARD], 1_000, 0)[0]
    assert zombie.write([put(old.epoch, None, 5)], 1_000)[0].status == FENCED
    assert owner.load([(SHARD, ["a"])]) == [[None]]
    assert owner.write([put(new.epoch, None, 5)], 1_000)[0].status == APPLIED


def test_an_owner_who_was_replaced_after_its_last_write_cannot_write(server: RedisServer) -> None:
    """Its next write would be a transaction, on what it read of the fence: only the WATCH knows of the new owner."""
    zombie, owner = store_of(server), store_of(server)
    old = zombie.acquire([SHARD], 1_000, 0)[0]
    assert zombie.write([put(old.epoch, None, 5)], 1_000)[0].status == APPLIED
    owner.acquire([SHARD], 2_000, 0)
    assert zombie.write([put(old.epoch, 5, 9)], 1_000)[0].status == FENCED
    assert owner.load([(SHARD, ["a"])]) == [[b"5"]]


def test_an_owner_whose_store_went_back_cannot_write(server: RedisServer, tmp_path: Path) -> None:
    store = store_of(server)
    epoch = store.acquire([SHARD], 1_000, 0)[0].epoch
    assert store.write([put(epoch, None, 5)], 1_000)[0].status == APPLIED
    snapshot = server.snapshot(tmp_path / "snapshot")
    assert store.write([put(epoch, 5, 9)], 1_000)[0].status == APPLIED
    server.roll_back(snapshot)
    again = store_of(server)
    answer = again.write([put(epoch, 9, 12)], 1_000)[0]
    assert (answer.status, answer.applied) == (MOVED, 5)
    assert again.load([(SHARD, ["a"])]) == [[b"5"]]


def test_no_epoch_is_given_twice(server: RedisServer, tmp_path: Path) -> None:
    """A counter goes back with the data it protects: then two owners hold the same epoch, and neither is fenced."""
    first = store_of(server).acquire([SHARD], 1_000, 0)[0]
    snapshot = server.snapshot(tmp_path / "snapshot")
    second = store_of(server).acquire([SHARD], 1_001, 0)[0]
    server.roll_back(snapshot)
    third = store_of(server).acquire([SHARD], 1_001, 0)[0]
    assert len({first.epoch, second.epoch, third.epoch}) == 3


def test_the_same_write_again_changes_nothing(server: RedisServer) -> None:
    """After an unknown outcome the call is repeated: the answer tells that it had been applied."""
    store = store_of(server)
    epoch = store.acquire([SHARD], 1_000, 0)[0].epoch
    write = put(epoch, None, 5)
    assert store.write([write], 1_000)[0].status == APPLIED
    answer = store.write([write], 1_000)[0]
    assert (answer.status, answer.applied) == (MOVED, write.applied)
