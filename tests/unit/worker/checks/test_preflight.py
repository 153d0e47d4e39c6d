"""What the servers say of themselves, judged."""

import pytest

from worker.checks.findings import ADVICE, GOOD, VOID, Finding
from worker.checks.preflight import (
    client_findings,
    cluster_findings,
    kafka_findings,
    redis_findings,
)

GOOD_REDIS = {
    "redis_version": "7.2.4",
    "maxmemory_policy": "noeviction",
    "maxmemory": 1_000,
    "used_memory": 100,
    "role": "master",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
}
DAY = 86_400_000
GOOD_TOPIC = {"retention.ms": str(7 * DAY), "min.insync.replicas": "2", "cleanup.policy": "delete"}


def _void(findings: list[Finding]) -> list[str]:
    return [f.what for f in findings if f.level == VOID]


def test_a_sound_server_and_topic_have_nothing_to_mend() -> None:
    findings = [*redis_findings(GOOD_REDIS), *kafka_findings(GOOD_TOPIC, 16, 3, 16, DAY), *client_findings()]
    assert {f.level for f in findings} == {GOOD}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"maxmemory_policy": "volatile-lru"}, "drop sessions in silence"),
        ({"role": "slave"}, "refuses writes"),
        ({"aof_last_write_status": "err"}, "cannot be written"),
    ],
)
def test_what_voids_the_promise_in_redis(change: dict[str, str], says: str) -> None:
    [what] = _void(list(redis_findings(GOOD_REDIS | change)))
    assert says in what


@pytest.mark.parametrize(
    "change",
    [
        {"aof_enabled": 0},
        {"maxmemory": 0},
        {"used_memory": 800},
        {"used_memory": 1_200},
        {"evicted_keys": 3},
        {"redis_version": "5.0.3"},
        {"connected_slaves": 1, "min_slaves_good_slaves": 0},
    ],
)
def test_what_weakens_it_is_advice(change: dict[str, object]) -> None:
    found = list(redis_findings(GOOD_REDIS | change))
    assert not _void(found)
    assert [f.level for f in found].count(ADVICE) == 1


@pytest.mark.parametrize(
    ("change", "partitions", "says"),
    [
        ({"retention.ms": "1000"}, 16, "a rebuild goes back"),
        ({"cleanup.policy": "compact,delete"}, 16, "compacted"),
        ({"unclean.leader.election.enable": "true"}, 16, "unclean"),
        ({}, 32, "the keys were made for 16"),
    ],
)
def test_what_voids_the_promise_in_kafka(change: dict[str, str], partitions: int, says: str) -> None:
    [what] = _void(list(kafka_findings(GOOD_TOPIC | change, partitions, 3, 16, DAY)))
    assert says in what


def test_every_finding_but_a_good_one_says_what_to_change() -> None:
    bad = {"maxmemory_policy": "x", "role": "slave", "aof_enabled": 0, "evicted_keys": 1, "cluster_enabled": 1}
    findings = [
        *redis_findings(GOOD_REDIS | bad | {"maxmemory": 0}),
        *kafka_findings({"retention.ms": "1", "retention.bytes": "9", "cleanup.policy": "compact"}, 1, 1, 2, DAY),
    ]
    assert all(f.remedy for f in findings if f.level != GOOD)


def test_a_whole_cluster_with_enough_buckets_has_nothing_to_mend() -> None:
    info = {"cluster_state": "ok", "cluster_slots_ok": "16384"}
    assert {f.level for f in cluster_findings(info, {"a:1": 1, "b:1": 1, "c:1": 2}, 96)} == {GOOD}


@pytest.mark.parametrize(
    ("state", "replicas", "shards", "says"),
    [
        ("fail", {"a:1": 1}, 32, "workers wait"),
        ("ok", {"a:1": 1, "b:1": 0}, 64, "without a replica: b:1"),
        ("ok", {"a:1": 1, "b:1": 1, "c:1": 1}, 95, "96 or more"),
    ],
)
def test_what_weakens_a_cluster_is_advice(state: str, replicas: dict[str, int], shards: int, says: str) -> None:
    info = {"cluster_state": state, "cluster_slots_ok": "16384"}
    [found] = [f for f in cluster_findings(info, replicas, shards) if f.level != GOOD]
    assert found.level == ADVICE
    assert says in found.what + found.remedy
