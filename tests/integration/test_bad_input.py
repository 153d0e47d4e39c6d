"""Whatever a producer sends, the worker goes on: a dead letter with a reason, or accepted by a stated rule."""

import json
import time
from pathlib import Path

import pytest
import redis
from confluent_kafka import Producer

from tests.proof_eshop import PARTITIONS, Stack, stored, wait_applied, workers
from tests.services import RedisServer, read_topic
from tests.services.kafka_broker import Kafka

pytestmark = pytest.mark.parametrize("flavour", ["redis"])
NOW = time.time_ns() // 1_000_000


def _json(**fields: object) -> bytes:
    return json.dumps({"session_id": "s", "type": "view_item", "ts": NOW, **fields}).encode()


DEAD: dict[str, tuple[bytes | None, str]] = {
    "not JSON": (b"hello", "not_json"),
    "truncated JSON": (_json()[:-7], "not_json"),
    "empty": (b"", "not_json"),
    "bytes": (b"\xff\xfe\x00", "not_json"),
    "an array": (b"[]", "schema"),
    "deep nesting": (
        b'{"session_id":"s","type":"click","ts":1,"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        "not_json",
    ),
    "wrong types": (_json(ts="now"), "schema"),
    "missing fields": (b'{"ts":1}', "schema"),
    "negative ts": (_json(ts=-1), "schema"),
    "a lone surrogate": (b'{"session_id":"\\ud800","type":"click","ts":1}', "schema"),
    "nearly 1 MB": (_json(page="p" * 800_000), "too_large"),
    "no session": (_json(session_id=""), "schema"),
}
ACCEPTED: dict[str, tuple[bytes | None, bytes | None]] = {
    "far future ts: the record's time counts": (b"future", _json(session_id="future", ts=2**53 - 1)),
    "far past ts: the record's time counts": (b"past", _json(session_id="past", ts=0)),
    "NUL": (b"a\0b", _json(session_id="a\0b")),
    "empty key": (b"", _json(session_id="empty-key")),
    "no key": (None, _json(session_id="no-key")),
    "a key of another session: the id in the event counts": (b"other", _json(session_id="mine")),
    "an unknown type counts as click": (b"odd", _json(session_id="odd", type="teleport")),
    "unknown fields and versions": (b"new", _json(session_id="new", mood="good", v=7)),
    "a huge quantity costs the quantity": (b"huge", _json(session_id="huge", quantity=10**9)),
    "a price that is no number costs the price": (b"no-number", _json(session_id="no-number", price=float("nan"))),
    "an infinite price costs the price": (b"infinite", _json(session_id="infinite", price=0).replace(b"0}", b"1e999}")),
    "odd characters": ("ü✓".encode(), _json(session_id="ü✓ {x}:y")),
}


def test_the_worker_never_stops_for_a_record(
    kafka: Kafka, redis_server: RedisServer, redis_client: "redis.Redis", unique: str, tmp_path: Path
) -> None:
    stack = Stack(kafka.bootstrap, redis_server, unique)
    stack.make_topics()
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random"})
    with workers(stack, 1, tmp_path / "worker.log") as running:
        for name, (value, _) in DEAD.items():
            producer.produce(unique, value, name)
        producer.produce(unique, None, "tombstone")
        for key, value in ACCEPTED.values():
            producer.produce(unique, value, key)
        producer.produce(unique, _json(session_id="last"), "last")
        assert producer.flush(20) == 0
        outcomes = wait_applied(running, len(DEAD) + len(ACCEPTED) + 1)
        assert outcomes == {"applied": len(ACCEPTED) + 1, "dead_letter": len(DEAD)}
    letters = {(m.key() or b"").decode(): m for m in read_topic(kafka.bootstrap, f"{unique}.dlq")}
    assert letters.keys() == DEAD.keys()
    for name, (value, reason) in DEAD.items():
        assert letters[name].value() == value, "the original bytes"
        headers = dict(letters[name].headers() or [])
        assert headers["__connect.errors.reason"] == reason.encode()
        assert headers["__connect.errors.exception.message"]
    found = stored(redis_client, stack.namespace(), PARTITIONS)
    assert found.keys() == {json.loads(value or b"")["session_id"] for _, value in ACCEPTED.values()} | {"last"}
    assert all(redis_client.exists(f"decision:{session}") for session in found)
