"""What only a Cluster has: decisions and profiles written after the fence, twice and late; slots that move."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from featurestore.columns.hashing import hash_text
from featurestore.errors import SettingsError, StoreUnavailable, Unsafe
from featurestore.session.visitors import append_entry
from featurestore.store.cluster import cross_slot_outbox
from featurestore.store.cluster.store import ClusterSessionStore
from featurestore.store.erasure import ClusterEraser, fields_of
from featurestore.store.keys import DECISION_PREFIX, Namespace, Shard, decision_key, slot_of
from featurestore.store.protocols import APPLIED, Due, Lease, ShardWrite, WriteResult
from featurestore.store.redis.connection import connect_cluster
from featurestore.store.set_aside import SetAside
from tests.contract.store_bench import CLUSTERS, LIFE_MS, SPACE, ZERO, entry_of
from tests.run_services import RunServices
from tests.services import ClusterServers, RedisServer
from worker.settings import Settings
from worker.wiring import redis_client

A = decision_key("a")
SHOPPER = SPACE.visitor(7)
OTHER_TOPIC = Namespace("test", "group", "other")


@dataclass
class Bench:
    """A Cluster, a client that looks, and stores of several workers."""

    servers: ClusterServers
    client: Any

    def store(self) -> ClusterSessionStore:
        """A worker's store, with connections of its own."""
        return ClusterSessionStore(connect_cluster(self.servers.url, timeout_s=5), SPACE)

    def get(self, key: str = A) -> bytes | None:
        found: bytes | None = self.client.get(key)
        return found

    def keys(self, pattern: str) -> list[bytes]:
        found: list[bytes] = self.client.keys(pattern, target_nodes=self.client.PRIMARIES)
        return found


@pytest.fixture(params=CLUSTERS)
def bench(
    request: pytest.FixtureRequest, services: RunServices, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """An empty Cluster, whole again afterwards."""
    servers = services.cluster(request.param.partition("-")[0], lambda: tmp_path_factory.mktemp(request.param))
    servers.empty()
    client = servers.client()
    yield Bench(servers, client)
    client.close()
    servers.healthy()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def document(seq: int, *, decided: int | None = None, space: Namespace = SPACE, text: str = "") -> bytes:
    """What matters of a decision document, as `DecisionEncoder` lays it out."""
    at = now_ms() if decided is None else decided
    return b'{"v":1,"session_id":"a%s","decided_at":%d,"source":"%s","seq":%d,"expires_at":0}' % (
        text.encode(),
        at,
        space.source.encode(),
        seq,
    )


def session_of(key: str) -> str:
    """Whose decision it is."""
    return key.removeprefix(DECISION_PREFIX)


def batch(lease: Lease, expected: int | None, applied: int | None, *documents: bytes, **parts: Any) -> ShardWrite:
    """A write with decisions of session ``a``."""
    write = ShardWrite(ZERO, lease.epoch, expected, applied, outbox=b"outbox %d" % (applied or 0))
    write.decided, write.decisions = ["a"] * len(documents), list(documents)
    for name, value in parts.items():
        setattr(write, name, value)
    return write


def held(bench: Bench, key: str) -> cross_slot_outbox.Fields:
    """What a bucket keeps for other slots."""
    return cross_slot_outbox.stored(bench.client.hgetall(key))[0]


def lease_of(store: ClusterSessionStore) -> Lease:
    return store.acquire([ZERO], now_ms(), 0)[0]


def test_a_worker_that_dies_after_the_fence_leaves_its_decisions_to_the_next(bench: Bench) -> None:
    dead, heir = bench.store(), bench.store()
    lease = lease_of(dead)
    doc = document(256)
    dead.begin_write([batch(lease, None, 1, doc, profiles=[(SHOPPER, entry_of(1))])], LIFE_MS)  # and never reads on
    taken = lease_of(heir)
    assert (taken.applied, taken.outboxes) == (1, (b"outbox 1",))
    assert bench.get() == doc
    assert 0 < bench.client.pttl(A) <= LIFE_MS
    assert heir.profiles([SHOPPER]) == [append_entry(None, entry_of(1))]
    lease_of(bench.store())
    assert heir.profiles([SHOPPER]) == [append_entry(None, entry_of(1))], "written again, counted once"


def test_the_decisions_of_two_batches_may_be_under_way(bench: Bench) -> None:
    """The bucket holds both: what the first wrote may be lost while the second is applied."""
    dead = bench.store()
    lease = lease_of(dead)
    first, second = decision_key("first"), decision_key("second")
    docs = document(256), document(512)
    dead.begin_write([batch(lease, None, 1, decided=["first"], decisions=[docs[0]])], LIFE_MS)()
    dead.begin_write([batch(lease, 1, 2, decided=["second"], decisions=[docs[1]])], LIFE_MS)
    time.sleep(0.1)
    bench.client.delete(first)
    lease_of(bench.store())
    assert (bench.get(first), bench.get(second)) == docs


def test_a_batch_pushes_out_only_what_has_landed(bench: Bench) -> None:
    """Nothing of the third batch is applied while the first one's decisions cannot be written."""
    store = ClusterSessionStore(connect_cluster(bench.servers.url, timeout_s=0.3), SPACE)
    lease = lease_of(store)
    there = next(
        node for node in bench.servers.primaries() if node is not bench.servers.owner(slot_of(SPACE.meta(ZERO)))
    )
    names = [decision_key(str(n)) for n in range(99)]
    stuck = next(name for name in names if bench.servers.owner(slot_of(name)) is there)
    first, second, third = (document(256 * n) for n in (1, 2, 3))
    free = next(name for name in names if bench.servers.owner(slot_of(name)) is not there)
    there.freeze()
    try:
        write = batch(lease, None, 1, decided=[session_of(stuck)], decisions=[first])
        assert store.begin_write([write], LIFE_MS)() == [WriteResult(APPLIED, "", 1)]
        write = batch(lease, 1, 2, decided=[session_of(free)], decisions=[second])
        assert store.begin_write([write], LIFE_MS)() == [WriteResult(APPLIED, "", 2)]
        write = batch(lease, 2, 3, decided=[session_of(free)], decisions=[third])
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="writing decisions"):
                store.begin_write([write], LIFE_MS)
        assert bench.client.hget(SPACE.meta(ZERO), "applied") == b"2"
        assert held(bench, SPACE.cross_slot_outbox_before(ZERO)) == {stuck: b"=" + first}
        assert held(bench, SPACE.cross_slot_outbox(ZERO)) == {free: b"=" + second}
    finally:
        there.thaw()
    assert store.write([write], LIFE_MS) == [WriteResult(APPLIED, "", 3)]
    assert (bench.get(stuck), bench.get(free)) == (first, third)


def test_at_rest_a_bucket_holds_nothing_for_others(bench: Bench) -> None:
    store = bench.store()
    lease = lease_of(store)
    store.write([batch(lease, None, 1, document(256))], LIFE_MS)
    assert bench.keys("*pending*")
    store.write([ShardWrite(ZERO, lease.epoch, 1, 1)], LIFE_MS)
    assert not bench.keys("*pending*")


def test_a_write_sent_again_pushes_nothing_out(bench: Bench) -> None:
    """Its answer was lost; its offset may be an unchanged one, as timers' is."""
    store = bench.store()
    lease = lease_of(store)
    docs = document(256), document(257)
    store.begin_write([batch(lease, None, 1, docs[0], number=1)], LIFE_MS)()
    timers = batch(lease, 1, 1, decided=["b"], decisions=[docs[1]], outbox=b"timers", number=2)
    store.begin_write([timers], LIFE_MS)
    assert store.begin_write([timers], LIFE_MS)() == [WriteResult(APPLIED, "", 1)]
    assert held(bench, SPACE.cross_slot_outbox_before(ZERO)) == {A: b"=" + docs[0]}
    assert held(bench, SPACE.cross_slot_outbox(ZERO)) == {"decision:b": b"=" + docs[1]}
    assert lease_of(bench.store()).outboxes == (b"outbox 1", b"timers")


def test_an_older_decision_never_replaces_a_newer_one(bench: Bench) -> None:
    """Of one topic by seq, and of one seq by when it was decided; another topic is a new one."""
    store = bench.store()
    lease = lease_of(store)
    now = now_ms()
    newer = document(512, decided=now)
    tries = [
        (newer, newer),
        (document(256, decided=now + 9), newer),
        (document(512, decided=now - 9, text="x"), newer),
        (again := document(512, decided=now + 9), again),
        (late := document(768, decided=now), late),
        (other := document(1, decided=now, space=OTHER_TOPIC), other),
    ]
    for applied, (given, stands) in enumerate(tries):
        store.write([batch(lease, applied or None, applied + 1, given)], LIFE_MS)
        assert bench.get() == stands


def test_a_text_in_a_session_id_is_no_seq(bench: Bench) -> None:
    store = bench.store()
    lease = lease_of(store)
    fake = r",\"decided_at\":1,\"source\":\"topic\",\"seq\":99999"
    first, second = document(256, text=fake), document(512, text=fake)
    store.write([batch(lease, None, 1, first)], LIFE_MS)
    store.write([batch(lease, 1, 2, second)], LIFE_MS)
    assert bench.get() == second


def test_a_deleted_decision_stays_deleted_whatever_comes_late(bench: Bench) -> None:
    """What the session decided before its end is refused; what its next life decides is not."""
    store = bench.store()
    lease = lease_of(store)
    last = document(256 * 7 + 3)
    store.write([batch(lease, None, 7, last)], LIFE_MS)
    store.write([batch(lease, 7, 9, undecided=["a"])], LIFE_MS)
    assert bench.get() is None
    store.write([batch(lease, 9, 10, last)], LIFE_MS)
    assert bench.get() is None, "a write of a worker that had been frozen"
    store.write([batch(lease, 10, 11, alive := document(256 * 10))], LIFE_MS)
    assert bench.get() == alive
    store.write([batch(lease, 11, 11, undecided=["never"])], LIFE_MS)
    assert bench.get() == alive


def test_a_late_deletion_leaves_what_was_decided_after_it(bench: Bench) -> None:
    dead = bench.store()
    lease = lease_of(dead)
    dead.write([batch(lease, None, 7, document(256 * 7))], LIFE_MS)
    dead.begin_write([batch(lease, 7, 8, undecided=["a"])], LIFE_MS)
    alive = document(256 * 9)
    bench.client.set(A, alive)
    lease_of(bench.store())
    assert bench.get() == alive


def test_a_decision_whose_time_is_over_is_not_written(bench: Bench) -> None:
    """However late a write comes: after its document's life, the mark of the deletion is not needed any more."""
    store = bench.store()
    lease = lease_of(store)
    store.write([batch(lease, None, 1, document(256, decided=now_ms() - LIFE_MS))], LIFE_MS)
    assert bench.get() is None
    store.write([batch(lease, 1, 2, document(256, decided=now_ms() - LIFE_MS + 60_000))], LIFE_MS)
    assert 0 < bench.client.pttl(A) <= 60_000
    store.write([batch(lease, 2, 3, document(512, decided=now_ms() + 600_000))], LIFE_MS)
    assert LIFE_MS - 60_000 < bench.client.pttl(A) <= LIFE_MS, "a fast clock lends no life"


def test_a_key_of_another_type_does_not_stop_the_worker(bench: Bench) -> None:
    store = bench.store()
    bench.client.hset(A, "not", "a decision")
    doc = document(256)
    store.write([batch(lease_of(store), None, 1, doc)], LIFE_MS)
    assert bench.get() == doc


def test_an_erasure_is_not_undone_by_what_is_under_way(bench: Bench) -> None:
    """Neither by what the bucket keeps nor by what its owner still sends."""
    owner = bench.store()
    lease = lease_of(owner)
    other = decision_key("other")
    docs = {A: document(256), other: document(257)}
    write = batch(
        lease,
        None,
        1,
        decided=[*map(session_of, docs)],
        decisions=[*docs.values()],
        profiles=[(SHOPPER, entry_of(1))],
    )
    finish = owner.begin_write([write], LIFE_MS)
    eraser = ClusterEraser(connect_cluster(bench.servers.url, timeout_s=5), SPACE, [ZERO, Shard(1)])
    eraser.erase({ZERO: ["a"], Shard(1): []}, fields_of([hash_text("a")], [7]), now_ms())
    eraser.forget_profile(7)
    assert held(bench, SPACE.cross_slot_outbox(ZERO)).keys() == {other}
    finish()
    lease_of(bench.store())
    assert (bench.get(), bench.get(other)) == (None, docs[other])
    assert bench.store().profiles([SHOPPER]) == [None]
    heir = bench.store()
    back = document(256 * 3)
    heir.write([batch(lease_of(heir), 1, 3, back)], LIFE_MS)
    assert bench.get() == back, "the id may come back"


def test_a_slot_that_moves_is_waited_for_and_followed(bench: Bench) -> None:
    """Half-way some of a bucket's keys are here and none there: unavailable. Then the next call finds it."""
    store = bench.store()
    lease = lease_of(store)
    store.write([batch(lease, None, 1, document(256), sessions=["a"], blobs=[b"state"])], LIFE_MS)
    with bench.servers.migrating(slot_of(SPACE.meta(ZERO))), pytest.raises(StoreUnavailable, match="TryAgainError"):
        store.write([batch(lease, 1, 2, document(512))], LIFE_MS)
    with pytest.raises(StoreUnavailable, match="MovedError") as caught:
        store.write([batch(lease, 1, 2, document(512, text="secret"))], LIFE_MS)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    write = batch(lease, 1, 2, document(512))
    assert store.write([write], LIFE_MS) == [WriteResult(APPLIED, "", 2)]
    assert store.load([(ZERO, ["a"])]) == [[b"state"]]


def test_no_batch_is_half_applied_in_a_slot_that_moves(bench: Bench) -> None:
    """Even where every key of the bucket is there: a script that deletes one and makes it again would fail half-way."""
    store = bench.store()
    lease = lease_of(store)
    state = {
        "sessions": ["a"],
        "blobs": [b"old"],
        "armed": ["a"],
        "deadlines": [5],
        "ending": ["b"],
        "expiry_buckets": [3],
        "set_aside": [SetAside("session", "x", 1, b"?")],
    }
    store.begin_write([batch(lease, None, 1, document(256), number=1, **state)], LIFE_MS)()
    store.begin_write([batch(lease, 1, 2, document(512), number=2, **state)], LIFE_MS)()
    assert sum(bench.client.exists(key) for key in SPACE.all_of(ZERO)) == len(SPACE.all_of(ZERO))
    parts = {"sessions": ["a"], "blobs": [b"new"], "passed": [3], "ending": ["c"], "expiry_buckets": [3]}
    new = batch(lease, 2, 3, document(768), number=3, acknowledged=2, **parts)
    with bench.servers.migrating(slot_of(SPACE.meta(ZERO))):
        with pytest.raises(StoreUnavailable, match="TryAgainError"):
            store.write([new], LIFE_MS)
        assert bench.client.hget(SPACE.meta(ZERO), "applied") == b"2"
        assert bench.client.hget(SPACE.states(ZERO), "a") == b"old"
        assert bench.client.lrange(SPACE.ending(ZERO, 3), 0, -1) == [b"b", b"b"]
    for _ in range(3):
        try:
            results = store.write([new], LIFE_MS)
            break
        except StoreUnavailable:
            continue
    assert results == [WriteResult(APPLIED, "", 3)]
    assert store.load([(ZERO, ["a"])]) == [[b"new"]]
    assert store.due([(ZERO, 10**15)], 10) == [Due(["a", "c"], [3])]


def test_a_decision_whose_slot_moves_lands_in_the_end(bench: Bench) -> None:
    store = bench.store()
    lease = lease_of(store)
    doc = document(256)
    write = batch(lease, None, 1, doc)
    with bench.servers.migrating(slot_of(A)), pytest.raises(StoreUnavailable, match="AskError"):
        store.write([write], LIFE_MS)
    for _ in range(3):
        try:
            results = store.write([write], LIFE_MS)
            break
        except StoreUnavailable:
            continue
    assert results[0].applied == 1
    assert bench.get() == doc


def test_the_shards_of_other_nodes_are_served_while_one_is_dead(bench: Bench) -> None:
    """And when its replica has taken over, that one is as well, without a new store."""
    store = bench.store()
    shards = [Shard(number) for number in range(12)]
    leases = store.acquire(shards, now_ms(), 0)
    victim = bench.servers.owner(slot_of(SPACE.meta(ZERO)))
    replica = bench.servers.replica_of(victim)
    alive = next(s for s in shards if bench.servers.owner(slot_of(SPACE.meta(s))) is not victim)
    victim.kill9()
    with pytest.raises(StoreUnavailable):
        store.load([(ZERO, ["a"])])
    epoch = leases[alive.partition].epoch
    assert store.write([ShardWrite(alive, epoch, None, 1)], LIFE_MS)[0].status == APPLIED
    bench.servers.promoted(replica)
    answers = []
    for _ in range(50):
        try:
            answers = store.write([ShardWrite(ZERO, leases[0].epoch, None, 1)], LIFE_MS)
            break
        except StoreUnavailable:
            time.sleep(0.1)
    assert [answer.status for answer in answers] == [APPLIED]


def test_no_node_is_asked_twice_for_one_command(bench: Bench) -> None:
    client = connect_cluster(bench.servers.url, timeout_s=1.5)
    assert client.retry.get_retries() == 0
    for node in client.get_primaries():  # type: ignore[no-untyped-call]
        options = node.redis_connection.connection_pool.connection_kwargs
        assert options["retry"].get_retries() == 0
        assert options["socket_timeout"] == 1.5


def test_a_cluster_must_be_named_as_one(bench: Bench, redis_server: RedisServer) -> None:
    def settings(url: str) -> Settings:
        return Settings(redis=SecretStr(url))

    assert isinstance(redis_client(settings(bench.servers.url)), redis.RedisCluster)
    with pytest.raises(SettingsError, match="cluster://"):
        redis_client(settings(bench.servers.nodes[0].url))
    with pytest.raises(Unsafe, match="wants nodes of a Redis Cluster"):
        redis_client(settings(f"cluster://127.0.0.1:{redis_server.port}"))
    with pytest.raises(Unsafe, match="does not answer"):
        redis_client(settings("cluster://127.0.0.1:1"))
