"""What an operator does: check, dead letters, reprocess, and a worker that refuses to start."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from featurestore.contract.partitioner import partition_of
from featurestore.store.keys import Shard
from tests.proof_eshop import PARTITIONS, Stack, stored, wait_applied, workers
from tests.services import RedisServer, produce_bomb, read_topic
from tests.services.kafka_broker import Kafka
from tests.services.process import wait_for
from worker.checks.replay_check import verify
from worker.cli import main

pytestmark = pytest.mark.parametrize("flavour", ["valkey"])
T = 1_700_000_000_000


@pytest.fixture
def stack(kafka: Kafka, redis_server: RedisServer, unique: str) -> Stack:
    made = Stack(kafka.bootstrap, redis_server, unique)
    made.make_topics()
    return made


def _produce(stack: Stack, values: list[tuple[str, bytes, int]], partition: int = -1) -> None:
    producer = Producer({"bootstrap.servers": stack.kafka, "partitioner": "murmur2_random"})
    for key, value, t in values:
        producer.produce(stack.name, value, key, partition, timestamp=t, headers=[("trace", b"t1")])
    assert producer.flush(20) == 0


def _click(session: str, t: int) -> tuple[str, bytes, int]:
    return session, json.dumps({"session_id": session, "type": "click", "ts": t}).encode(), t


def _access(stack: Stack, *names: str) -> list[str]:
    s = stack.settings()
    names = names or ("kafka", "topic", "decisions_topic", "sessions_topic", "dlq_topic", "group")
    flags = [part for name in names for part in (f"--{name.replace('_', '-')}", str(getattr(s, name)))]
    return [*flags, "--redis", stack.redis.url] if len(names) > 4 else flags


@pytest.mark.issue(20, line=5)
def test_dead_letters_are_listed_shown_and_sent_again_once(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    access = _access(stack, "kafka", "topic", "dlq_topic", "group")
    bad = b'{"session_id":"s1","type":"click","ts":-5}'
    with workers(stack, 1, tmp_path / "worker.log") as running:
        _produce(stack, [_click("s1", T), ("s1", bad, T + 7), ("k\0", b"\xff\x00not json", T)])
        split = _click("split", time.time_ns() // 1_000_000)
        for partition in (0, 1):
            _produce(stack, [split], partition)
        wait_applied(running, 5)
        assert wait_for(lambda: len(read_topic(stack.kafka, f"{stack.name}.dlq")) == 2, 20)
    _shows_all_parts_of_a_session(_access(stack), capsys)
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
    assert main(["dlq", "list", "--limit", "1", *access]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2, "the newest, and the count of all"
    assert main(["dlq", "redrive", *access]) == 0
    assert "sent 0 to" in capsys.readouterr().out, "neither is an event yet"


def _shows_all_parts_of_a_session(access: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Its events lie in two partitions; the decision stands once, by the part that it was made of."""
    assert main(["inspect", "split", *access]) == 0
    shown = capsys.readouterr().out
    assert sorted(re.findall(r"^session split, partition (\d)", shown, re.MULTILINE)) == ["0", "1"]
    assert shown.count("\ndecision\n") == 1
    home = partition_of("split", PARTITIONS)
    other = next(iter({0, 1} - {home})) if home < 2 else "[01], [01]"
    assert re.search(rf"events of this session went to partition {other}, and its key belongs to {home}: ", shown)


_MEASURES = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "worker", *sys.argv[1:]], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A process of its own: the kernel counts for a process what the one that started it held, and this one is small."""


def _peak(*command: str) -> int:
    """Bytes of memory that a command takes at most."""
    done = subprocess.run([sys.executable, "-c", _MEASURES, *command], stdout=subprocess.PIPE, check=True)
    return int(done.stdout) * 1_024


@pytest.mark.nightly
def test_a_list_of_dead_letters_holds_few_of_them_at_a_time(stack: Stack) -> None:
    """300 MB of letters, of which five are listed."""
    command = ["dlq", "list", "--limit", "5", *_access(stack, "kafka", "topic", "dlq_topic", "group")]
    without = _peak(*command)
    producer = Producer({"bootstrap.servers": stack.kafka, "queue.buffering.max.kbytes": 400_000})
    for _ in range(330):
        producer.produce(f"{stack.name}.dlq", os.urandom(900_000), "k")
    assert producer.flush(60) == 0
    assert _peak(*command) - without < 150_000_000


EVENT, NONE = _click("s1", T)[1], b"no event"


def _letters(stack: Stack, *values: bytes, partition: int = 0) -> None:
    """Dead letters of a release that refused more than this one."""
    producer = Producer({"bootstrap.servers": stack.kafka})
    why: list[tuple[str, str | bytes | None]] = [("trace", b"t1"), ("__connect.errors.timestamp", str(T + 7).encode())]
    for value in values:
        producer.produce(f"{stack.name}.dlq", value, "s1", partition=partition, headers=why)
    assert producer.flush(20) == 0


def _limit(stack: Stack, topic: str, size: int) -> None:
    """The largest record that a topic takes."""
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": stack.kafka})
    [done] = admin.incremental_alter_configs([resource]).values()
    done.result(20)
    time.sleep(0.5)  # the controller has it; the broker learns of it in a moment


def test_each_dead_letter_is_sent_once_and_none_that_stays_is_passed(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    access = ["dlq", "redrive", *_access(stack, "kafka", "topic", "dlq_topic", "group")]

    def run(*flags: str) -> str:
        assert main([*access, *flags]) == 0
        return capsys.readouterr().out.removeprefix("would ").split(" to ")[0]

    _letters(stack, NONE, EVENT, EVENT, NONE, EVENT)
    assert run("--dry-run") == "send 3"
    assert run() == "sent 3"
    consumer = Consumer({"bootstrap.servers": stack.kafka, "group.id": f"{stack.name}.redrive"})
    [kept] = consumer.committed([TopicPartition(f"{stack.name}.dlq", 0)], timeout=20)
    consumer.close()
    assert kept.offset == 0, "before the first that stays"
    assert run() == "sent 0"
    _letters(stack, EVENT)
    assert run() == "sent 1"
    _limit(stack, stack.name, 10)
    assert main([*access, "--force"]) == 7
    assert f"Kafka does not have 2 more in {stack.name} (2 MSG_SIZE_TOO_LARGE" in capsys.readouterr().err
    _limit(stack, stack.name, 1_000_000)
    assert run("--force") == "sent 2", "those that were refused, and no other"
    assert run("--force") == "sent 0"
    sent = read_topic(stack.kafka, stack.name)
    assert sorted(m.value() or b"" for m in sent) == sorted([NONE, NONE, EVENT, EVENT, EVENT, EVENT])
    assert {(m.key(), m.timestamp()[1]) for m in sent} == {(b"s1", T + 7)}
    assert {tuple(header[0] for header in m.headers() or []) for m in sent} == {("trace", "clickstage.redriven")}


def test_a_redrive_ends_where_the_letters_ended_when_it_began(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker that makes dead letters of them again must not keep it going: here each becomes one at once."""
    _letters(stack, *[NONE] * 20)
    letters = f"{stack.name}.dlq"
    access = ["--kafka", stack.kafka, "--topic", letters, "--dlq-topic", letters, "--group", stack.name]
    assert main(["dlq", "redrive", "--again", "--force", *access]) == 0
    assert capsys.readouterr().out.startswith("sent 20 to")
    assert len(read_topic(stack.kafka, letters)) == 40


def test_commands_that_read_a_topic_pass_a_batch_that_cannot_be_unpacked(
    stack: Stack, redis_client: "redis.Redis", capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Some kilobytes on any topic must not be the end of all that looks at it; what lies behind them is read."""
    settings = stack.settings()
    for topic in (settings.topic, settings.dlq_topic, settings.decisions_topic, settings.sessions_topic):
        produce_bomb(stack.kafka, topic, 2 if topic == settings.dlq_topic else 1)
    _letters(stack, EVENT)
    assert not any(verify(settings).values()), "a replay's check"
    letters = _access(stack, "kafka", "topic", "dlq_topic", "group")

    def run(*command: str) -> str:
        caplog.clear()
        assert main([*command]) == 0
        said = capfd.readouterr()
        assert "cannot unpack the batch at offsets 0 to" in caplog.text + said.err
        return said.out

    assert "2 dead letters" in run("dlq", "list", *letters)
    assert "__connect.errors.first.offset: 0" in run("dlq", "show", "0/1", *letters)
    assert run("dlq", "redrive", *letters).startswith("sent 1 to"), "the one behind the batch"
    outputs = _access(stack, "kafka", "decisions_topic", "sessions_topic")
    assert "2 documents that could not be read" in run("evaluate", "--live", *outputs)
    assert "0 decisions" in run("inspect", "s1", "--timeline", *_access(stack))
    assert "the newest 1 records lie where their keys belong" in run("check", *_access(stack))


def test_an_erasure_that_kafka_did_not_take_is_not_called_done(
    stack: Stack, redis_client: "redis.Redis", capsys: pytest.CaptureFixture[str]
) -> None:
    """A rebuild from the log would bring the shopper back: which one and what to do is said."""
    erase = ["erase", "--session", "anna o'hara", *_access(stack)]
    _limit(stack, stack.name, 10)
    assert main(erase) == 7
    said = capsys.readouterr()
    assert "repeat: clickstage erase --session 'anna o'\"'\"'hara'" in said.out
    assert "did not take the withdrawal of consent of 1 of 1 sessions (1 MSG_SIZE_TOO_LARGE" in said.err
    assert "anna" not in said.err
    _limit(stack, stack.name, 1_000_000)
    assert main(erase) == 0
    [withdrawal] = read_topic(stack.kafka, stack.name)
    assert json.loads(withdrawal.value() or b"")["consent"] is False


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
