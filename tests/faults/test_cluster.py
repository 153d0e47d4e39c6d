"""33: faults of a Redis Cluster: a node dead, frozen or gone back in time, slots that move, a worker between writes."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest

from featurestore.store.cluster import cross_slot_outbox
from tests.faults.conftest import MakeRig, central
from tests.faults.rig import Rig
from tests.run_services import RunServices
from tests.services.redis_cluster import ClusterServers, ask, slot_of

BUCKETS = 8
"""For each of four partitions: about ten a primary, so that every fault of a node takes some and leaves some."""


@pytest.fixture
def cluster(services: RunServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServers]:
    """The run's Cluster, empty and whole; whole again afterwards."""
    servers = services.cluster("redis", lambda: tmp_path_factory.mktemp("cluster"))
    servers.empty()
    yield servers
    servers.healthy()


@pytest.fixture
def on_cluster(rig: MakeRig, cluster: ClusterServers) -> Callable[[str, int], Rig]:
    """Makes a rig on the Cluster."""

    def make(name: str, seed: int) -> Rig:
        bench = rig(f"33 Cluster: {name}", seed, server=cluster.nodes[0])
        bench.use_cluster(cluster, BUCKETS)
        return bench

    return make


OnCluster = Callable[[str, int], Rig]


def test_cluster_nothing_fails(on_cluster: OnCluster, cluster: ClusterServers) -> None:
    """Decided on a Cluster as on one node, and nothing is left in the buckets in the end."""
    bench = on_cluster("nothing fails", 1)
    bench.start()
    bench.start()
    traffic = bench.send()
    bench.serving()
    time.sleep(2)
    bench.recovered()
    traffic.stop()
    bench.quiet()
    bench.until(lambda: not left_pending(bench), "the buckets owe nothing")
    bench.judge()


@central
def test_cluster_primary_killed(on_cluster: OnCluster, cluster: ClusterServers, seed: int) -> None:
    """A primary dies; its replica is voted in, and the workers follow by themselves."""
    bench = on_cluster("primary killed", seed)
    bench.send()
    bench.start()
    bench.serving()
    victim = random.Random(seed).choice(cluster.primaries())
    replica = cluster.replica_of(victim)
    victim.kill9()
    bench.injected += 1
    cluster.promoted(replica)
    bench.recovered()
    bench.judge()


@central
def test_cluster_stale_replica_promoted(on_cluster: OnCluster, cluster: ClusterServers, seed: int) -> None:
    """A replica that had lost its primary takes its place: some buckets go back in time, the others do not."""
    bench = on_cluster("stale replica promoted", seed)
    # Small batches: what is read again ends before the buckets that did not go back begin.
    bench.start(batch_max=16)
    bench.start(batch_max=16)
    bench.send()
    bench.serving()
    victim = random.Random(seed).choice(cluster.primaries())
    replica = cluster.replica_of(victim)
    cluster.cut_off(replica, victim)
    time.sleep(2)
    victim.kill9()
    bench.injected += 1
    cluster.promoted(replica)
    bench.recovered()
    assert any("this worker left it at" in worker.log for worker in bench.workers), "nobody noticed"
    assert skipped(bench) == 0, "events came to a bucket twice, and only their ids kept them from being counted"
    bench.judge()


def test_cluster_primary_frozen(on_cluster: OnCluster, cluster: ClusterServers) -> None:
    """A primary stands still until it is replaced, and comes back with what it had been sent."""
    bench = on_cluster("primary frozen and replaced", 3)
    bench.start()
    bench.send()
    bench.serving()
    victim = random.Random(3).choice(cluster.primaries())
    replica = cluster.replica_of(victim)
    victim.freeze()
    bench.injected += 1
    try:
        cluster.promoted(replica)
        time.sleep(1)
    finally:
        victim.thaw()
    bench.recovered()
    bench.judge()


@central
def test_cluster_slots_migrate(on_cluster: OnCluster, cluster: ClusterServers, seed: int) -> None:
    """Slots of buckets and of decisions move to other primaries under load; a half-moved one is waited for."""
    rng = random.Random(seed)
    bench = on_cluster("slots migrate", seed)
    bench.start()
    traffic = bench.send()
    bench.serving()
    for _ in range(4):
        number = rng.randrange(bench.partitions)
        bucket = slot_of(bench.namespace.meta(bench.shards(number)[rng.randrange(BUCKETS)]))
        session = rng.choice(list(traffic.sent)[-20:])
        for slot in (bucket, slot_of(f"decision:{session}")):
            with cluster.migrating(slot):
                time.sleep(rng.uniform(0.1, 1.0))
            bench.injected += 1
    bench.recovered()
    bench.judge()


@central
def test_cluster_sigkill_before_the_decisions(on_cluster: OnCluster, cluster: ClusterServers, seed: int) -> None:
    """A worker dies after the fence and before its decisions: whoever takes the buckets next writes them first."""
    bench = on_cluster("SIGKILL before the decisions", seed)
    traffic = bench.send()
    life = ["decisions_live", 60_000]
    nth = random.Random(seed).randint(20, 60)
    worker = bench.start(patches=[life, ["die_before_decisions", nth]], ready=False, timers="off")
    assert worker.ended(40) == -9
    bench.injected += 1
    traffic.stop()
    owed = left_pending(bench)
    assert owed, "the worker left nothing to write"
    assert not landed(bench, owed), "it had been written"
    # Without timers, only a session's next event decides it again, and few have one.
    bench.start(patches=[life], timers="off")
    bench.recovered()
    bench.until(lambda: landed(bench, owed), "what was left is written", 10)
    assert bench.workers[-1].stop() == 0
    bench.start(patches=[life])
    bench.judge()


def test_cluster_script_flush(on_cluster: OnCluster, cluster: ClusterServers) -> None:
    """Every node forgets the scripts; they are given again, nobody notices."""
    bench = on_cluster("SCRIPT FLUSH", 6)
    worker = bench.start()
    bench.send()
    bench.serving()
    for _ in range(5):
        for node in cluster.nodes:
            ask(node, "SCRIPT", "FLUSH")
        bench.injected += 1
        time.sleep(0.3)
    bench.recovered()
    assert "Redis failed" not in worker.log
    bench.judge()


def test_cluster_connections_cut(on_cluster: OnCluster, cluster: ClusterServers) -> None:
    """Connections break in the middle of whatever goes on: fences without an answer, decisions half written."""
    bench = on_cluster("connections cut", 7)
    worker = bench.start()
    bench.send()
    bench.serving()
    for _ in range(15):
        for node in cluster.primaries():
            ask(node, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        bench.injected += 1
        time.sleep(0.15)
    bench.recovered()
    assert "Redis failed" in worker.log
    bench.judge()


def test_cluster_an_erased_session_stays_erased(on_cluster: OnCluster, cluster: ClusterServers) -> None:
    """Neither what its owner had under way nor a total loss brings an erased session back."""
    bench = on_cluster("erased, then lost", 8)
    worker = bench.start(timers="off")
    traffic = bench.send(rate=100)
    bench.serving()
    time.sleep(1)
    victim = max(traffic.sent, key=lambda name: traffic.sent[name])
    traffic.stop()
    bench.caught_up()
    assert bench.stored(victim)
    said = bench.command("erase", "--session", victim)
    assert "1 session states removed" in said
    assert "session" in bench.command("inspect", max(set(traffic.sent) - {victim}))
    bench.caught_up()
    assert not bench.stored(victim)
    for node in cluster.primaries():
        ask(node, "FLUSHALL")
    bench.injected += 1
    bench.recovered()
    bench.until(lambda: not bench.stored(victim), "the erased session is gone again", 15)
    assert worker.status is None
    bench.note()


def skipped(bench: Rig) -> float:
    """How many events the workers took for duplicates of their producer."""
    return sum(worker.metrics().get("duplicates_skipped_total", 0) for worker in bench.workers)


def left_pending(bench: Rig) -> dict[str, bytes]:
    """What the buckets still hold for other slots."""
    left: dict[str, bytes] = {}
    with bench.client() as client:
        for number in range(bench.partitions):
            for shard in bench.shards(number):
                for key in (bench.namespace.cross_slot_outbox_before(shard), bench.namespace.cross_slot_outbox(shard)):
                    left.update(cross_slot_outbox.stored(client.hgetall(key))[0])
    return left


def landed(bench: Rig, owed: Mapping[str, bytes]) -> bool:
    """Whether every decision stands as the bucket holds it, or a newer one, or is deleted."""
    with bench.client() as client:
        for key, value in owed.items():
            stored: Any = client.get(key)
            if client.exists(bench.namespace.gone(key)):
                continue
            if value[:1] == cross_slot_outbox.DELETE or stored is None:
                return False
            if msgspec.json.decode(stored)["seq"] < msgspec.json.decode(value[1:])["seq"]:
                return False
    return True
