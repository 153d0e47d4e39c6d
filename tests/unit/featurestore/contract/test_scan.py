"""The fast reader: what it reads is what the contract's own decoder reads, and it reads nearly everything."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featurestore.columns.hashing import hash_text
from featurestore.contract.decode import decode, read
from featurestore.contract.event import EVENT_TYPES, MAX_VALUE_BYTES, Event, columns
from featurestore.contract.scan import Scanned, scan
from featurestore.errors import InvalidEvent
from models.simulator.simulator import SimConfig, simulate
from tests.examples import examples

GOOD = {"session_id": "s1", "type": "view_item", "ts": 1_700_000_000_000}
FIELDS = [field.name for field in msgspec.structs.fields(Event)]


def _scan(values: list[bytes], record_ms: list[int] | None = None) -> tuple[bytes, Scanned]:
    raw = b"".join(values)
    ends = np.cumsum([len(value) for value in values], dtype=np.int64)
    return raw, scan(raw, ends, np.array(record_ms or [-1] * len(values), np.int64))


def _agrees(value: bytes, record_ms: int = -1) -> bool:
    """Whether a value was read; if so, it is an event, and its row the one that `columns` makes."""
    raw, scanned = _scan([b'{"', value, b'"}'], [-1, record_ms, -1])
    assert not scanned.read[[0, 2]].any()
    if not scanned.read[1]:
        return False
    event, problems = read(value)
    assert not problems
    row = columns([event], [0], [0], [record_ms])[0]
    for name in row.dtype.names or ():
        np.testing.assert_equal(scanned.rows[1][name], row[name], err_msg=f"{name} of {value!r}")
    assert raw[scanned.starts[1] : scanned.ends[1]].decode() == event.session_id
    assert int(scanned.hashes[1]) == hash_text(event.session_id)
    return True


def test_what_a_shop_sends_is_read() -> None:
    """Every event of the simulator, to the last field."""
    events = next(iter(simulate(SimConfig(sessions=400, seed=3))))[:3_000]
    values = [value for _, value, _ in events]
    times = [at for _, _, at in events]
    raw, scanned = _scan(values, times)
    assert scanned.read.all()
    decoded = [decode(value) for value in values]
    wanted = columns(decoded, [0] * len(values), [0] * len(values), times)
    for name in wanted.dtype.names or ():
        np.testing.assert_array_equal(scanned.rows[name], wanted[name], err_msg=name)
    spans = zip(scanned.starts.tolist(), scanned.ends.tolist(), strict=True)
    assert [raw[a:b].decode() for a, b in spans] == [event.session_id for event in decoded]


_WORDS = ("", "DE", "de", "D1", "é", "Mobile", "EMAIL", "eur", "USD", "null", "000", " x", "/p?utm_id=1&a=2#b", "28.00")
_texts = st.one_of(
    st.sampled_from([*_WORDS, "\N{KELVIN SIGN}", "x" * 64, "x" * 65, *EVENT_TYPES]),
    st.text(max_size=130),
    st.text(alphabet="aé€𝄞", min_size=60, max_size=140),
)
_numbers = st.one_of(
    st.integers(-2, 120),
    st.integers(0, 2**54),
    st.floats(0, 1e10),
    st.floats(0, 101).map(lambda x: round(x, 2)),
    st.sampled_from([0, 1, 50, 51, 100, 100.5, 10_000, 10_001, 1e9, 1e9 + 1, 99.9999999999]),
)
_values = st.one_of(_texts, _numbers, st.none(), st.booleans(), st.lists(st.integers(), max_size=2))
_events = st.dictionaries(st.sampled_from([*FIELDS, "mood", "session", "ts2"]), _values, max_size=12)
_record_ms = st.sampled_from([-1, 0, 5, GOOD["ts"], 2**50])
_white = st.sampled_from(["", " ", "\n\t\r "])


@given(_events, st.booleans(), st.booleans(), _white, _record_ms)
@settings(max_examples=examples(80))
def test_what_is_read_is_what_the_contract_says(
    fields: dict[str, Any], base: bool, escaped: bool, white: str, record_ms: int
) -> None:
    """Any fields with any values, in any layout."""
    text = json.dumps(
        {**GOOD, **fields} if base else fields, ensure_ascii=escaped, separators=(white + ",", white + ":" + white)
    )
    _agrees((white + text + white).encode("utf-8", "surrogatepass"), record_ms)


@given(st.binary(max_size=3), st.integers(0, 200), st.integers(0, 3))
@settings(max_examples=examples(80))
@example(b'"', 10, 1)
def test_a_damaged_event_is_never_read_as_another(piece: bytes, at: int, dropped: int) -> None:
    value = json.dumps({**GOOD, "page": "/schuhe/größe", "price": 12.5, "consent": True}, ensure_ascii=False).encode()
    _agrees(value[:at] + piece + value[at + dropped :])


@pytest.mark.parametrize(
    "value",
    [
        b'{"session_id":"a","session_id":"b","type":"click","ts":1}',
        b'{"session_id":"a","type":"click","ts":1,"price":2.5,"price":null,"consent":false,"consent":null}',
        b'{"session_id":"a","type":"nonsense","type":"purchase","ts":1,"quantity":3,"quantity":null}',
        b'{"session_id":"a","type":"nonsense","ts":0,"page":"/p","page":null,"device":"mobile","device":null}',
        b' {\n"session_id" : "a" , "type" :"click","ts":1 , "price" : 0.1 }\t',
        '{"session_id":"größe €𝄞","type":"click","ts":1,"query":"größe"}'.encode(),
        b'{"session_id":"a","type":"click","ts":1,"price":123456789.012345,"unknown":-0.5,"other":null}',
        b'{"session_id":"a","type":"click","ts":1,"scroll_depth":99.99999999,"checkout_step":50,"v":2}',
    ],
)
def test_unusual_events_are_read_too(value: bytes) -> None:
    """Names that come twice (the last one counts), white space, other scripts, many digits."""
    assert _agrees(value)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"[]",
        b'{"session_id":"a","type":"click"}',
        b'{"session_id":"a","type":"click","ts":1',
        b'{"session_id":"a","type":"click","ts":1}}',
        b'{"session_id":"a","type":"click","ts":1,}',
        b'{"session_id":"a","type":"click","ts":01}',
        b'{"session_id":"a","type":"click","ts":1.}',
        b'{"session_id":"a","type":"click","ts":-1}',
        b'{"session_id":"a","type":"click","ts":1,"x":"\x1f"}',
        b'{"session_id":"a","type":"click","ts":1,"page":"\xc0\xaf"}',
        b'{"session_id":"a","type":"click","ts":1,"page":"\xed\xa0\x80"}',
        b'{"session_id":"a","type":"click","ts":1,"page":"\xe2\x82"}',
        b'{"session_id":"a","type":"click","ts":1,"x":nul}',
        b'{"session_id":"a","type":"click","ts":1,"unknown":"\xff"}',
        b'{"session_id":"a","type":"click","ts":1,"page":"' + b"p" * MAX_VALUE_BYTES + b'"}',
    ],
)
def test_what_is_no_event_is_left_to_the_decoder(value: bytes) -> None:
    assert not _agrees(value)
    with pytest.raises(InvalidEvent):
        decode(value)


@pytest.mark.parametrize(
    "value",
    [
        b'{"session_id":"a","type":"click","ts":1,"items":[{"id":1}]}',
        b'{"session_id":"\\u0041","type":"click","ts":1}',
        b'{"session_id":"a","type":"click","ts":1,"price":1e3}',
        b'{"session_id":"a","type":"click","ts":9007199254740991}',
        b'{"session_id":"a","type":"click","ts":1.0}',
        b'{"session_id":"a","type":"click","ts":1e3}',
        b'{"session_id":"a","type":"click","ts":1,"price":-1}',
        b'{"session_id":"a","type":"click","ts":1,"visitor_id":"undefined"}',
    ],
)
def test_rare_forms_of_events_are_left_to_the_decoder(value: bytes) -> None:
    assert not _agrees(value)
    decode(value)
