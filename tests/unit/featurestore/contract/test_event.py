"""The columns that are made of events."""

import json

import numpy as np
import pytest

from featurestore.columns.hashing import hash_text
from featurestore.contract.decode import decode, read
from featurestore.contract.event import CLEAR, EVENT_TYPES, MAX_TS, TYPE_CODE, arrivals, columns

GOOD = {"session_id": "s1", "type": "view_item", "ts": 1_700_000_000_000}


def _json(**fields: object) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


def test_type_codes_are_persisted_and_never_change() -> None:
    assert EVENT_TYPES[0] == "session_start"
    assert (TYPE_CODE["add_to_cart"], TYPE_CODE["purchase"], TYPE_CODE["click"]) == (9, 15, 24)
    assert (TYPE_CODE["refund"], TYPE_CODE["first_visit"], len(EVENT_TYPES)) == (25, 29, 30)


def test_the_columns_of_a_batch() -> None:
    events = [
        decode(_json(event_id="e", visitor_id="v", page="/p", category="c", price=2.5, quantity=3, value=9)),
        decode(_json(type="purchase", device="Mobile", source="newsletter", country="de", scroll_depth=99.9)),
        decode(_json(consent="denied", device="tablet", source="email", country="Germany", checkout_step=4)),
    ]
    rows = columns(events, [2, 0, 1], [7, 8, 9], [-1, -1, -1])
    assert rows["session_index"].tolist() == [2, 0, 1]
    assert rows["offset"].tolist() == [7, 8, 9]
    assert rows["kind"].tolist() == [TYPE_CODE["view_item"], TYPE_CODE["purchase"], CLEAR]
    assert rows["event_id"].tolist() == [hash_text("e") & 0xFF_FFFF_FFFF, 0, 0]
    assert rows["visitor"].tolist() == [hash_text("v"), 0, 0]
    assert rows["page"].tolist() == [hash_text("/p") & 0xFFFF_FFFF, 0, 0]
    assert rows["quantity"].tolist() == [3, 1, 1]
    assert np.isnan(rows["price"]).tolist() == [False, True, True]
    assert rows["device"].tolist() == [0, 2, 3]
    assert rows["source"].tolist() == [0, 7, 4]
    assert rows["country"].tolist() == [0, ord("D") << 8 | ord("E"), 0]
    assert rows["scroll"].tolist() == [0, 99, 0]
    assert rows["checkout"].tolist() == [0, 0, 4]


def test_a_record_time_that_no_clock_shows_counts_as_none() -> None:
    """2^63 - 1 would overflow, and make a session of each event."""
    times = [-1, 0, 5, MAX_TS, MAX_TS + 1, 2**63 - 1, -(2**63)]
    assert arrivals(np.array(times, np.int64)).tolist() == [0, 0, 5, MAX_TS, 0, 0, 0]


@pytest.mark.issue(20, line=14, sibling=True)
def test_a_list_of_items_is_one_row_of_all_units_and_their_worth() -> None:
    items = [{"price": 20}, {"price": 15, "quantity": 3}, {"price": 30}, {"quantity": 2}]
    event = decode(_json(type="add_to_cart", items=items, price=1, quantity=1))
    row = columns([event], [0], [5], [-1])[0]
    assert (row["quantity"], row["amount"], row["price"]) == (7, 95.0, 19.0)
    [empty] = columns([decode(_json(type="add_to_cart", items=[], price=3, quantity=2))], [0], [5], [-1])
    assert (empty["quantity"], empty["price"], np.isnan(empty["amount"])) == (2, 3.0, True)


@pytest.mark.parametrize(
    ("fields", "units"),
    [
        ({"quantity": 0}, 0),
        ({"quantity": 3}, 3),
        ({}, 1),
        ({"quantity": 10_001}, 1),
        ({"quantity": -1}, 1),
        ({"items": [{"quantity": 0}, {"quantity": 2}]}, 2),
        ({"items": [{"quantity": 0}]}, 0),
    ],
    ids=str,
)
@pytest.mark.contract("`quantity: 0`")
def test_quantities_count_as_the_contract_says(fields: dict[str, object], units: int) -> None:
    """Zero is zero; what cannot be a quantity is left out, and then it is one unit."""
    event, _ = read(_json(type="add_to_cart", **fields))
    assert columns([event], [0], [5], [-1])[0]["quantity"] == units


@pytest.mark.issue(20, line=14, sibling=True)
@pytest.mark.contract("Units of one event beyond 65,535")
def test_units_saturate_and_never_wrap() -> None:
    event = decode(_json(items=[{"quantity": 10_000}] * 7))
    assert columns([event], [0], [5], [-1])[0]["quantity"] == 65_535
