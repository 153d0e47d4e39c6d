"""The edge while something behind it is away, or somebody in front of it is slow; and an edge that is killed."""

import json
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from tests.conftest import StartKafka, StartRedis
from tests.integration.edges import EdgeProcess, Page
from tests.integration.shopfloor import PATIENCE_S, Shopfloor, now_ms
from tests.services import RedisServer, create_topics, read_topic
from tests.services.kafka_broker import Kafka
from tests.services.process import wait_for

SECRET: Final = "ab" * 32
TOPICS: Final = {"clicks": 2, "exposures": 1, "decisions": 1, "sessions": 1, "clicks.dlq": 1}


class StartEdge(Protocol):
    """Starts an edge on a Kafka and a Redis, and waits until it is ready."""

    def __call__(self, bootstrap: str, redis: str, *flags: str) -> EdgeProcess: ...


@pytest.fixture
def start_edge(tmp_path: Path) -> Iterator[StartEdge]:
    """Starts edges that belong to this test alone."""
    started: list[EdgeProcess] = []

    def start(bootstrap: str, redis: str, *flags: str) -> EdgeProcess:
        own = ["--kafka", bootstrap, "--redis", redis, "--edge-secret", SECRET, "--edge-patience-s", "1"]
        started.append(EdgeProcess("edge", tmp_path / "edge", [*own, *flags]))
        return started[-1].start_waiting()

    yield start
    for edge in started:
        edge.stop()


def _event(number: int) -> dict[str, Any]:
    return {"type": "page_view", "ts": now_ms(), "page": f"/{number}", "event_id": f"e{number}"}


def _send(page: Page, numbers: Sequence[int]) -> None:
    for number in numbers:
        assert page.send(_event(number)).status == 202


def _ids(bootstrap: str) -> list[str]:
    """Event ids in the log, each where it first came."""
    return list(
        dict.fromkeys(json.loads(message.value() or b"")["event_id"] for message in read_topic(bootstrap, "clicks"))
    )


@pytest.mark.timeout(600)
def test_events_outlive_kafka_away_and_an_edge_killed_meanwhile(
    own_kafka: StartKafka, own_redis: StartRedis, start_edge: StartEdge, tmp_path: Path
) -> None:
    """What was answered with 202 is in the log in the end, a session's events in the order sent."""
    broker, store = own_kafka(), own_redis("redis")
    create_topics(broker.bootstrap, TOPICS)
    spool = tmp_path / "spool"
    edge = start_edge(broker.bootstrap, store.url, "--edge-spool", str(spool))
    page = edge.page()
    _send(page, range(5))
    broker.kill9()
    _send(page, range(5, 20))
    assert (spool / "waiting").exists()
    edge.kill9()
    edge.start_waiting()  # Kafka is still away
    assert edge.ask("GET", "/readyz").json == {"events": True, "kafka": False, "decisions": False}
    _send(page, range(20, 25))
    broker.start()
    assert wait_for(lambda: not (spool / "waiting").exists(), PATIENCE_S), edge.log_tail()
    _send(page, range(25, 30))
    assert _ids(broker.bootstrap) == [f"e{number}" for number in range(30)]
    assert wait_for(lambda: edge.metric("clickstage_edge_replayed_total") >= 20, PATIENCE_S)


@pytest.mark.timeout(600)
def test_without_a_spool_kafka_away_is_a_503_that_says_when_to_come_back(
    own_kafka: StartKafka, own_redis: StartRedis, start_edge: StartEdge, tmp_path: Path
) -> None:
    broker, store = own_kafka(), own_redis("redis")
    create_topics(broker.bootstrap, TOPICS)
    edge = start_edge(broker.bootstrap, store.url)
    page = edge.page()
    broker.kill9()
    answer = page.send(_event(1))
    assert answer.status == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    assert edge.ask("GET", "/readyz").status == 503
    broker.start()
    assert wait_for(lambda: page.send(_event(1)).status == 202, PATIENCE_S)
    assert _ids(broker.bootstrap) == ["e1"]


@pytest.mark.timeout(600)
def test_redis_away_the_last_known_decision_then_the_neutral_one(
    own_kafka: StartKafka, own_redis: StartRedis, start_edge: StartEdge, tmp_path: Path
) -> None:
    """Events are collected all the same, and a stream goes on once Redis is back."""
    broker, store = own_kafka(), own_redis("redis", {"appendonly": "no"})
    create_topics(broker.bootstrap, TOPICS)
    edge = start_edge(broker.bootstrap, store.url)
    page, stranger = edge.page(), edge.page()
    stream = page.stream()
    document = {
        "v": 1,
        "stage": "Explorer",
        "confidence": 1.0,
        "probabilities": [1.0, 0.0, 0.0, 0.0],
        "route": "act",
        "action": "trending-banner",
        "model": "m",
        "policy": "p",
        "event_ts": 1,
        "source": "t",
        "seq": 7,
        "decided_at": now_ms() - 5_000,
        "expires_at": now_ms() + 600_000,
    }
    key = f"decision:{page.session_id}"
    with store.client() as client:
        client.set(key, json.dumps(document))
    assert next(iter(stream))[2]["seq"] == 7
    assert page.decision().json["answer"] == "fresh"
    store.kill9()
    known = page.decision().json
    assert (known["answer"], known["seq"]) == ("last_known", 7)
    assert known["age_ms"] >= 5_000
    assert stranger.decision().json["answer"] == "neutral"
    assert page.send(_event(1)).status == 202
    body = json.dumps({"events": [_event(2)], "token": page.token})
    assert page.ask("POST", "/v1/decide?key=demo", body, {"Content-Type": "text/plain"}).status == 503
    assert page.send(_event(3), query="&decide=1").status == 202
    store.start()
    with store.client() as client:
        client.set(key, json.dumps({**document, "seq": 9}))
    assert next(iter(stream))[2]["seq"] == 9


@pytest.mark.timeout(600)
@pytest.mark.parametrize("flavour", ["redis"])
@pytest.mark.parametrize("lag_s", [3, pytest.param(60, marks=pytest.mark.nightly)])
def test_the_edge_says_how_far_the_worker_is_behind(
    floor: Shopfloor, kafka: Kafka, redis_server: RedisServer, start_edge: StartEdge, lag_s: int
) -> None:
    """And decides inline as if it were not behind."""
    names = ("--topic", floor.topic, "--group", floor.topic)
    edge = start_edge(kafka.bootstrap, redis_server.url, *names)
    worker = floor.worker().start()
    page = edge.page()
    page.send(_event(1))
    floor.until(lambda: page.decision().json["answer"] == "fresh", "a decision")
    worker.freeze()
    page.send(_event(2))
    time.sleep(lag_s)
    told = page.send({**_event(3), "type": "add_to_cart", "price": 30.0}, query="&decide=1").json["decision"]
    behind = page.decision().json
    assert behind["behind_ms"] >= lag_s * 1_000
    assert behind["age_ms"] >= lag_s * 1_000
    assert behind["seq"] < told["seq"]
    worker.thaw()
    floor.until(lambda: page.decision().json["seq"] >= told["seq"], "the worker has caught up")
    caught_up = page.decision().json
    assert "behind_ms" not in caught_up
    if caught_up["seq"] == told["seq"]:
        assert (caught_up["stage"], caught_up["probabilities"]) == (told["stage"], told["probabilities"])


@pytest.mark.timeout(600)
def test_slow_bodies_and_silent_streams_hold_up_nobody(
    own_redis: StartRedis, kafka: Kafka, unique: str, start_edge: StartEdge
) -> None:
    """A body that does not come is given up; of a few places for streams each is told what it can do."""
    create_topics(kafka.bootstrap, {unique: 1})
    flags = ("--edge-body-s", "1", "--edge-streams-most", "2", "--edge-heartbeat-s", "0.5")
    edge = start_edge(kafka.bootstrap, own_redis("redis").url, "--topic", unique, *flags)
    slow = [socket.create_connection(("127.0.0.1", edge.port)) for _ in range(20)]
    for one in slow:
        one.sendall(b"POST /v1/events?key=demo HTTP/1.1\r\nHost: edge\r\nContent-Length: 100\r\n\r\n{")
    page = edge.page()
    assert page.send(_event(1)).status == 202
    for one in slow:
        one.settimeout(PATIENCE_S)
        assert b" 408 " in one.recv(1_000)
        one.close()
    with _watching(page) as silent, _watching(page) as heard:
        beats = b""
        while beats.count(b"\n: \n\n") < 2:  # the size of a chunk stands before it
            beats += heard.recv(1_000)
        refused = page.ask("GET", page.stream_path())
        assert (refused.status, refused.headers["content-type"]) == (503, "application/problem+json")
        assert refused.json["type"] == "urn:clickstage:problem:too_many_streams"
        assert int(refused.headers["retry-after"]) >= 1
        heard.close()
        assert wait_for(lambda: page.stream().status == 200, PATIENCE_S), "there is room again"
        assert silent.recv(1_000).startswith(b"HTTP/1.1 200"), "it took nothing so far, and is still open"


def _watching(page: Page) -> socket.socket:
    """A page that has opened its stream, and reads of it when the test does."""
    client = socket.create_connection(("127.0.0.1", page.edge.port), PATIENCE_S)
    client.sendall(f"GET {page.stream_path()} HTTP/1.1\r\nHost: edge\r\n\r\n".encode())
    return client
