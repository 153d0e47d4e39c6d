"""What an operator does: check, dead letters, reprocess, and a worker that refuses to start."""

import json
import re
from pathlib import Path

import pytest
import redis
from confluent_kafka import Producer

from featurestore.store.keys import Shard
from tests.proof_eshop import PARTITIONS, Stack, stored, wait_applied, workers
from tests.services import RedisServer, read_topic
from tests.services.kafka_broker import Kafka
from tests.services.process import wait_for
from worker.cli import main

pytestmark = pytest.mark.parametrize("flavour", ["valkey"])
T = 1_700_000_000_000


@pytest.fixture
def stack(kafka: Kafka, redis_server: RedisServer, unique: str) -> Stack:
    made = Stack(kafka.bootstrap, redis_server, unique)
    made.make_topics()
    return made


def _produce(stack: Stack, values: list[tuple[str, bytes, int]]) -> None:
    producer = Producer({"bootstrap.servers": stack.kafka, "partitioner": "murmur2_random"})
    for key, value, t in values:
        producer.produce(stack.name, value, key, timestamp=t, headers=[("trace", b"t1")])
    assert producer.flush(20) == 0


def _click(session: str, t: int) -> tuple[str, bytes, int]:
    return session, json.dumps({"session_id": session, "type": "click", "ts": t}).encode(), t


def _access(stack: Stack, *names: str) -> list[str]:
    s = stack.settings()
    names = names or ("kafka", "topic", "decisions_topic", "sessions_topic", "dlq_topic", "group")
    flags = [part for name in names for part in (f"--{name.replace('_', '-')}", str(getattr(s, name)))]
    return [*flags, "--redis", stack.redis.url] if len(names) > 4 else flags


def test_dead_letters_are_listed_shown_and_sent_again_once(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    access = _access(stack, "kafka", "topic", "dlq_topic", "group")
    bad = b'{"session_id":"s1","type":"click","ts":-5}'
    with workers(stack, 1, tmp_path / "worker.log") as running:
        _produce(stack, [_click("s1", T), ("s1", bad, T + 7), ("k\0", b"\xff\x00not json", T)])
        wait_applied(running, 3)
        assert wait_for(lambda: len(read_topic(stack.kafka, f"{stack.name}.dlq")) == 2, 20)
    assert main(["dlq", "list", *access]) == 0
    listed = capsys.readouterr().out
    assert "schema: `$.ts` must be milliseconds since 1970" in listed
    assert "2 dead letters" in listed
    [where] = re.findall(r"^(\d+/\d+) .*schema", listed, re.MULTILINE)
    assert main(["dlq", "show", where, *access]) == 0
    shown = capsys.readouterr().out
    assert bad.decode() in shown
    assert "__connect.errors.reason: schema" in shown
    assert "trace: t1" in shown
    assert main(["dlq", "redrive", *access]) == 0
    assert "sent 0 to" in capsys.readouterr().out, "neither is an event yet"
    monkeypatch.setattr("worker.commands.dlq._is_event", lambda value: value == bad)  # a repaired decoder
    for wanted in ("sent 1 to", "sent 0 to"):
        again = ["--again"] if wanted == "sent 1 to" else []
        assert main(["dlq", "redrive", *again, *access]) == 0
        assert wanted in capsys.readouterr().out
    [first, second] = [m for m in read_topic(stack.kafka, stack.name) if m.value() == bad]
    assert (second.key(), second.timestamp()) == (first.key(), first.timestamp())
    assert [header[0] for header in second.headers() or []] == ["trace", "clickstage.redriven"]


def test_a_group_reads_the_log_again_from_a_given_time(
    stack: Stack, redis_client: "redis.Redis", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hour = 3_600_000
    early = [_click(f"s{i}", T) for i in range(20)]
    late = [_click(f"s{i}", T + hour) for i in range(10)]
    with workers(stack, 1, tmp_path / "worker.log") as running:
        _produce(stack, [*early, *late])
        wait_applied(running, 30)
        assert main(["reprocess", "--since", "beginning", *_access(stack)]) == 2
        assert "stop them first" in capsys.readouterr().err
    old = stack.namespace()
    redis_client.zadd(old.ends(Shard(1)), {"7": 7})
    redis_client.rpush(old.ending(Shard(1), 7), "quiet")
    assert main(["reprocess", "--since", "2023-11-14T22:43:20", *_access(stack)]) == 0, "half an hour after T"
    assert f"generation 1 of group {stack.name}" in capsys.readouterr().out
    assert not redis_client.exists(*(old.states(Shard(p)) for p in range(PARTITIONS)))
    assert not redis_client.exists(old.ends(Shard(1)), old.ending(Shard(1), 7)), "nor who was quiet"
    with workers(stack, 1, tmp_path / "again.log") as running:
        assert wait_applied(running, 10) == {"applied": 10.0}
        space = stack.namespace(1)
        assert wait_for(lambda: stored(redis_client, space, PARTITIONS).keys() == {f"s{i}" for i in range(10)}, 10)


def test_check_says_what_voids_the_promise_and_the_worker_refuses_the_worst(
    stack: Stack, redis_client: "redis.Redis", capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *_access(stack)]) == 0
    said = capfd.readouterr().out
    assert "ok      maxmemory-policy noeviction" in said
    assert "ok      Valkey 9" in said
    assert "advice  one replica: a lost disk loses the log" in said
    try:
        redis_client.config_set("maxmemory-policy", "allkeys-lru")
        assert main(["check", *_access(stack)]) == 7
        assert "unsafe  maxmemory-policy is allkeys-lru" in capfd.readouterr().out
        assert main(["worker", *_access(stack)]) == 7
        assert "set maxmemory-policy noeviction" in capfd.readouterr().err
    finally:
        redis_client.config_set("maxmemory-policy", "noeviction")
    try:
        redis_client.replicaof("127.0.0.1", "1")
        assert main(["worker", *_access(stack)]) == 7
        assert "point CLICKSTAGE_REDIS at the primary" in capfd.readouterr().err
    finally:
        redis_client.replicaof("NO", "ONE")


def test_no_bundle_no_kafka_no_redis_are_three_lines_that_say_what_to_do(
    stack: Stack, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nowhere = ["--kafka", "127.0.0.1:1", "--redis", "redis://127.0.0.1:1/0", "--bundle", str(tmp_path / "none")]
    assert main(["worker", *nowhere]) == 3
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 3
    for line, text in zip(
        lines, ("bundle", "Kafka at 127.0.0.1:1 does not answer", "Redis does not answer"), strict=True
    ):
        assert text in line
