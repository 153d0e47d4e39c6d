"""The stores of the contract suite, and what its tests write to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

import pytest
import redis

from featurestore.session.visitors import ENTRY
from featurestore.store.cluster.store import ClusterSessionStore
from featurestore.store.keys import Namespace, Shard, decision_key
from featurestore.store.memory import MemoryStore
from featurestore.store.protocols import (
    Due,
    Lease,
    SessionStore,
    ShardWrite,
    WriteResult,
)
from featurestore.store.redis.connection import Client, connect, connect_cluster
from featurestore.store.redis.store import RedisSessionStore
from tests.run_services import RunServices

SPACE = Namespace("test", "group", "topic")
ZERO, ONE = Shard(0), Shard(1)
LIFE_MS = 1_800_000


NODES = [pytest.param("redis", marks=pytest.mark.redis), pytest.param("valkey", marks=pytest.mark.valkey)]
CLUSTERS = [
    pytest.param("redis-cluster", marks=pytest.mark.redis),
    pytest.param("valkey-cluster", marks=pytest.mark.valkey),
]
SERVERS = [*NODES, *CLUSTERS]


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


def as_of(bench: Bench, version: int) -> SessionStore:
    """The same store as a worker has it that writes this version."""
    return of_space(bench, replace(SPACE, write_version=version))


def of_space(bench: Bench, space: Namespace) -> SessionStore:
    """The same store with other keys."""
    if isinstance(bench.store, MemoryStore):
        bench.store.namespace = space
        return bench.store
    if isinstance(bench.client, redis.RedisCluster):
        return ClusterSessionStore(bench.client, space)
    return RedisSessionStore(cast("redis.Redis", bench.client), space)


@contextmanager
def served_by(name: str, services: RunServices, folders: pytest.TempPathFactory) -> Iterator[Bench]:
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


def full_write(lease: Lease, applied: int, session: str = "a") -> ShardWrite:
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
        profiles=[(SPACE.visitor(7), entry_of(1))],
        outbox=b"\0outbox\xff",
    )


def entry_of(key: int, *, bounced: int = 1, shown: int = 0, segment: int = 0) -> bytes:
    import numpy as np

    row = np.zeros(1, ENTRY)
    row["key"], row["ended"], row["visit"], row["shown"] = key, 1_000 + key, bounced | segment << 1, shown
    return row.tobytes()


def nothing_is_there(bench: Bench) -> None:
    assert bench.sessions("a", "other") == [None, None]
    assert bench.decision("a") is None
    assert not bench.due()
    assert bench.store.profiles([SPACE.visitor(7)]) == [None]
    assert not bench.lease().outboxes
