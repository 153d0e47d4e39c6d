"""The edge on real Kafka and Redis with a real worker: events in, decisions out, read, pushed and decided inline."""

import gzip
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from socket import create_connection
from typing import Any

import pytest

from featurestore.contract.ids import IdKey
from tests.integration.edges import PAGE, READY_S, EdgeProcess
from tests.integration.shopfloor import PATIENCE_S, Shopfloor, now_ms
from tests.run_services import RunServices
from tests.services import RedisServer, create_topics, read_topic
from tests.services.kafka_broker import Kafka
from tests.services.process import wait_for

KEYS = f"""
signing_keys:
  - {{id: one, secret: "{"ab" * 32}"}}
shops:
  shoes: {{write_keys: [demo], origins: ["{PAGE}"]}}
  hats: {{write_keys: [hats], origins: ["https://hats.example"]}}
"""

ID_KEY = "5e" * 32

one_store = pytest.mark.parametrize("flavour", ["redis"])


def _edge(bootstrap: str, store: RedisServer, topic: str, directory: Path, *more: str) -> EdgeProcess:
    keys = directory / "keys.yaml"
    keys.write_text(KEYS)
    flags = [
        *("--kafka", bootstrap, "--redis", store.url, "--topic", topic, "--group", topic),
        *("--edge-keys", str(keys), "--edge-spool", str(directory / "spool"), "--edge-processes", "2"),
        *("--edge-trusted-hops", "127.0.0.0/8", "--edge-body-s", "1", "--exposures-topic", f"{topic}.shown"),
        *more,
    ]
    return EdgeProcess("edge", directory / "edge", flags).start_waiting()


@pytest.fixture
def shop_edge(floor: Shopfloor, kafka: Kafka, redis_server: RedisServer, tmp_path: Path) -> Iterator[EdgeProcess]:
    """The edge of a shop with a worker."""
    made = _edge(kafka.bootstrap, redis_server, floor.topic, tmp_path)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def edge(kafka: Kafka, services: RunServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeProcess]:
    """An edge for requests that need no worker."""
    directory = tmp_path_factory.mktemp("edge")
    create_topics(kafka.bootstrap, {"edge-alone": 4, "edge-alone.shown": 1})
    store = services.redis("redis", lambda: tmp_path_factory.mktemp("redis"))
    made = _edge(kafka.bootstrap, store, "edge-alone", directory)
    yield made
    made.stop()


def _event(kind: str = "page_view", **fields: Any) -> dict[str, Any]:
    return {"type": kind, "ts": now_ms(), "page": f"/{kind}", **fields}


def _records(topic: str, kafka: Kafka) -> list[dict[str, Any]]:
    return [json.loads(message.value() or b"") for message in read_topic(kafka.bootstrap, topic)]


def _seq(floor: Shopfloor, session_id: str) -> int:
    return int((floor.decision(session_id) or {}).get("seq", -1))


@one_store
def test_from_a_page_to_a_decision_and_back(floor: Shopfloor, shop_edge: EdgeProcess, kafka: Kafka) -> None:
    """Collected, decided by the worker, pushed, read, and withdrawn."""
    page = shop_edge.page()
    stream = page.stream()
    assert stream.status == 200
    first = page.send(_event("view_item", item_id="i1"), {"type": "view_item"}, _event("click", event_id="mine"))
    assert first.status == 202
    assert [verdict["status"] for verdict in first.json["verdicts"]] == ["accepted", "refused", "accepted"]
    sent = _records(floor.topic, kafka)
    assert [event["session_id"] for event in sent] == [page.session_id] * 2
    assert sent[0]["event_id"]
    assert sent[1]["event_id"] == "mine"

    behind = page.decision().json
    assert behind["answer"] == "neutral"
    assert behind["behind_ms"] >= 0

    floor.worker().start()
    pushed = iter(stream)
    name, place, decision = next(pushed)
    assert name == "decision"
    assert decision["session_id"] == page.session_id
    assert place == f"{decision['source']}:{decision['seq']}"
    read = page.decision()
    assert read.json["seq"] == decision["seq"]
    assert read.json["answer"] == "fresh"
    assert read.json["label"]
    assert "behind_ms" not in read.json
    assert page.decision({"If-None-Match": read.headers["etag"]}).status == 304

    again = page.stream(place)
    page.send(_event("add_to_cart", price=20.0))
    assert next(iter(again))[2]["seq"] > decision["seq"]

    assert page.withdraw().status == 204
    assert [event for event, _, _ in pushed][-1] == "withdrawn"
    assert page.withdraw().status == 204
    assert page.decision().status == 410
    assert page.send(_event("click")).status == 410
    # Another process of the edge may have looked a few seconds ago: its stream begins, and is told at once.
    floor.until(lambda: page.stream().status == 204, "each process knows of the withdrawal")
    floor.until(lambda: floor.decision(page.session_id) is None, "the worker has forgotten the session")


def test_half_open_requests_keep_nobody_waiting(edge: EdgeProcess) -> None:
    """200 clients that never finish their request: the next page is served."""
    with ExitStack() as half_open:
        for _ in range(200):
            one = half_open.enter_context(create_connection(("127.0.0.1", edge.port), timeout=5))
            one.sendall(b"POST /v1/events?key=demo HTTP/1.1\r\nHost: ")
        assert edge.page().send(_event()).status == 202


@one_store
def test_an_inline_decision_is_the_one_that_the_stream_makes(floor: Shopfloor, shop_edge: EdgeProcess) -> None:
    """With `?decide=1` it has the place that the stream's will have."""
    floor.worker().start()
    page = shop_edge.page()
    events = [_event("view_item", price=10.0 + i, page=f"/p/{i}") for i in range(4)] + [
        _event("add_to_cart", price=9.0)
    ]
    for event in events:
        told = page.send(event, query="&decide=1").json["decision"]
        assert told["provisional"] is True or told["answer"] == "fresh"
        floor.until(lambda seq=told["seq"]: _seq(floor, page.session_id) == seq, "the stream's decision")  # type: ignore[misc]
        streamed = floor.decision(page.session_id) or {}
        times = {"decided_at", "expires_at"}
        assert {n: v for n, v in streamed.items() if n not in times} == {n: told[n] for n in streamed if n not in times}
    body = json.dumps({"events": [_event("purchase", value=30.0)], "token": page.token})
    preview = page.ask("POST", "/v1/decide?key=demo", body, {"Content-Type": "application/json"}).json
    assert preview["provisional"] is True
    assert "seq" not in preview
    assert floor.decision(page.session_id) == streamed


def test_who_may(edge: EdgeProcess) -> None:
    """Keys, origins, tokens: what is not allowed is a problem document with the right status."""
    page, other = edge.page(), edge.page()
    body = json.dumps(_event())
    json_type = {"Content-Type": "application/json"}

    def status(*request: Any) -> int:
        answer = edge.ask(*request)
        if answer.status >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json["status"] == answer.status
            assert "access-control-allow-credentials" not in answer.headers
        return answer.status

    events, mine = "/v1/events?key=demo", f"/v1/decisions/{page.session_id}?key=demo"
    assert status("POST", "/v1/events", body, json_type) == 401
    assert status("POST", "/v1/events?key=nobodys", body, json_type) == 401
    assert status("POST", "/v1/events", body, {**json_type, "X-Clickstage-Key": "nobodys"}) == 401
    assert status("POST", events, body, {**json_type, "Origin": "https://evil.example"}) == 403
    assert status("POST", events, body, {**json_type, "Origin": "https://hats.example"}) == 403
    assert status("GET", mine) == 401
    assert status("GET", mine, None, {"Authorization": "Bearer forged.x.y.z"}) == 401
    assert status("GET", mine, None, {"Authorization": f"Bearer {page.token[:-2]}xx"}) == 401
    assert status("GET", mine, None, other.bearer) == 403
    assert status("GET", mine.replace("?", "/events?"), None, other.bearer) == 403
    assert status("DELETE", f"/v1/sessions/{page.session_id}?key=demo", None, other.bearer) == 403
    assert other.send(_event(session_id=page.session_id)).status == 422
    named = json.dumps(_event(session_id=page.session_id))
    refused = edge.ask("POST", f"{events}&decide=1", named, json_type)
    assert (refused.status, "decision" in refused.json) == (422, False)
    assert status("POST", "/v1/decide?key=demo", named, json_type) == 422
    assert status("PUT", events, body) == 405
    assert status("GET", "/v1/nothing") == 404
    renewed = edge.ask("POST", "/v1/sessions?key=demo", json.dumps({"token": page.token}), json_type)
    assert renewed.json["session_id"] == page.session_id


def test_cross_origin_requests(edge: EdgeProcess) -> None:
    """A page of the shop may, another may not, and no cookie is ever asked for."""
    page = edge.page()
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    path = f"/v1/decisions/{page.session_id}?key=demo"
    preflight = edge.ask("OPTIONS", path, None, asked)
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == PAGE
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    assert int(preflight.headers["access-control-max-age"]) >= 600
    answer = page.decision({"Origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "ETag" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]
    foreign = edge.ask("OPTIONS", path, None, {**asked, "Origin": "https://evil.example"})
    assert foreign.status == 403
    assert "access-control-allow-origin" not in foreign.headers


@pytest.mark.parametrize(
    ("line", "headers"),
    [
        ("GET /v1/decisions/s%0d%0aX-Evil:1?key=demo", ""),
        ("GET /v1/decisions/s%0d%0aX-Evil:1/events?key=demo", ""),
        ("GET /v1/sessions?key=demo%0d%0aX-Evil:1", ""),
        ("POST /v1/sessions?key=demo%0d%0aX-Evil:1", ""),
        ("OPTIONS /v1/events?key=demo", f"Origin: {PAGE}%0d%0aX-Evil:1\r\n"),
        ("POST /v1/sessions?key=demo", f"Origin: {PAGE}\rX-Evil: 1\r\n"),
        ("POST /v1/sessions", "X-Clickstage-Key: demo\rX-Evil: 1\r\n"),
        ("POST /v1/sessions?key=demo", "X-Clickstage-Key: demo\0X-Evil: 1\r\n"),
    ],
)
def test_nothing_of_a_request_becomes_a_header(edge: EdgeProcess, line: str, headers: str) -> None:
    """Line ends in paths, keys and headers, written plainly or percent-encoded."""
    with create_connection(("127.0.0.1", edge.port), PATIENCE_S) as client:
        head = f"{line} HTTP/1.1\r\nHost: edge\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n"
        client.sendall(head.encode())
        answer = b"".join(iter(lambda: client.recv(4_096), b""))
    assert answer.startswith(b"HTTP/1.1 4"), answer
    assert b"x-evil" not in answer.lower()


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: +5\r\n",
        f"Content-Length: {'9' * 30}\r\n",
    ],
)
def test_a_request_smuggled_in_a_body_is_never_answered(edge: EdgeProcess, headers: str) -> None:
    """Proxies read lengths in other ways: what may be read in two ways is refused, and ends the connection."""
    with create_connection(("127.0.0.1", edge.port), PATIENCE_S) as client:
        head = f"POST /v1/events?key=demo HTTP/1.1\r\nHost: edge\r\n{headers}\r\n"
        client.sendall(head.encode() + b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: edge\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4_096), b""))
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert answer.count(b"HTTP/1.1") == 1
    assert b"alive" not in answer


def test_bodies_that_are_refused(edge: EdgeProcess) -> None:
    """Bombs, floods, nesting, wrong types, huge headers: a problem document each, and the edge serves on."""
    headers = {"Content-Type": "application/json"}

    def status(body: bytes, **more: str) -> int:
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return edge.ask("POST", "/v1/events?key=demo", body, {**headers, **named}).status

    event = json.dumps({**_event(), "session_id": "s"}).encode()
    assert status(gzip.compress(event), Content_Encoding="gzip") == 202
    assert status(gzip.compress(b"0" * 50_000_000), Content_Encoding="gzip") == 413
    assert status(b"no gzip", Content_Encoding="gzip") == 400
    assert status(event, Content_Encoding="br") == 415
    assert status(event, Content_Type="image/png") == 415
    assert status(b"[" + b",".join([event] * 10_000) + b"]") == 413
    assert status(b"[" + b",".join([b"{}"] * 501) + b"]") == 413
    assert status(b"[" * 100_000) == 400
    assert status(b'{"a":' * 50_000) == 400
    assert status(b"\x00\xff") == 400
    assert status(event, X_Long="x" * 40_000) == 431
    assert status(event) == 202


def test_privacy_signals_are_honoured(edge: EdgeProcess, kafka: Kafka) -> None:
    page = edge.page()
    body = json.dumps({"events": [_event(visitor_id="v1")], "token": page.token})
    assert edge.ask("POST", "/v1/events?key=demo", body, {"Content-Type": "text/plain", "Sec-GPC": "1"}).status == 202
    page.send(_event(visitor_id="v2"))
    sent = [event for event in _records("edge-alone", kafka) if event["session_id"] == page.session_id]
    assert [event.get("visitor_id") for event in sent] == [None, "v2"]
    assert page.session_id not in edge.log.read_text()


def test_what_was_shown_is_reported(edge: EdgeProcess, kafka: Kafka) -> None:
    """Of this session, for an action that this edge named; everything else is refused."""
    page, other = edge.page(), edge.page()
    exposure = {"exposure_id": page.decision().json["exposure_id"], "kind": "shown", "action": "none", "ts": now_ms()}
    reports = [
        {**exposure, "slot": "banner"},
        {**exposure, "action": "timed-discount"},
        {**exposure, "exposure_id": other.decision().json["exposure_id"]},
        {**exposure, "session_id": other.session_id},
        {**exposure, "kind": "dreamt"},
        3,
    ]
    body = json.dumps({"exposures": reports, "token": page.token})
    answer = edge.ask("POST", "/v1/exposures?key=demo", body, {"Content-Type": "text/plain"})
    assert (answer.status, answer.json) == (202, {"accepted": 1, "refused": 5})
    [told] = [one for one in _records("edge-alone.shown", kafka) if one["session_id"] == page.session_id]
    assert (told["kind"], told["action"], told["slot"]) == ("shown", "none", "banner")
    assert edge.ask("POST", "/v1/exposures?key=demo", json.dumps({"exposures": []}), {}).status == 401


@one_store
def test_with_hashed_ids_a_report_names_the_session_as_its_decision_does(
    floor: Shopfloor, kafka: Kafka, redis_server: RedisServer, tmp_path: Path
) -> None:
    """So that the analysis can join them; only the clicks have the id that the page uses, and no log does."""
    create_topics(kafka.bootstrap, {f"{floor.topic}.shown": 1})
    floor.worker(*floor.flags, "--id-key", ID_KEY).start()
    edge = _edge(kafka.bootstrap, redis_server, floor.topic, tmp_path, "--id-key", ID_KEY, "--edge-processes", "1")
    try:
        page = edge.page()
        first = page.send(_event(), query="&decide=1")
        assert first.status == 202, first.body
        inline = first.json["decision"]
        pushed = next(iter(page.stream()))[2]
        floor.until(lambda: page.decision().json["answer"] == "fresh", "a decision")
        read = page.decision().json
        named = {decision["exposure_id"] for decision in (inline, pushed, read)}
        assert len(named) == 1
        assert {decision["session_id"] for decision in (inline, pushed, read)} == {page.session_id}
        report = {"exposure_id": named.pop(), "kind": "shown", "action": read["action"], "ts": now_ms()}
        body = json.dumps({"exposures": [report, {**report, "session_id": page.session_id}], "token": page.token})
        answer = page.ask("POST", "/v1/exposures?key=demo", body, {"Content-Type": "text/plain"})
        assert (answer.status, answer.json) == (202, {"accepted": 2, "refused": 0})
        hashed = IdKey.of(ID_KEY).session(page.session_id)
        shown = list(read_topic(kafka.bootstrap, f"{floor.topic}.shown"))
        assert {json.loads(message.value() or b"")["session_id"] for message in shown} == {hashed}
        assert {message.key() for message in shown} == {hashed.encode()}
        assert {decision["session_id"] for decision in floor.decisions()} == {hashed}
        assert page.session_id not in edge.log.read_text() + floor.logs()
        assert page.withdraw().status == 204
        assert page.decision().status == 410
    finally:
        edge.stop()


def test_limits_say_when_to_come_back(edge: EdgeProcess) -> None:
    page = edge.page()
    answers = [page.send(*[_event()] * 100) for _ in range(6)]
    refused = [answer for answer in answers if answer.status == 429]
    assert refused
    assert int(refused[0].headers["retry-after"]) >= 1


def test_the_edge_describes_itself(edge: EdgeProcess) -> None:
    """Several processes count together; each adds up its requests every second."""
    for _ in range(20):
        edge.page()
    counted = 'clickstage_edge_requests_total{route="/v1/sessions",status="201"}'
    assert wait_for(lambda: edge.metric(counted) >= 20, PATIENCE_S)
    assert edge.ask("GET", "/healthz").status == 200
    assert edge.ask("GET", "/metrics", None, {"X-Forwarded-For": "8.8.8.8"}).status == 403
    description = edge.ask("GET", "/openapi.json").json
    assert description["openapi"].startswith("3.1")
    assert {"/v1/events", "/v1/decide", "/v1/sessions"} <= description["paths"].keys()


def test_a_process_that_dies_is_replaced_and_the_edge_says_so_meanwhile(edge: EdgeProcess) -> None:
    """Whichever process is asked; connections that the dead one had accepted are reset."""

    def ready() -> set[int]:
        try:
            return {edge.ask("GET", "/readyz").status for _ in range(10)}
        except ConnectionError:
            return set()

    assert ready() == {200}
    edge.kill_one()
    assert wait_for(lambda: ready() == {503}, PATIENCE_S)
    assert wait_for(lambda: ready() == {200}, READY_S)
