"""The contract: what is an event, what is not and why, and the columns made of it."""

import json

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.columns.hashing import hash_text
from featurestore.contract.event import (
    CLEAR,
    CLICK,
    EVENT_TYPES,
    MAX_SKEW_MS,
    MAX_VALUE_BYTES,
    REASONS,
    TYPE_CODE,
    Event,
    columns,
    country_code,
    country_name,
    decode,
    effective_ms,
    json_schema,
)
from featurestore.errors import InvalidEvent

GOOD = {"session_id": "s1", "type": "view_item", "ts": 1_700_000_000_000}


def _json(**fields: object) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


@pytest.mark.parametrize(
    ("value", "reason", "says"),
    [
        (b"", "not_json", "one JSON object"),
        (b"hello", "not_json", "one JSON object"),
        (_json()[:-5], "not_json", "one JSON object"),
        (b"\xff\xfe", "not_json", "UTF-8"),
        (b'{"session_id":"\\ud800","type":"click","ts":1}', "not_json", "UTF-8"),
        (b'{"session_id":"s","type":"click","ts":1,"price":NaN}', "not_json", "one JSON object"),
        (_json() + b"{}", "not_json", "one JSON object"),
        (b"[" * 5_000, "schema", "object"),
        (b"[1]", "schema", "object"),
        (b"null", "schema", "object"),
        (b'{"type":"click","ts":1}', "schema", "session_id"),
        (_json(ts=-1), "schema", "$.ts"),
        (_json(ts="now"), "schema", "$.ts"),
        (_json(ts=2**53), "schema", "$.ts"),
        (_json(session_id=""), "schema", "$.session_id"),
        (_json(session_id="x" * 129), "schema", "$.session_id"),
        (_json(session_id=7), "schema", "$.session_id"),
        (_json(quantity=10_001), "schema", "$.quantity"),
        (_json(quantity=1.5), "schema", "$.quantity"),
        (_json(price=-1), "schema", "$.price"),
        (b'{"session_id":"s","type":"click","ts":1,"price":1e999}', "schema", "$.price"),
        (_json(consent="no"), "schema", "$.consent"),
        (_json(v=0), "schema", "$.v"),
        (_json(page="p" * 1_000_000), "too_large", str(MAX_VALUE_BYTES)),
    ],
)
def test_what_is_no_event_has_a_reason_that_a_person_understands(value: bytes, reason: str, says: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        decode(value)
    assert caught.value.reason == reason
    assert reason in REASONS
    assert says in caught.value.detail


def test_a_reason_never_quotes_the_event() -> None:
    for field in ("session_id", "page", "price", "device"):
        with pytest.raises(InvalidEvent) as caught:
            decode(_json(**{field: ["secret"]}))
        assert "secret" not in str(caught.value)


@given(st.binary(max_size=60))
def test_any_bytes_are_an_event_or_an_invalid_one(value: bytes) -> None:
    try:
        decode(value)
    except InvalidEvent as error:
        assert error.reason in REASONS  # noqa: PT017 - it may also be an event


def test_nul_unknown_types_unknown_fields_and_later_versions_are_accepted() -> None:
    event = decode(_json(session_id="a\0b", type="teleport", mood="good", v=9))
    assert event.session_id == "a\0b"
    row = columns([event], [0], [5], [-1])[0]
    assert (row["kind"], row["unknown_type"]) == (CLICK, 1)


def test_type_codes_are_persisted_and_never_change() -> None:
    assert EVENT_TYPES[0] == "session_start"
    assert (TYPE_CODE["add_to_cart"], TYPE_CODE["purchase"], TYPE_CODE["click"]) == (9, 15, 24)
    assert len(EVENT_TYPES) == 25


def test_the_columns_of_a_batch() -> None:
    events = [
        decode(_json(event_id="e", visitor_id="v", page="/p", category="c", price=2.5, quantity=3, value=9)),
        decode(_json(type="purchase", device="Mobile", source="newsletter", country="de", scroll_depth=99.9)),
        decode(_json(consent=False, device="tablet", source="email", country="Germany", checkout_step=4)),
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


@given(st.lists(st.tuples(st.integers(0, 2**50), st.integers(-1, 2**50))))
def test_an_events_own_time_counts_only_near_its_records(pairs: list[tuple[int, int]]) -> None:
    ts, record = np.array(pairs, np.int64).reshape(-1, 2).T
    for own, theirs, made in zip(ts.tolist(), record.tolist(), effective_ms(ts, record).tolist(), strict=True):
        assert made == (own if theirs < 0 or abs(own - theirs) <= MAX_SKEW_MS else theirs)


@given(st.text(max_size=4))
def test_a_country_is_two_ascii_letters_or_unknown(text: str) -> None:
    valid = len(text) == 2 and text.isascii() and text.isalpha()
    assert country_name(country_code(text)) == (text.upper() if valid else "")


def test_the_json_schema_says_what_the_decoder_does() -> None:
    schema = json_schema()
    assert schema["required"] == ["session_id", "type", "ts"]
    assert schema["properties"].keys() == {field.name for field in msgspec.structs.fields(Event)}
    jsonschema.validate(GOOD, schema)
    for wrong in ({**GOOD, "ts": -1}, {"type": "click", "ts": 1}, {**GOOD, "quantity": 10_001}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
