"""Other trackers' payloads: what becomes an event of the contract, and that nothing raises."""

import base64
import csv
import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.contract.decode import read
from featurestore.contract.event import EVENT_TYPES
from featurestore.contract.pages import USUAL
from featurestore.contract.schema import json_schema
from featurestore.contract.trackers import (
    LEFT_OUT,
    Mapped,
    encode,
    ga4,
    segment,
    shop_row,
    snowplow_enriched,
    snowplow_tracker,
)
from featurestore.contract.trackers.mapping import MAX_ID, identifier, page, time_ms
from featurestore.contract.trackers.segment import kind_of
from tests.examples import examples

FIXTURES = Path(__file__).resolve().parents[5] / "shared" / "data" / "fixtures"
needs_fixtures = pytest.mark.skipif(not FIXTURES.exists(), reason="../shared/data is not here")
T = 1_704_164_645_678
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
ISO = "2024-01-02T03:04:05.678Z"
_LOST = {"session_id": "no_session", "ts": "no_time", "type": "no_action"}
MAPPINGS: dict[str, Callable[[Any], Mapped]] = {
    "ga4": lambda payload: ga4(payload, T),
    "segment": lambda payload: segment(payload, T),
    "snowplow_tracker": lambda payload: snowplow_tracker(payload, T),
    "snowplow_enriched": lambda payload: snowplow_enriched(payload if isinstance(payload, dict) else {}),
    "shop": lambda payload: _shop(payload if isinstance(payload, dict) else {}),
}


def _shop(row: dict[str, Any]) -> Mapped:
    made = shop_row(row)
    lost = [why for name, why in _LOST.items() if name not in made]
    return Mapped(left_out=lost[:1]) if lost else Mapped([made])


def _ga4(*events: object, **fields: object) -> dict[str, Any]:
    return {"client_id": "c1", "timestamp_micros": T * 1_000, "events": list(events), **fields}


def _track(what: object = "Product Added", **fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": what, "anonymousId": "anon", "timestamp": ISO, "properties": {}, **fields}


# -- fixtures --------------------------------------------------------------------------------------


@needs_fixtures
def test_every_ga4_payload_of_the_fixture_becomes_its_events() -> None:
    """Also those without a time, which was most of what got lost: they happened when they arrived."""
    with gzip.open(FIXTURES / "ga4_measurement_protocol_payloads.jsonl.gz") as lines:
        payloads = list(map(json.loads, lines))
    made = [ga4(payload, T) for payload in payloads]
    assert all(not one.left_out for one in made)
    assert [len(one.events) for one in made] == [len(payload["events"]) for payload in payloads]
    late = [
        event
        for one, told in zip(made, payloads, strict=True)
        if "timestamp_micros" not in told
        for event in one.events
    ]
    assert late
    assert {event["ts"] for event in late} == {T}
    _decodes(made)


@needs_fixtures
def test_segment_messages_of_the_fixture() -> None:
    with gzip.open(FIXTURES / "segment_spec_track_events.jsonl.gz") as lines:
        made = [segment(json.loads(line)) for line in lines]
    kinds = Counter(event["type"] for one in made for event in one.events)
    assert {"add_to_cart": 50, "purchase": 59, "refund": 11, "view_item": 30}.items() <= kinds.items()
    assert sum(len(one.left_out) for one in made) <= 22
    _decodes(made)


@needs_fixtures
def test_snowplow_rows_of_the_fixture() -> None:
    with gzip.open(FIXTURES / "snowplow_ecommerce_events.csv.gz", "rt", newline="") as lines:
        made = [snowplow_enriched(row) for row in csv.DictReader(lines)]
    kinds = Counter(event["type"] for one in made for event in one.events)
    assert {
        "view_item": 179,
        "view_item_list": 100,
        "add_to_cart": 38,
        "purchase": 15,
        "refund": 1,
    }.items() <= kinds.items()
    _decodes(made)


def _decodes(made: list[Mapped]) -> None:
    for one in made:
        for event in one.events:
            found = read(encode(event))
            assert found.event.session_id
            assert found.problems == (), f"an adapter sends what the decoder mends: {found.problems}"
            assert VALIDATOR.is_valid(event), [error.message for error in VALIDATOR.iter_errors(event)]


# -- GA4 -------------------------------------------------------------------------------------------


@pytest.mark.issue(20, line=2)
def test_each_ga4_event_keeps_its_own_time() -> None:
    """Twenty events of one payload, the form that batches take."""
    events = [{"name": "page_view", "timestamp_micros": (T + 30_000 * n) * 1_000} for n in range(20)]
    made = ga4(_ga4(*events)).events
    assert [event["ts"] for event in made] == [T + 30_000 * n for n in range(20)]


@pytest.mark.parametrize("micros", [str(T * 1_000), T * 1_000, float(T * 1_000), f" {T * 1_000} "])
@pytest.mark.issue(20, line=2)
def test_a_ga4_time_may_be_text(micros: object) -> None:
    assert ga4(_ga4({"name": "x"}, timestamp_micros=micros)).events[0]["ts"] == T


@pytest.mark.parametrize("micros", [None, "soon", -5, 0, True, "NaN", 1e400, [T]])
@pytest.mark.issue(20, line=2)
def test_without_a_time_that_can_be_read_it_happened_when_it_arrived(micros: object) -> None:
    payload = _ga4({"name": "x"}, timestamp_micros=micros)
    assert ga4(payload, 77).events[0]["ts"] == 77
    assert ga4(payload).left_out == ["no_time"]


@pytest.mark.issue(20, line=6)
def test_two_browsers_with_one_ga4_session_id_are_two_sessions() -> None:
    """GA4's session id is the second in which the visit began."""
    params = {"name": "page_view", "params": {"ga_session_id": 1_704_164_645}}
    one, two = (ga4(_ga4(params, client_id=browser)).events[0] for browser in ("1.1", "2.2"))
    assert (one["session_id"], two["session_id"]) == ("1.1.1704164645", "2.2.1704164645")
    assert one["visitor_id"] == "1.1"


@pytest.mark.issue(20, line=14)
def test_three_items_of_five_units_are_five_units_worth_95() -> None:
    items = [
        {"item_id": "a", "price": 20},
        {"item_id": "b", "price": 15, "quantity": 3},
        {"item_id": "c", "price": "30.00"},
    ]
    [event] = ga4(_ga4({"name": "add_to_cart", "params": {"items": items, "value": 95}})).events
    assert (event["quantity"], event["price"] * event["quantity"], event["item_id"]) == (5, 95.0, "a")
    assert [item["item_id"] for item in event["items"]] == ["a", "b", "c"]
    assert "value" not in event


@pytest.mark.parametrize("kind", ["purchase", "refund"])
@pytest.mark.issue(20, line=14)
def test_an_order_without_a_value_is_worth_its_items(kind: str) -> None:
    params = {"transaction_id": "T1", "items": [{"price": 10.5, "quantity": 2}, {"price": 4}]}
    [event] = ga4(_ga4({"name": kind, "params": params})).events
    assert (event["value"], event["transaction_id"]) == (25.0, "T1")
    assert ga4(_ga4({"name": kind, "params": {**params, "value": 0}})).events[0]["value"] == 0


# -- Segment ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Product Added",
        "product_added",
        "Product_Added",
        "PRODUCT ADDED",
        "productAdded",
        "product-added",
        " Product  Added ",
        "Added Product",
        "add_to_cart",
        "Add To Cart",
        "addToCart",
    ],
)
@pytest.mark.issue(20, line=16)
def test_a_product_added_in_any_casing(name: str) -> None:
    assert kind_of(name) == "add_to_cart"


def test_every_type_of_the_contract_names_itself() -> None:
    assert [kind_of(name) for name in EVENT_TYPES] == list(EVENT_TYPES)


@pytest.mark.issue(20, line=16)
def test_page_and_screen_are_views_and_identities_are_no_actions() -> None:
    shown = [segment(_track(None, type=call, name="Home")).events[0] for call in ("page", "screen")]
    assert [(event["type"], event["page"]) for event in shown] == [("page_view", "Home")] * 2
    for call in ("identify", "group", "alias"):
        made = segment(_track(None, type=call))
        assert (made.events, made.left_out, made.ignored) == ([], [], 1)


@pytest.mark.issue(20, line=6)
def test_two_browsers_with_one_segment_session_id_are_two_sessions() -> None:
    context = {"context": {"sessionId": 1_687_204_412_379}}
    ids = {segment(_track(anonymousId=browser, **context)).events[0]["session_id"] for browser in ("a", "b")}
    assert ids == {"a.1687204412379", "b.1687204412379"}


@pytest.mark.parametrize("client", [None, "(not set)", "undefined"])
@pytest.mark.issue(20, line=6, sibling=True)
def test_a_visit_that_is_named_by_its_moment_needs_to_know_whose_it_is(client: str | None) -> None:
    """Without a browser's id, a user's id tells two visits of one second apart; without either, nothing does."""
    params = {"name": "page_view", "params": {"ga_session_id": 1_704_164_645}}
    made = [ga4(_ga4(params, client_id=client, user_id=user)) for user in ("u-1", "u-2", None)]
    ids = [[event["session_id"] for event in one.events] for one in made]
    assert ids == [["u-1.1704164645"], ["u-2.1704164645"], []]
    assert made[2].left_out == ["no_session"]
    context = {"context": {"sessionId": 1_687_204_412_379}}
    assert segment(_track(anonymousId=client, **context)).left_out == ["no_session"]
    named = {"context": {"sessionId": "8a3e-77"}}
    assert [event["session_id"] for event in segment(_track(anonymousId=client, **named)).events] == ["8a3e-77"]


def test_a_wrong_clock_is_left_to_sent_ts_while_live_and_corrected_in_a_file() -> None:
    """The phone was four minutes slow, and kept the event for ten seconds."""
    slow = {"timestamp": T - 250_000, "sentAt": T - 240_000}
    [live] = segment(_track(**slow), received_ms=T).events
    assert (live["ts"], live["sent_ts"]) == (T - 250_000, T - 240_000)
    [filed] = segment(_track(**slow, receivedAt=T)).events
    assert (filed["ts"], "sent_ts" in filed) == (T - 10_000, False)


def test_a_time_that_the_service_has_corrected_is_taken_as_it_is() -> None:
    message = _track(originalTimestamp="2020-01-01T00:00:00Z", sentAt="2020-01-01T00:00:01Z")
    for received in (None, T + 5):
        [event] = segment(message, received).events
        assert (event["ts"], "sent_ts" in event) == (T, False)


@pytest.mark.issue(20, line=2, sibling=True)
def test_a_batch_shares_when_it_was_sent() -> None:
    calls = [_track(timestamp=T + n, messageId=f"m{n}") for n in range(3)]
    made = segment({"batch": [*calls, None, 7], "sentAt": T + 9}, received_ms=T + 100)
    assert [(event["ts"], event["sent_ts"]) for event in made.events] == [(T + n, T + 9) for n in range(3)]
    assert made.left_out == ["no_object"] * 2


@pytest.mark.issue(20, line=14, sibling=True)
def test_an_order_and_its_refund_name_their_order() -> None:
    products = [{"product_id": "a", "price": "5", "quantity": "2.0"}, {"product_id": "b", "price": 7}]
    for name, kind in (("Order Completed", "purchase"), ("order_refunded", "refund")):
        [event] = segment(_track(name, properties={"order_id": 17, "products": products})).events
        assert (event["type"], event["transaction_id"], event["value"], event["quantity"]) == (kind, "17", 17.0, 3)


# -- Snowplow --------------------------------------------------------------------------------------

_ECOMMERCE = "iglu:com.snowplowanalytics.snowplow.ecommerce"
_ACTION = {"schema": f"{_ECOMMERCE}/snowplow_ecommerce_action/jsonschema/1-0-2", "data": {"type": "add_to_cart"}}
_PRODUCTS = [
    {
        "schema": f"{_ECOMMERCE}/product/jsonschema/1-0-0",
        "data": {"id": f"p{n}", "price": 10, "quantity": n, "currency": "EUR"},
    }
    for n in (1, 2)
]


def _wrapped(kind: str, data: object) -> str:
    return json.dumps({"schema": f"iglu:com.snowplowanalytics.snowplow/{kind}/jsonschema/1-0-0", "data": data})


@pytest.mark.parametrize("coded", [False, True])
def test_a_tracker_post_with_contexts_plain_or_in_base64(coded: bool) -> None:
    parts = {"ue": _wrapped("unstruct_event", _ACTION), "c": _wrapped("contexts", _PRODUCTS)}
    told = {
        "e": "ue",
        "eid": "e1",
        "sid": "s1",
        "duid": "d1",
        "dtm": str(T - 50),
        "stm": str(T),
        "url": "https://shop/p",
    }
    if coded:
        told |= {
            name + "x": base64.urlsafe_b64encode(text.encode()).decode().rstrip("=") for name, text in parts.items()
        }
        told = {("ue_px" if name == "uex" else name): value for name, value in told.items()}
    else:
        told |= {"ue_pr": parts["ue"], "co": parts["c"]}
    [event] = snowplow_tracker({"schema": "iglu:…/payload_data/jsonschema/1-0-4", "data": [told]}, T + 7).events
    assert (event["session_id"], event["visitor_id"], event["type"], event["event_id"]) == (
        "s1",
        "d1",
        "add_to_cart",
        "e1",
    )
    assert (event["ts"], event["sent_ts"], event["quantity"], event["price"], event["currency"]) == (
        T - 50,
        T,
        3,
        10.0,
        "EUR",
    )


def test_views_and_pings_of_a_tracker() -> None:
    told = [{"e": call, "sid": "s", "dtm": T} for call in ("pv", "pp", "tr")]
    made = snowplow_tracker({"data": told})
    assert [event["type"] for event in made.events] == ["page_view", "page_ping"]
    assert made.left_out == ["no_action"]


# -- everything that people send -------------------------------------------------------------------

_leaf = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.just(10**4000),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["\ud83d", "x" * 9_000, "28.00", ISO, "Order Completed", "track", "ue"]),
)
_NAMES = (
    "events name params items price quantity client_id session_id timestamp_micros message batch event type properties",
    "products context page sessionId anonymousId timestamp sentAt data e ue_pr co url sid dtm stm value order_id",
    "derived_tstamp domain_sessionid event_id contexts_x_product_1_0_0 unstruct_event_x_snowplow_ecommerce_action_1",
)
_names = st.sampled_from(" ".join(_NAMES).split())
_tree = st.recursive(
    _leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=8), max_leaves=10
)
_event = {
    "name": "view_item",
    "event": "x",
    "anonymousId": "a",
    "client_id": "c",
    "sid": "s",
    "e": "pv",
    "domain_sessionid": "s",
}


@given(_tree, st.dictionaries(_names, _tree, max_size=6))
@settings(max_examples=examples(25))
def test_nothing_raises_and_what_comes_out_is_an_event_of_the_published_schema(
    tree: Any, fields: dict[str, Any]
) -> None:
    for mapping in MAPPINGS.values():
        for payload in (tree, {**_event, **fields}, {"events": [{**_event, "params": fields}], "client_id": "c"}):
            made = mapping(payload)
            assert set(made.left_out) <= set(LEFT_OUT)
            _decodes([made])


@pytest.mark.parametrize(
    "payload", [{"events": [None]}, {"message": None}, {"batch": [None]}, {"data": [None]}, None, [], "x"]
)
@pytest.mark.issue(20, line=16)
def test_an_entry_that_is_no_object_is_left_out_with_the_reason(payload: object) -> None:
    for mapping in MAPPINGS.values():
        made = mapping(payload)
        assert made.events == []
        assert len(made.left_out) == 1


@pytest.mark.issue(20, line=16)
def test_half_an_emoji_costs_its_field_alone() -> None:
    [event] = segment(_track(properties={"product_id": "\ud83d", "category": "shoes"})).events
    assert (event.get("item_id"), event["category"]) == (None, "shoes")


@pytest.mark.parametrize("price", ["free", -1, None, "NaN", [1], 1e300, True])
def test_a_broken_price_does_not_lose_the_click(price: object) -> None:
    [event] = segment(_track(properties={"price": price})).events
    assert "price" not in event


@pytest.mark.issue(20, line=8)
def test_long_ids_and_pages_are_hashed_and_never_cut() -> None:
    ids = {identifier("x" * 200 + str(n)) for n in range(9)}
    assert len(ids) == 9
    assert all(made is not None and len(made) <= MAX_ID for made in ids)
    urls = ["https://shop.example/" + "category/" * 80 + str(n) for n in range(9)]
    pages = {ga4(_ga4({"name": "page_view", "params": {"page_location": url}})).events[0]["page"] for url in urls}
    assert len(pages) == 9
    long = ["https://shop.example/" + "category/" * 1_000 + str(n) for n in range(9)]
    assert len({page(url) for url in long}) == 9
    assert all(len(page(url) or "") <= 8_192 for url in long)


@pytest.mark.issue(20, line=8, sibling=True)
def test_a_long_page_keeps_its_parameters_so_that_those_of_advertisers_go_before_it_counts() -> None:
    """Hashed here, each click on an advertisement would be a page of its own."""
    urls = ["https://shop.example/" + "category/" * 80 + f"?fbclid={n}" for n in range(9)]
    assert len({USUAL.normalised(page(url) or "") for url in urls}) == 1


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (ISO, T),
        ("2024-01-02 03:04:05.678", T),
        ("2024-01-02T05:04:05.678+02:00", T),
        (T, T),
        (str(T), T),
        (T / 1_000, T),
        (T * 1_000, T),
        ("yesterday", None),
        (-1, None),
        (None, None),
        (True, None),
        ("9999-99-99", None),
        ([], None),
    ],
)
@pytest.mark.issue(20, line=2, sibling=True)
def test_times_in_the_forms_that_trackers_write(value: object, ms: int | None) -> None:
    assert time_ms(value) == ms
