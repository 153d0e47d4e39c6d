"""Bodies of events: the shapes that are read, whose session an event is, and what is added to it."""

import contextlib
import json
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge import inbox
from edge.problems import Problem
from edge.tokens import new_session_id
from featurestore.contract import decode as contract
from featurestore.contract.event import FIELDS
from featurestore.contract.schema import json_schema
from featurestore.errors import InvalidEvent

EVENT = {"session_id": "s1", "type": "page_view", "ts": 1_780_000_000_000}
MOST = 5
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def _take(event: Any, session_id: str = "", *, private: bool = False, sent_ts: int | None = None) -> Any:
    envelope = inbox.Envelope([msgspec.Raw(json.dumps(event).encode())], sent_ts)
    [answer] = inbox.take(envelope, session_id, private=private)
    return answer


def _sent(event: Any, session_id: str = "", **more: Any) -> dict[str, Any]:
    verdict, taken = _take(event, session_id, **more)
    assert verdict.status == "accepted"
    fields: dict[str, Any] = json.loads(taken.value)
    return fields


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(EVENT),
        json.dumps([EVENT]),
        json.dumps({"events": [EVENT]}),
        "  \n" + json.dumps({"sent_ts": 3, "token": "t", "events": [EVENT]}, indent=1) + "\n",
    ],
)
def test_a_body_is_an_event_a_list_or_an_envelope(body: str) -> None:
    envelope = inbox.read(body.encode(), MOST)
    assert [json.loads(bytes(raw)) for raw in envelope.events] == [EVENT]


def test_a_single_event_may_hold_the_token() -> None:
    envelope = inbox.read(json.dumps({**EVENT, "token": "t"}).encode(), MOST)
    assert envelope.token == "t"
    assert "token" not in _sent({**EVENT, "token": "t"})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"hello", 400),
        (b"7", 400),
        (b"{", 400),
        (b"[1,", 400),
        (b'{"events": 3}', 400),
        (b'{"events": [], "sent_ts": "x"}', 400),
        (b"\xff\xfe", 400),
        (b"[" * 5_000, 400),
        (b"[" + b",".join([b"{}"] * (MOST + 1)) + b"]", 413),
    ],
)
def test_other_bodies_are_problems(body: bytes, status: int) -> None:
    with pytest.raises(Problem) as refused:
        inbox.read(body, MOST)
    assert refused.value.status == status


@given(st.binary(max_size=200))
def test_whatever_the_body_is_it_is_read_or_a_problem(body: bytes) -> None:
    """Anything else that is raised fails the test."""
    with contextlib.suppress(Problem):
        envelope = inbox.read(body, MOST)
        for verdict, taken in inbox.take(envelope, "s", private=True):
            assert (verdict.status != "refused") == (taken is not None)


def test_an_event_without_a_session_is_the_tokens() -> None:
    event = {name: value for name, value in EVENT.items() if name != "session_id"}
    assert _sent(event, "mine")["session_id"] == "mine"
    assert _sent({**event, "session_id": None}, "mine")["session_id"] == "mine"
    assert _take(event)[0].status == "refused"


def test_an_event_of_another_session_than_the_tokens_is_refused() -> None:
    verdict, taken = _take(EVENT, "mine")
    assert verdict.status == "refused"
    assert "another session" in verdict.reason
    assert taken is None
    assert _take({**EVENT, "session_id": ["mine"]}, "mine")[0].status == "refused"


def test_a_session_of_the_edges_own_needs_its_token() -> None:
    """Whoever has read its id in a topic can neither write to it nor ask what it would be shown."""
    theirs = new_session_id()
    event = {**EVENT, "session_id": theirs}
    escaped = json.dumps({**event, "page": "/\\"}).replace("cs-", "\\u0063s-")
    for one in (event, {**event, "price": "12.5"}, json.loads(escaped), {**event, "token": ""}):
        verdict, taken = _take(one)
        assert (verdict.status, taken) == ("refused", None)
        assert "token" in verdict.reason
        assert theirs not in verdict.reason
    envelope = inbox.Envelope([msgspec.Raw(json.dumps(event).encode())] * inbox.MANY + [msgspec.Raw(escaped.encode())])
    assert {verdict.status for verdict, _ in inbox.take(envelope, "", private=False)} == {"refused"}
    assert _sent(event, theirs)["session_id"] == theirs
    assert _sent({**EVENT, "session_id": theirs[3:]})["session_id"] == theirs[3:]


@pytest.mark.parametrize("number", ["9" * 5_000, "1e400", "-0.0", "1" + "0" * 400])
@pytest.mark.parametrize("name", ["mood", "price"])
def test_numbers_of_any_length_stay_as_they_are_where_a_field_is_left_out(name: str, number: str) -> None:
    """Python reads no integer of 5,000 digits, and makes Infinity of 1e400, which is no JSON."""
    value = json.dumps({**EVENT, "visitor_id": "v", "event_id": "e"})[:-1] + f',"{name}":{number}}}'
    for token, private in ((',"token":"t"', False), ("", True), (',"token":"t"', True)):
        body = (value[:-1] + token + "}").encode()
        [(verdict, taken)] = inbox.take(inbox.Envelope([msgspec.Raw(body)]), "", private=private)
        assert verdict.status in {"accepted", "repaired"}
        assert taken is not None
        assert f'"{name}":{number}'.encode() in taken.value
        assert b'"token"' not in taken.value
        assert (b'"visitor_id"' in taken.value) is not private


def test_an_event_id_is_added_where_there_is_none_and_kept_where_there_is_one() -> None:
    made = {_sent(EVENT)["event_id"] for _ in range(100)}
    assert len(made) == 100
    assert _sent({**EVENT, "event_id": "e"})["event_id"] == "e"
    assert _sent({**EVENT, "event_id": None})["event_id"]


def test_privacy_asked_for_by_the_browser_removes_the_visitor() -> None:
    event = {**EVENT, "visitor_id": "v"}
    assert "visitor_id" not in _sent(event, private=True)
    assert _sent(event)["visitor_id"] == "v"


def test_the_bodys_time_of_sending_counts_for_events_without_one() -> None:
    assert _sent(EVENT, sent_ts=9)["sent_ts"] == 9
    assert _sent({**EVENT, "sent_ts": 3}, sent_ts=9)["sent_ts"] == 3


def test_a_bad_optional_field_costs_that_field_and_the_verdict_names_it() -> None:
    verdict, taken = _take({**EVENT, "price": "12.5", "scroll_depth": [], "event_id": "e"})
    assert (verdict.status, sorted(verdict.fields)) == ("repaired", ["price", "scroll_depth"])
    kept = contract.read(taken.value).event
    assert (kept.price, kept.scroll_depth) == (12.5, None)


def test_an_event_id_that_is_none_is_replaced() -> None:
    """Thousands of events may say "undefined"."""
    assert _sent({**EVENT, "event_id": "undefined"})["event_id"] != "undefined"
    assert _sent({**EVENT, "event_id": ""})["event_id"]


def test_a_refusal_says_which_field_and_quotes_nothing() -> None:
    verdict, _ = _take({**EVENT, "ts": "SECRET"})
    assert "ts" in verdict.reason
    assert "SECRET" not in verdict.reason


_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 20_000),
    st.sampled_from([2.0, 1e10, "28.00", "undefined", "", "x" * 129, "\ud83d", 2**53, [], [{"price": "1"}], {}]),
    st.text(max_size=5),
)


@given(st.dictionaries(st.sampled_from([*FIELDS, "mood"]), _values, max_size=5))
@example({"page": "\ud83d"})
@example({"session_id": "\ud83d"})
@example({"mood": "\ud83d"})
def test_the_verdict_is_what_the_published_schema_and_the_worker_say(fields: dict[str, Any]) -> None:
    """Accepted where the schema is content, and what is kept needs no mending; an id that is replaced is no problem."""
    told = {**EVENT, **fields, "event_id": "e"}
    verdict, taken = _take(told)
    if verdict.status == "refused":
        with pytest.raises(InvalidEvent) as refused:
            contract.read(json.dumps(told).encode())
        assert (verdict.reason, taken) == (str(refused.value), None)
        return
    found = contract.read(json.dumps(told).encode())
    assert verdict.status == ("repaired" if found.problems else "accepted")
    assert verdict.fields == [name for name, _ in found.problems]
    assert taken == (found.event.session_id.encode(), taken.value)
    assert contract.read(taken.value).event == found.event
    with contextlib.suppress(UnicodeEncodeError):  # half a surrogate pair is no text that a schema could speak of
        json.dumps(told, ensure_ascii=False).encode()
        assert VALIDATOR.is_valid(told) == (verdict.status == "accepted")


@given(
    st.dictionaries(
        st.text(max_size=8), st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9), max_size=5
    )
)
def test_what_is_added_changes_nothing_else(more: dict[str, Any]) -> None:
    event = {**EVENT, **{f"x{name}": value for name, value in more.items()}}
    sent = _sent(event)
    assert sent.pop("event_id")
    assert sent == event


_VALUES = (
    st.none() | st.booleans() | st.integers(-2, 2**53) | st.sampled_from(["mine", "undefined", "", "v\n", "é", "1"])
)
_FIELDS = st.sampled_from(
    ["session_id", "event_id", "sent_ts", "visitor_id", "token", "events", "price", "consent", "page", "unknown"]
)


@given(
    st.dictionaries(_FIELDS, _VALUES, max_size=6),
    st.sampled_from([None, -1, 9]),
    st.sampled_from(["", "mine"]),
    st.booleans(),
    st.booleans(),
)
def test_the_short_way_of_an_event_says_what_the_long_one_says(
    fields: dict[str, Any], sent_ts: int | None, session_id: str, private: bool, named: bool
) -> None:
    """Down to the bytes, but for an event id that is made up."""
    event = {**({**EVENT, "session_id": "mine"} if named else {"type": "click", "ts": 1}), **fields}
    value = json.dumps(event, ensure_ascii=False).encode()
    envelope = inbox.Envelope([msgspec.Raw(value)], sent_ts)
    whole = inbox._ready(value, envelope, session_id, private=private)
    [key], [scanned] = inbox._read([whole]), inbox._scanned([whole])
    assert scanned in {key, b""}
    verdict, long = inbox._looked_into(value, envelope, session_id, private=private)
    if not key or (session_id and key.decode() != session_id):
        return
    assert verdict == inbox.ACCEPTED
    assert long is not None
    assert long.key == key
    told, wanted = json.loads(whole), json.loads(long.value)
    if "event_id" not in event:
        assert len({told.pop("event_id"), wanted.pop("event_id")}) == 2
    assert list(told.items()) == list(wanted.items())


def test_many_events_get_the_verdicts_that_each_would_get_alone() -> None:
    other = {"session_id": "s2", "type": "click", "ts": 1, "event_id": "e"}
    events = [
        *({**EVENT, "event_id": f"e{i}"} for i in range(inbox.MANY)),
        other,
        {**EVENT, "event_id": "a", "price": "7"},
        {**EVENT, "event_id": "b", "page": 'a "quoted" one'},
        {**EVENT, "event_id": None, "session_id": None},
        {"type": "click"},
        {},
        7,
    ]
    together = list(inbox.take(inbox.Envelope([msgspec.Raw(json.dumps(e).encode()) for e in events]), "", private=True))
    alone = [_take(event, private=True) for event in events]
    assert [verdict for verdict, _ in together] == [verdict for verdict, _ in alone]
    assert [taken for _, taken in together] == [taken for _, taken in alone]
    assert [verdict.status for verdict, _ in together].count("accepted") == inbox.MANY + 2


def test_a_usual_event_goes_the_short_way() -> None:
    for event in (EVENT, {**EVENT, "event_id": "e", "visitor_id": "v"}):
        whole = inbox._ready(json.dumps(event).encode(), inbox.Envelope([], 9), "s1", private=False)
        assert list(inbox._scanned([whole])) == list(inbox._read([whole])) == [b"s1"]
