"""Other people's clients, unmodified, against the edge: what they send becomes events that the worker decides on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from segment.analytics.client import Client
from snowplow_tracker import Emitter, PageView, SelfDescribing, SelfDescribingJson, Subject, Tracker

from tests.integration.edges import EdgeProcess
from tests.integration.shopfloor import Shopfloor
from tests.services import RedisServer, read_topic
from tests.services.kafka_broker import Kafka
from tests.services.node import Node

ECOMMERCE: Final = "iglu:com.snowplowanalytics.snowplow.ecommerce"

pytestmark = pytest.mark.parametrize("flavour", ["redis"])


@pytest.fixture
def edge(floor: Shopfloor, kafka: Kafka, redis_server: RedisServer, tmp_path: Path) -> Iterator[EdgeProcess]:
    flags = ["--kafka", kafka.bootstrap, "--redis", redis_server.url, "--topic", floor.topic, "--group", floor.topic]
    made = EdgeProcess("edge", tmp_path / "edge", flags).start_waiting()
    yield made
    made.stop()


def _events(floor: Shopfloor, kafka: Kafka) -> list[dict[str, Any]]:
    return [json.loads(message.value() or b"") for message in read_topic(kafka.bootstrap, floor.topic)]


def _kinds(sent: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The types of each session's events, in order."""
    sessions = dict.fromkeys(event["session_id"] for event in sent)
    return {session: [event["type"] for event in sent if event["session_id"] == session] for session in sessions}


def _decided(floor: Shopfloor, session_id: str) -> None:
    floor.until(lambda: floor.decision(session_id) is not None, f"a decision for {session_id}")


def test_python_clients_of_segment_and_snowplow_and_ga4s_protocol(
    floor: Shopfloor, edge: EdgeProcess, kafka: Kafka
) -> None:
    """Each one's own words for adding to the basket; the key is where each of them keeps it."""
    failed: list[Any] = []
    segment = Client(
        "demo", host=f"http://127.0.0.1:{edge.port}", on_error=lambda *error: failed.append(error), gzip=True
    )
    segment.track("u1", "Product Added", {"product_id": "p1", "price": 20, "quantity": 2}, anonymous_id="a1")
    segment.page("u1", None, "Shoes", {"path": "/shoes"}, anonymous_id="a1")
    segment.identify("u1", {"name": "somebody"}, anonymous_id="a1")
    segment.shutdown()
    assert not failed

    for method in ("post", "get"):
        subject = Subject().set_domain_user_id(f"sp-{method}")
        emitter = Emitter("127.0.0.1", "http", edge.port, method, batch_size=1)
        tracker = Tracker("shop", emitter, subject, app_id="demo", encode_base64=method == "get")
        tracker.track(PageView("http://shop.example/shoes"))
        action = SelfDescribingJson(f"{ECOMMERCE}/snowplow_ecommerce_action/jsonschema/1-0-2", {"type": "add_to_cart"})
        product = SelfDescribingJson(f"{ECOMMERCE}/product/jsonschema/1-0-0", {"id": "p1", "price": 20, "quantity": 1})
        tracker.track(SelfDescribing(action, context=[product]))
        tracker.flush()

    hit = {
        "client_id": "c1",
        "events": [{"name": "add_to_cart", "params": {"session_id": 7, "items": [{"item_id": "p1", "price": 20}]}}, {}],
    }
    path = "mp/collect?measurement_id=G-1&api_secret=demo"
    assert edge.ask("POST", f"/{path}", json.dumps(hit), {"Content-Type": "application/json"}).status == 204
    debug = edge.ask("POST", f"/debug/{path}", json.dumps({**hit, "events": [{}]}), {}).json
    assert [message["validationCode"] for message in debug["validationMessages"]] == ["NO_ACTION"]
    assert edge.ask("POST", "/mp/collect?api_secret=wrong", json.dumps(hit), {}).status == 401

    sent = _events(floor, kafka)
    assert all(event["event_id"] for event in sent)
    kinds = _kinds(sent)
    assert kinds["a1"] == ["add_to_cart", "page_view"]
    assert kinds["c1.7"] == ["add_to_cart"]
    assert kinds["sp-post"] == kinds["sp-get"] == ["page_view", "add_to_cart"]
    floor.worker().start()
    for session in kinds:
        _decided(floor, session)


def test_node_clients_of_segment_and_snowplow(floor: Shopfloor, edge: EdgeProcess, kafka: Kafka, node: Node) -> None:
    """As npm has them: a page, then something for the basket. The decision is read where a back end reads it."""
    ran = node.run("test/clients.mjs", str(edge.port))
    assert ran.returncode == 0, ran.stderr
    sent = _events(floor, kafka)
    assert all(event["event_id"] for event in sent)
    kinds = _kinds(sent)
    sessions = {"node-segment", "node-snowplow-post", "node-snowplow-get"}
    assert kinds == {session: ["page_view", "add_to_cart"] for session in sessions}
    assert [event["price"] for event in sent if event["type"] == "add_to_cart"] == [20.0] * len(sessions)
    floor.worker().start()
    for session in sessions:
        _decided(floor, session)
