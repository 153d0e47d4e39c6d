"""Events of other trackers, from the fixtures where they are here, and from hand-made rows everywhere."""

import json
from collections import Counter
from pathlib import Path

import pytest

from featurestore.contract.event import decode
from worker.trackers.adapters import read

FIXTURES = Path(__file__).resolve().parents[5] / "shared" / "data" / "fixtures"
FILES = {
    "snowplow": ("snowplow_ecommerce_events.csv.gz", 424),
    "segment": ("segment_spec_track_events.jsonl.gz", 285),
    "ga4": ("ga4_measurement_protocol_payloads.jsonl.gz", 59),
}


@pytest.mark.skipif(not FIXTURES.exists(), reason="../shared/data is not here")
@pytest.mark.parametrize("kind", FILES)
def test_every_row_of_a_fixture_is_an_event_of_the_contract_or_left_out(kind: str) -> None:
    """Odd casing, text for numbers and missing fields included."""
    name, events = FILES[kind]
    clicks = read(kind, FIXTURES / name)
    assert len(clicks) == events
    kinds = Counter(decode(click.value).type for click in clicks)
    assert {"add_to_cart", "purchase", "view_item", "remove_from_cart"} <= kinds.keys()


def _lines(folder: Path, *rows: object) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_segment_message_in_any_casing(tmp_path: Path) -> None:
    message = {
        "event": "  PRODUCT   Added ",
        "anonymousId": "anon",
        "messageId": "m1",
        "timestamp": "2024-01-02T03:04:05.678Z",
        "context": {"page": {"path": "/p"}},
        "properties": {"product_id": 7, "price": "12.50", "quantity": 2, "category": "Games", "currency": "EUR"},
    }
    [click] = read("segment", _lines(tmp_path, {"message": message}))
    event = decode(click.value)
    assert (event.session_id, event.type, event.ts) == ("anon", "add_to_cart", 1_704_164_645_678)
    assert (event.item_id, event.price, event.quantity, event.page) == ("7", 12.5, 2, "/p")


def test_an_order_is_one_purchase_of_its_revenue(tmp_path: Path) -> None:
    order = {"revenue": 15.0, "total": 20, "products": [{"product_id": "a", "price": 5}, {"product_id": "b"}]}
    message = {"event": "order completed", "userId": "u", "sentAt": "2024-01-02T03:04:05Z", "properties": order}
    [click] = read("segment", _lines(tmp_path, message))
    event = decode(click.value)
    assert (event.type, event.value, event.item_id) == ("purchase", 15.0, "a")


@pytest.mark.parametrize("price", ["free", -1, None, "NaN", [1], 1e300])
def test_a_broken_price_does_not_lose_the_click(tmp_path: Path, price: object) -> None:
    message = {
        "event": "Product Viewed",
        "userId": "u",
        "timestamp": "2024-01-02T03:04:05Z",
        "properties": {"price": price},
    }
    [click] = read("segment", _lines(tmp_path, message))
    assert decode(click.value).price is None


def test_a_row_without_a_time_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"event": "x", "userId": "u"}, {"event": "x", "userId": "u", "timestamp": "2024-01-02T03:04:05Z"}]
    assert len(read("segment", _lines(tmp_path, *rows))) == 1
    assert "1 rows without" in caplog.text


def test_a_ga4_payload_is_one_event_each(tmp_path: Path) -> None:
    events = [
        {
            "name": "view_item",
            "params": {"items": [{"item_id": "i", "price": 3, "item_category": "c"}], "session_id": 5},
        },
        {"name": "purchase", "params": {"value": 9.5}},
    ]
    payload = {"client_id": "c1", "timestamp_micros": 1_704_164_645_678_000, "events": events}
    made = [decode(c.value) for c in read("ga4", _lines(tmp_path, payload))]
    assert [(e.session_id, e.type, e.price, e.value) for e in made] == [
        ("5", "view_item", 3.0, None),
        ("c1", "purchase", None, 9.5),
    ]
    assert {e.visitor_id for e in made} == {"c1"}
