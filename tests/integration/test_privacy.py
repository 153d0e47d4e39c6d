"""Erasure, withdrawn consent and hashed ids, from the command line to Redis and back through a replay."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from confluent_kafka import Producer

from featurestore.columns.hashing import hash_text
from featurestore.contract.ids import IdKey
from tests.proof_eshop import PARTITIONS, Stack, stored, workers
from tests.services import RedisServer
from tests.services.kafka_broker import Kafka
from tests.services.process import wait_for
from worker.cli import main

pytestmark = pytest.mark.parametrize("flavour", ["redis"])
KEY = "a7" * 32


@pytest.fixture
def stack(kafka: Kafka, redis_server: RedisServer, unique: str) -> Stack:
    made = Stack(kafka.bootstrap, redis_server, unique)
    made.make_topics()
    return made


def _click(stack: Stack, session: str, **fields: Any) -> None:
    now = time.time_ns() // 1_000_000
    event = {"session_id": session, "type": "view_item", "ts": now, "page": "/p", **fields}
    producer = Producer({"bootstrap.servers": stack.kafka, "partitioner": "murmur2_random"})
    producer.produce(stack.name, json.dumps(event), session, timestamp=now)
    assert producer.flush(20) == 0


def _access(stack: Stack) -> list[str]:
    s = stack.settings()
    names = ("kafka", "topic", "decisions_topic", "sessions_topic", "dlq_topic", "group")
    flags = [part for name in names for part in (f"--{name.replace('_', '-')}", str(getattr(s, name)))]
    return [*flags, "--redis", stack.redis.url]


def _clicks_of(stack: Stack, client: "redis.Redis", session: str) -> Callable[[int], bool]:
    return lambda n: wait_for(
        lambda: stored(client, stack.namespace(), PARTITIONS).get(session, [0.0, 0.0])[1] == n, 20
    )


def test_an_erased_session_stays_erased_and_may_begin_anew(
    stack: Stack, redis_client: "redis.Redis", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """State, deadline and decision go at once; neither the running worker nor a replay brings them back."""
    has = _clicks_of(stack, redis_client, "anna")
    with workers(stack, 1, tmp_path / "worker.log"):
        for _ in range(3):
            _click(stack, "anna")
        _click(stack, "berta")
        assert has(3)
        assert _clicks_of(stack, redis_client, "berta")(1)
        assert redis_client.exists("decision:anna")
        assert main(["inspect", "anna", *_access(stack)]) == 0
        assert "events                  view_item 3" in capsys.readouterr().out
        assert main(["erase", "--session", "anna", *_access(stack)]) == 0
        said = capsys.readouterr().out
        assert said.startswith("1 session states removed\n1 deadlines removed\n1 decisions removed\n")
        assert has(0)
        assert not redis_client.exists("decision:anna")
        assert main(["inspect", "anna", *_access(stack)]) == 9
        capsys.readouterr()
        assert main(["inspect", "nobody", *_access(stack)]) == 9
        assert "nothing is stored of it" in capsys.readouterr().out
        _click(stack, "anna")
        assert has(1), "a new visit is a new session"
    kept: Any = redis_client.hgetall(stack.namespace().erased())
    redis_client.flushall()
    redis_client.hset(stack.namespace().erased(), mapping=kept)
    with workers(stack, 1, tmp_path / "again.log"):
        assert has(1), "rebuilt from the log: what came after the erasure, and only that"
        assert _clicks_of(stack, redis_client, "berta")(1)


def test_the_log_itself_remembers_an_erasure_when_redis_forgets_its_tombstones(
    stack: Stack, redis_client: "redis.Redis", tmp_path: Path
) -> None:
    with workers(stack, 1, tmp_path / "worker.log"):
        _click(stack, "anna")
        _click(stack, "berta")
        assert _clicks_of(stack, redis_client, "anna")(1)
        assert main(["erase", "--session", "anna", *_access(stack)]) == 0
    redis_client.flushall()
    with workers(stack, 1, tmp_path / "again.log"):
        assert _clicks_of(stack, redis_client, "berta")(1)
        assert _clicks_of(stack, redis_client, "anna")(0)


def test_an_erased_visitor_loses_every_live_session_and_the_profile(
    stack: Stack, redis_client: "redis.Redis", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = stack.namespace().visitor(hash_text("vera"))
    redis_client.set(profile, b"\1\0" + bytes(18))
    with workers(stack, 1, tmp_path / "worker.log"):
        for session in ("v1", "v2", "v3"):
            _click(stack, session, visitor_id="vera")
        _click(stack, "other", visitor_id="olga")
        assert wait_for(lambda: len(stored(redis_client, stack.namespace(), PARTITIONS)) == 4, 20)
        assert main(["erase", "--visitor", "vera", *_access(stack)]) == 0
        assert "3 session states removed" in capsys.readouterr().out
        assert stored(redis_client, stack.namespace(), PARTITIONS).keys() == {"other"}
        assert not redis_client.exists(profile)
        assert not redis_client.exists("decision:v1", "decision:v2", "decision:v3")


def test_withdrawn_consent_clears_state_and_decision(stack: Stack, redis_client: "redis.Redis", tmp_path: Path) -> None:
    with workers(stack, 1, tmp_path / "worker.log"):
        _click(stack, "cleo")
        assert _clicks_of(stack, redis_client, "cleo")(1)
        assert wait_for(lambda: bool(redis_client.exists("decision:cleo")), 5)
        _click(stack, "cleo", consent=False)
        assert _clicks_of(stack, redis_client, "cleo")(0)
        assert not redis_client.exists("decision:cleo")


def test_hashed_ids_leave_no_id_in_redis_and_readers_find_their_decision(
    stack: Stack, redis_client: "redis.Redis", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with workers(stack, 1, tmp_path / "worker.log", {"CLICKSTAGE_ID_KEY": KEY}):
        _click(stack, "dora", visitor_id="dora-person")
        name = IdKey.of(KEY).session("dora")
        assert _clicks_of(stack, redis_client, name)(1)
        assert wait_for(lambda: bool(redis_client.exists(f"decision:{name}")), 5)
        for key in cast("list[bytes]", redis_client.keys("*")):
            assert b"dora" not in key
            assert b"dora" not in cast(bytes, redis_client.dump(key))
        monkeypatch.setenv("CLICKSTAGE_ID_KEY", KEY)
        assert main(["inspect", "dora", *_access(stack)]) == 0
        assert main(["erase", "--visitor", "dora-person", *_access(stack)]) == 0
        assert _clicks_of(stack, redis_client, name)(0)
