"""Faults of Redis: frozen, slow, cut off, killed, flushed, full, demoted, and gone back in time."""

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartRedis
from tests.faults.conftest import MakeRig, central
from tests.faults.proxy import Proxy
from tests.faults.rig import Rig
from tests.faults.sentinel import SentinelServer
from worker.errors import ExitCode


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy(0)
    yield proxy
    proxy.close()


def through(bench: Rig, proxy: Proxy) -> Rig:
    """Let the rig's workers reach Redis by the proxy only."""
    proxy.target = bench.server.port
    bench.redis_url = proxy.url
    return bench


@central
def test_freeze(rig: MakeRig, seed: int) -> None:
    """22: Redis stands still for longer than a timeout; the workers wait and keep their partitions."""
    rng = random.Random(seed)
    bench = rig("22 Redis frozen", seed)
    worker = bench.start()
    bench.send()
    bench.serving()
    for _ in range(3):
        bench.server.freeze()
        seconds = rng.choice([0.3, 1.2, 4.5])
        time.sleep(seconds)
        if seconds > 4:  # the timeout of Redis, and a second until it is shown
            metrics = worker.metrics()
            assert metrics["ready"] == 0
            assert sum(v for name, v in metrics.items() if name.startswith("consumer_lag")) > 0
        bench.server.thaw()
        bench.injected += 1
        bench.recovered()
    assert worker.log.count("reading from offset") == bench.partitions, "a partition was taken away"
    bench.judge()


@central
def test_reply_lost(rig: MakeRig, proxy: Proxy, seed: int) -> None:
    """23: a script that was carried out but whose answer is lost is not carried out twice."""
    rng = random.Random(seed)
    bench = through(rig("23 answers lost", seed), proxy)
    worker = bench.start()
    bench.send()
    bench.serving()
    for _ in range(10):
        proxy.drop_replies = 1
        time.sleep(rng.uniform(0.1, 0.4))
        bench.injected += 1
    bench.recovered()
    metrics = worker.metrics()
    assert sum(v for name, v in metrics.items() if name.startswith("store_retries_total")) >= proxy.dropped - 1 > 0
    bench.judge()


def test_connection_cut(rig: MakeRig, proxy: Proxy) -> None:
    """23: connections are cut in the middle of whatever goes on."""
    bench = through(rig("23 connection cut", 23), proxy)
    bench.start()
    bench.start()
    bench.send()
    bench.serving()
    for _ in range(12):
        proxy.cut()
        time.sleep(0.2)
        bench.injected += 1
    bench.recovered()
    bench.judge()


def test_slow(rig: MakeRig, proxy: Proxy) -> None:
    """24: Redis answers after 50 to 500 ms, then after 2 s, which is longer than a timeout."""
    bench = through(rig("24 Redis slow", 24), proxy)
    bench.start()
    bench.send()
    bench.serving()
    for delay in (0.025, 0.1, 0.2, 1.0):
        proxy.delay_s = delay
        time.sleep(1.5)
        bench.injected += 1
    proxy.delay_s = 0.0
    bench.recovered()
    bench.judge()


def test_blackhole(rig: MakeRig, proxy: Proxy) -> None:
    """24: packets vanish for 3 s without any connection closing."""
    bench = through(rig("24 Redis unreachable", 25), proxy)
    bench.start()
    bench.send()
    bench.serving()
    proxy.blackhole = True
    time.sleep(3)
    proxy.blackhole = False
    bench.injected += 1
    bench.recovered()
    bench.judge()


def test_kill_and_restart_with_its_file(rig: MakeRig) -> None:
    """25: Redis is killed and comes back with everything."""
    bench = rig("25 Redis kill -9, file intact", 25)
    bench.start()
    bench.send()
    bench.serving()
    for _ in range(2):
        time.sleep(0.7)
        bench.server.kill9()
        time.sleep(0.5)
        bench.server.start()
        bench.injected += 1
        bench.recovered()
    bench.judge()


@central
def test_rollback_under_a_living_worker(rig: MakeRig, tmp_path: Path, seed: int) -> None:
    """26: Redis comes back from an older snapshot while the workers go on: they notice, and read again from there."""
    bench = rig("26 rollback, workers alive", seed)
    bench.start()
    bench.start()
    bench.send()
    bench.serving()
    snapshot = bench.server.snapshot(tmp_path / "snapshot")
    time.sleep(2)
    bench.server.roll_back(snapshot)
    bench.injected += 1
    bench.recovered()
    assert any("this worker left it at" in worker.log for worker in bench.workers), "nobody noticed"
    bench.judge()


def test_rollback_of_idle_partitions(rig: MakeRig, tmp_path: Path) -> None:
    """26: a rollback after the last event is noticed without another one."""
    bench = rig("26 rollback after the last event", 27)
    bench.start(timers="off")
    traffic = bench.send()
    bench.serving()
    snapshot = bench.server.snapshot(tmp_path / "snapshot")
    time.sleep(1)
    traffic.stop()
    bench.caught_up()
    bench.server.roll_back(snapshot)
    bench.injected += 1
    bench.recovered()
    bench.workers[0].stop()
    bench.start()
    bench.judge()


@central
def test_rollback_and_the_worker_killed_too(rig: MakeRig, tmp_path: Path, seed: int) -> None:
    """27: nobody remembers where Redis was; the next worker goes by what is stored."""
    bench = rig("27 rollback, worker killed", seed)
    bench.start()
    bench.send()
    bench.serving()
    snapshot = bench.server.snapshot(tmp_path / "snapshot")
    time.sleep(1.5)
    bench.workers[0].kill9()
    bench.server.roll_back(snapshot)
    bench.injected += 1
    bench.start()
    bench.recovered()
    bench.judge()


def test_tail_of_the_file_truncated(rig: MakeRig) -> None:
    """28: the append-only file lost its end; state and applied offset went back together."""
    rng = random.Random(28)
    bench = rig("28 append-only file truncated", 28)
    bench.server.config["aof-load-truncated"] = "yes"
    bench.start()
    bench.send()
    bench.serving()
    for _ in range(2):
        time.sleep(1)
        bench.server.kill9()
        [increment] = bench.server.directory.glob("appendonlydir/*.incr.aof")
        with increment.open("r+b") as file:
            size = increment.stat().st_size
            file.truncate(rng.randint(size // 2, size))
        bench.server.start()
        bench.injected += 1
        bench.recovered()
    bench.judge()


@central
def test_flushall(rig: MakeRig, seed: int) -> None:
    """29: everything in Redis is gone; every live session is rebuilt from the topic."""
    bench = rig("29 FLUSHALL", seed)
    worker = bench.start()
    bench.send()
    bench.serving()
    time.sleep(1.5)
    with bench.server.client() as client:
        client.flushall()
    bench.injected += 1
    bench.recovered()
    assert worker.metrics().get('rewinds_total{cause="store_lost"}', 0) >= 1
    bench.judge()


def test_restart_empty(rig: MakeRig) -> None:
    """29: Redis is replaced by an empty one, and the worker is restarted as well."""
    bench = rig("29 Redis replaced by an empty one", 29)
    bench.start()
    bench.send()
    bench.serving()
    time.sleep(1.5)
    bench.workers[0].kill9()
    bench.server.kill9()
    shutil.rmtree(bench.server.directory / "appendonlydir")
    bench.server.start()
    bench.injected += 1
    bench.start()
    bench.recovered()
    bench.judge()


def test_stale_replica_promoted(rig: MakeRig, proxy: Proxy, own_redis: StartRedis) -> None:
    """30: the replica had lost its link, the primary dies, the replica takes its place with older data."""
    bench = through(rig("30 stale replica promoted", 30), proxy)
    link = Proxy(bench.server.port)
    replica = own_redis(bench.server.flavour, {"replicaof": f"127.0.0.1 {link.port}"})
    bench.start()
    bench.send()
    bench.serving()
    time.sleep(1)
    link.close()
    time.sleep(2)
    bench.server.kill9()
    bench.server = replica
    with replica.client() as client:
        client.execute_command("REPLICAOF", "NO", "ONE")
    proxy.target = replica.port
    proxy.cut()
    bench.injected += 1
    bench.recovered()
    bench.judge()


def test_primary_demoted_at_the_same_address(rig: MakeRig, proxy: Proxy, own_redis: StartRedis) -> None:
    """31: the primary becomes a replica without closing connections; READONLY is no reason to stay on it for ever."""
    bench = through(rig("31 primary demoted", 31), proxy)
    replica = own_redis(bench.server.flavour, {"replicaof": f"127.0.0.1 {bench.server.port}"})
    worker = bench.start()
    bench.send()
    bench.serving()
    time.sleep(1)
    with replica.client() as client:
        client.execute_command("REPLICAOF", "NO", "ONE")
    old = bench.server
    bench.server = replica
    proxy.target = replica.port
    with old.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", str(replica.port))
    bench.injected += 1
    bench.recovered()
    assert bench.recovery_s < 5
    assert "ReadOnlyError" in worker.log
    bench.judge()


def test_no_replicas(rig: MakeRig) -> None:
    """32: Redis refuses writes because no replica follows: the worker waits and says that it is not ready."""
    bench = rig("32 NOREPLICAS", 32)
    worker = bench.start()
    bench.send()
    bench.serving()
    with bench.server.client() as client:
        client.config_set("min-replicas-to-write", "1")
        time.sleep(2)
        assert "Redis failed" in worker.http("/ready")
        assert worker.http("/live") == "live\n"
        client.config_set("min-replicas-to-write", "0")
    bench.injected += 1
    bench.recovered()
    bench.judge()


def test_full(rig: MakeRig) -> None:
    """34: Redis is full and evicts nothing: the worker waits, not ready, and goes on once there is room."""
    bench = rig("34 maxmemory, noeviction", 34)
    worker = bench.start()
    bench.send()
    bench.serving()
    with bench.server.client() as client:
        client.config_set("maxmemory", "1mb")
        bench.until(lambda: "OutOfMemoryError" in worker.log, "the worker hears that Redis is full")
        time.sleep(1.5)
        assert "Redis failed" in worker.http("/ready"), worker.tail()
        client.config_set("maxmemory", "0")
    bench.injected += 1
    bench.recovered()
    bench.judge()


def test_script_flush(rig: MakeRig) -> None:
    """36: the server forgets the scripts; they are loaded again, nobody notices."""
    bench = rig("36 SCRIPT FLUSH", 36)
    bench.start()
    bench.send()
    bench.serving()
    with bench.server.client() as client:
        for _ in range(5):
            client.script_flush()
            bench.injected += 1
            time.sleep(0.3)
    bench.recovered()
    bench.judge()


def test_an_erased_session_stays_erased(rig: MakeRig, tmp_path: Path) -> None:
    """45: neither a rollback to before the erasure nor a total loss of Redis brings an erased session back."""
    bench = rig("45 erased, then rolled back, then lost", 45)
    worker = bench.start(timers="off")
    traffic = bench.send(rate=100)
    bench.serving()
    time.sleep(1)
    traffic.stop()
    bench.caught_up()
    victim = max(traffic.sent, key=lambda name: traffic.sent[name])
    assert bench.stored(victim)
    snapshot = bench.server.snapshot(tmp_path / "snapshot")
    bench.command("erase", "--session", victim)
    bench.caught_up()
    assert not bench.stored(victim)
    bench.server.roll_back(snapshot)
    bench.injected += 1
    bench.recovered()
    bench.until(lambda: not bench.stored(victim), "the erased session is gone again", 15)
    with bench.server.client() as client:
        client.flushall()
    bench.injected += 1
    bench.recovered()
    bench.until(lambda: not bench.stored(victim), "the erased session is gone again", 15)
    assert worker.status is None
    worker.stop()
    del traffic.sent[victim]  # its events count for nobody any more
    bench.start()
    bench.judge()


def test_evicting_redis_is_refused(rig: MakeRig) -> None:
    """35: a Redis that evicts would lose sessions one by one, in silence: no worker starts on it."""
    bench = rig("35 allkeys-lru", 35)
    bench.start()
    bench.send()
    bench.serving()
    with bench.server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        late = bench.start(ready=False)
        assert late.ended(20) == ExitCode.UNSAFE
        assert "noeviction" in late.log
        client.config_set("maxmemory-policy", "noeviction")
    bench.injected += 1
    bench.start()
    bench.recovered()
    bench.judge()


def test_sentinel_fails_over(rig: MakeRig, own_redis: StartRedis, tmp_path: Path) -> None:
    """30: the primary dies, Sentinel promotes the replica, which may lack what was acknowledged last."""
    bench = rig("30 failover by Sentinel", 33)
    replica = own_redis(bench.server.flavour, {"replicaof": f"127.0.0.1 {bench.server.port}"})
    with SentinelServer(bench.server, tmp_path / "sentinel") as sentinel:
        bench.redis_url = sentinel.url
        bench.start()
        bench.start()
        bench.send()
        bench.serving()
        time.sleep(1)
        bench.server.kill9()
        bench.server = replica
        bench.injected += 1
        bench.recovered()
        bench.judge()
