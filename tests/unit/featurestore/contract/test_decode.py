"""What is an event, what is repaired or lost of it, what is none and why: decoder, schema and adapters say the same."""

import json
import math
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featurestore.contract.decode import IDS, OUTCOMES, decode, decode_unchecked, read
from featurestore.contract.event import FIELDS, MAX_TS, MAX_VALUE_BYTES, REASONS, Event
from featurestore.contract.junk import WORDS, is_junk
from featurestore.contract.pages import USUAL
from featurestore.contract.scan import scan
from featurestore.contract.schema import json_schema
from featurestore.errors import InvalidEvent
from tests.examples import examples

GOOD = {"session_id": "s1", "type": "view_item", "ts": 1_700_000_000_000}
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def _json(**fields: object) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


@pytest.mark.parametrize(
    ("value", "reason", "says"),
    [
        (b"", "not_json", "one JSON object"),
        (b"hello", "not_json", "one JSON object"),
        (_json()[:-5], "not_json", "one JSON object"),
        (b"\xff\xfe", "not_json", "UTF-8"),
        (_json() + b"{}", "not_json", "one JSON object"),
        (b"[" * 5_000, "not_json", "object"),
        (b'{"a":' * 5_000, "not_json", "object"),
        (b"[1]", "schema", "object"),
        (b"null", "schema", "object"),
        (b'{"type":"click","ts":1}', "schema", "session_id"),
        (_json(session_id=None), "schema", "session_id"),
        (_json(ts=-1), "schema", "$.ts"),
        (_json(ts="now"), "schema", "$.ts"),
        (_json(ts=True), "schema", "$.ts"),
        (_json(ts=2**53), "schema", "$.ts"),
        (_json(ts=10**400), "schema", "$.ts"),
        (_json(ts=math.nan), "schema", "$.ts"),
        (_json(session_id=""), "schema", "$.session_id"),
        (_json(session_id="x" * 129), "schema", "$.session_id"),
        (_json(session_id=["s"]), "schema", "$.session_id"),
        (_json(session_id="\ud800"), "schema", "$.session_id"),
        (_json(type=7.5), "schema", "$.type"),
        (_json(page="p" * 1_000_000), "too_large", str(MAX_VALUE_BYTES)),
        (_json(unknown="x").replace(b'"x"', b'"\xff"'), "not_json", "UTF-8"),
        (_json(page="x").replace(b'"x"', b'"\xff"'), "not_json", "UTF-8"),
    ],
)
def test_what_is_no_event_has_a_reason_that_a_person_understands(value: bytes, reason: str, says: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        decode(value)
    assert caught.value.reason == reason
    assert reason in REASONS
    assert says in caught.value.detail


@pytest.mark.parametrize(
    ("field", "sent", "means"),
    [
        ("price", "28.00", 28.0),
        ("price", " 28 ", 28.0),
        ("price", 28, 28.0),
        ("quantity", 2.0, 2),
        ("quantity", "2", 2),
        ("ts", 1_700_000_000_000.0, 1_700_000_000_000),
        ("ts", 1_700_000_000_000.7, 1_700_000_000_000),
        ("ts", "1700000000000", 1_700_000_000_000),
        ("sent_ts", "1700000000000", 1_700_000_000_000),
        ("visitor_id", 7, "7"),
        ("visitor_id", 7.0, "7"),
        ("session_id", 12, "12"),
        ("item_id", 9, "9"),
        ("page", "/" + "x" * 2_000, "/" + "x" * 2_000),
        ("category", 5, "5"),
        ("scroll_depth", "75", 75.0),
        ("consent", "denied", False),
        ("consent", "false", False),
        ("consent", "true", False),
        ("consent", 0, False),
        ("consent", 1, False),
        ("consent", {}, False),
        ("consent", True, True),
        ("consent", None, None),
    ],
)
@pytest.mark.issue(20, line=15)
def test_a_plain_meaning_is_read(field: str, sent: object, means: object) -> None:
    event = decode(_json(**{field: sent}))
    made = getattr(event, field)
    assert made == means
    assert type(made) is type(means)


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("price", -5),
        ("price", "28,00"),
        ("price", "free"),
        ("price", True),
        ("price", [1]),
        ("price", 1e10),
        ("price", math.nan),
        ("price", math.inf),
        ("price", "NaN"),
        ("quantity", 2.5),
        ("quantity", 10_001),
        ("quantity", "1e99"),
        ("page", {"url": "/"}),
        ("page", "x" * 8_193),
        ("page", "\ud83d"),
        ("query", 1.5),
        ("visitor_id", ["v"]),
        ("visitor_id", "v" * 129),
        ("checkout_step", "two"),
        ("scroll_depth", 101),
        ("items", {"item_id": "a"}),
        ("items", "a"),
        ("v", 0),
        ("sent_ts", -1),
    ],
)
@pytest.mark.issue(20, line=15)
def test_a_bad_optional_field_costs_that_field_alone(field: str, sent: object) -> None:
    event, problems = read(_json(**{field: sent}, category="shoes"))
    assert problems == ((field, "lost"),)
    assert event == Event(**GOOD, category="shoes")  # type: ignore[arg-type] # a table of fields


@pytest.mark.issue(20, line=15, sibling=True)
def test_an_item_loses_what_cannot_be_read_and_nothing_else() -> None:
    sent = [{"item_id": 7, "price": "3.50", "quantity": -1}, None, "x", {"price": 2, "quantity": 2.0, "colour": []}]
    event, problems = read(_json(items=sent))
    assert problems == (("items", "repaired"),)
    assert event.items is not None
    assert [(item.item_id, item.price, item.quantity) for item in event.items] == [("7", 3.5, None), (None, 2.0, 2)]


# -- junk ids --------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [*WORDS, "UNDEFINED", "NaN", "[object Object]", "0", "0000", "", "  ", " null "])
@pytest.mark.issue(20, line=7)
def test_junk_as_a_session_is_a_dead_letter_and_as_another_id_ignored(word: str) -> None:
    if word:
        with pytest.raises(InvalidEvent) as caught:
            decode(_json(session_id=word))
        assert caught.value.reason == "junk_session_id"
    for field in IDS:
        event, problems = read(_json(**{field: word}))
        assert (getattr(event, field), problems) == (None, ((field, "junk"),))


@pytest.mark.issue(20, line=7, sibling=True)
def test_zeros_with_hyphens_are_junk_and_a_shops_own_names_are_not() -> None:
    assert is_junk("00000000-0000-0000-0000-000000000000")
    assert decode(_json(visitor_id=0)).visitor_id is None
    for name in ("10", "0a", "none of your business", "nullable", "\N{KELVIN SIGN}", "undefined1"):
        assert not is_junk(name)


# -- one definition --------------------------------------------------------------------------------

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12_000),
    st.sampled_from([0, 1.0, 2.5, -0.0, 1e9, 1e9 + 1, MAX_TS, MAX_TS + 1, 10**30, "28.00", "7", "x" * 129, "x" * 600]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from([*WORDS, "", " ", "00-0", "Null", "None\n"]),
)
_items = st.lists(
    st.one_of(_scalars, st.dictionaries(st.sampled_from(["item_id", "price", "quantity", "category", "x"]), _scalars)),
    max_size=3,
)
_fields = st.dictionaries(
    st.sampled_from([*FIELDS, "mood"]),
    st.one_of(_scalars, _items, st.dictionaries(st.text(max_size=2), _scalars)),
    max_size=6,
)


@given(_fields, st.booleans())
@settings(max_examples=examples(60))
@example({"quantity": 2.0}, True)
@example({"items": [{"price": "1"}]}, True)
@example({"visitor_id": "null\n"}, True)
@pytest.mark.issue(20, line=15)
def test_the_schema_complains_exactly_where_the_decoder_repairs_or_refuses(fields: dict[str, Any], base: bool) -> None:
    told = {**GOOD, **fields} if base else fields
    valid = VALIDATOR.is_valid(told)
    try:
        event, problems = read(json.dumps(told).encode())
    except InvalidEvent:
        assert not valid
        return
    assert valid == (not problems), problems
    assert {name for name, _ in problems} <= FIELDS.keys()
    assert {outcome for _, outcome in problems} <= set(OUTCOMES)
    again = read(msgspec.json.encode(event))
    assert (again.event, again.problems) == (event, ())


@given(_fields)
@settings(max_examples=examples(40))
def test_what_msgspec_accepts_means_the_same_here(fields: dict[str, Any]) -> None:
    value = json.dumps({**GOOD, **fields}).encode()
    try:
        strict = decode_unchecked(value)
    except msgspec.DecodeError:
        return
    try:
        event, problems = read(value)
    except InvalidEvent:
        assert is_junk(strict.session_id)
        return
    lost = dict.fromkeys(name for name, _ in problems)
    assert event == msgspec.structs.replace(strict, **lost)


@given(st.binary(max_size=60))
def test_any_bytes_are_an_event_or_an_invalid_one(value: bytes) -> None:
    try:
        decode(value)
    except InvalidEvent as error:
        assert error.reason in REASONS  # noqa: PT017 - it may also be an event


THEIRS = [
    "events",
    "client_id",
    "anonymousId",
    "userId",
    "messageId",
    "type",
    "batch",
    "event",
    "schema",
    "e",
    "dtm",
    "domain_sessionid",
    "session_id",
    "ts",
]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(THEIRS), ANYTHING, max_size=5))
@example({"anonymousId": None, "type": []})
@example({"anonymousId": "a", "type": {}})
def test_whatever_another_tracker_s_fields_hold_nothing_else_is_raised(value: dict[str, Any]) -> None:
    """The reason of a dead letter is looked for in what came, of any type: that must not end the worker."""
    try:
        decode(json.dumps(value).encode())
    except InvalidEvent as refused:
        assert refused.reason in REASONS  # noqa: PT017 - it may also be an event


def test_a_reason_never_quotes_the_event() -> None:
    for fields in ({"session_id": ["secret"]}, {"ts": "secret"}, {"type": {"secret": 1}}):
        with pytest.raises(InvalidEvent) as caught:
            decode(_json(**fields))
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "tracker"),
    [
        ({"client_id": "c", "events": [{"name": "page_view"}]}, "ga4"),
        (
            {"type": "track", "event": "Product Added", "anonymousId": "a", "timestamp": "2024-01-02T03:04:05Z"},
            "segment",
        ),
        ({"batch": [], "messageId": "m"}, "segment"),
        ({"e": "pv", "dtm": "1700000000000", "url": "https://shop"}, "snowplow"),
        ({"schema": "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4", "data": []}, "snowplow"),
        ({"event": "page_view", "domain_sessionid": "s", "derived_tstamp": "2024-01-02 03:04:05"}, "snowplow"),
    ],
)
def test_another_trackers_record_is_named_with_what_maps_it(value: dict[str, Any], tracker: str) -> None:
    with pytest.raises(InvalidEvent, match=f"bridge --from {tracker}") as caught:
        decode(json.dumps(value).encode())
    assert caught.value.reason == "schema"


def test_a_line_of_snowplows_enriched_format_is_named_too() -> None:
    with pytest.raises(InvalidEvent, match="replay --format snowplow"):
        decode(b"shop\tweb\t2024-01-02 03:04:05.678" + b"\t" * 128)


def test_nul_unknown_types_unknown_fields_and_later_versions_are_accepted() -> None:
    event, problems = read(_json(session_id="a\0b", type="teleport", mood="good", v=9))
    assert (event.session_id, problems) == ("a\0b", ())


@pytest.mark.contract("Two names twice in one object")
def test_of_two_values_under_one_name_the_last_one_counts() -> None:
    """By the fast reader, by the decoder, and where the first one is broken."""
    for first in ("1", '"x"', "null"):
        value = b'{"session_id":"s","type":"purchase","ts":7,"value":%s,"value":2.5}' % first.encode()
        assert decode(value).value == 2.5
        rows = scan(value, np.array([len(value)]), np.array([-1]), USUAL).rows
        assert np.isnan(rows["value"][0]) or rows["value"][0] == 2.5


def test_the_schema_names_every_field_and_what_is_required() -> None:
    schema = json_schema()
    assert schema["required"] == ["session_id", "type", "ts"]
    assert schema["properties"].keys() == {field.name for field in msgspec.structs.fields(Event)}
    VALIDATOR.check_schema(schema)
