"""The event contract: one click event, how it is decoded, and its columns.

Topic ``clicks``, key = ``session_id``, value = JSON in UTF-8. Names are GA4's. The contract is this file alone:
the decoder, the JSON Schema and the published examples all come from `Event`.

Unknown fields are ignored; an unknown ``type`` counts as ``click``. A later version only adds optional fields.
"""

import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from featurestore.columns.hashing import hash64, hash_text
from featurestore.errors import InvalidEvent

EVENT_TYPES: Final = (
    "session_start",
    "page_view",
    "view_item_list",
    "view_item",
    "select_item",
    "search",
    "view_promotion",
    "select_promotion",
    "add_to_wishlist",
    "add_to_cart",
    "remove_from_cart",
    "view_cart",
    "begin_checkout",
    "add_shipping_info",
    "add_payment_info",
    "purchase",
    "login",
    "share",
    "contact",
    "ask_question",
    "view_policy",
    "compare",
    "view_reviews",
    "scroll",
    "click",
)
"""The index is the type's persisted code: append, never reorder."""

TYPE_CODE: Final = {name: code for code, name in enumerate(EVENT_TYPES)}
PASSIVE: Final = ("session_start", "scroll", "view_promotion")
CLICK: Final = TYPE_CODE["click"]
TICK: Final = 250
"""Pseudo-event of the timers: time passes, nothing was clicked."""
CLEAR: Final = 251
"""Pseudo-event for ``consent: false``: forget the session."""

DEVICES: Final = ("unknown", "desktop", "mobile", "tablet", "other")
SOURCES: Final = ("unknown", "direct", "organic", "paid", "email", "social", "referral", "other")
_DEVICE_CODE: Final = {name: code for code, name in enumerate(DEVICES)}
_SOURCE_CODE: Final = {name: code for code, name in enumerate(SOURCES)}

MAX_VALUE_BYTES: Final = 65_536
MAX_SKEW_MS: Final = 300_000
"""An event's own time counts while it lies this close to the time of its Kafka record; else the record's does."""

REASONS: Final = ("not_json", "schema", "too_large", "other")
"""Why a record is no event; the closed label set of ``dead_letters_total``."""

_Text = Annotated[str, Meta(max_length=512)]
_Id = Annotated[str, Meta(max_length=128)]
_Word = Annotated[str, Meta(max_length=64)]
_Money = Annotated[float, Meta(ge=0, le=1e9)]
_Quantity = Annotated[int, Meta(ge=0, le=10_000)]
_Percent = Annotated[float, Meta(ge=0, le=100)]
_Step = Annotated[int, Meta(ge=0, le=50)]


class Event(msgspec.Struct, frozen=True, gc=False):
    """One click event."""

    session_id: Annotated[str, Meta(min_length=1, max_length=128, description="One visit; the Kafka key")]
    type: Annotated[str, Meta(min_length=1, max_length=64, description="A GA4 event name; unknown ones count as click")]
    ts: Annotated[int, Meta(ge=0, le=9_007_199_254_740_991, description="Event time, epoch milliseconds")]
    event_id: Annotated[_Id | None, Meta(description="Set it where a producer may send an event twice")] = None
    visitor_id: Annotated[_Id | None, Meta(description="The same person across sessions")] = None
    page: Annotated[_Text | None, Meta(description="What was shown; distinct values are counted")] = None
    item_id: _Id | None = None
    category: _Text | None = None
    price: Annotated[_Money | None, Meta(description="Price of one item")] = None
    currency: _Word | None = None
    quantity: Annotated[_Quantity | None, Meta(description="Items added or removed, default 1")] = None
    query: _Text | None = None
    value: Annotated[_Money | None, Meta(description="Order value of a purchase")] = None
    device: Annotated[_Word | None, Meta(description="desktop, mobile, tablet; anything else is other")] = None
    source: Annotated[
        _Word | None, Meta(description="direct, organic, paid, email, social, referral; anything else is other")
    ] = None
    country: Annotated[_Word | None, Meta(description="ISO 3166-1 alpha-2")] = None
    scroll_depth: Annotated[_Percent | None, Meta(description="Percent of the page")] = None
    checkout_step: _Step | None = None
    consent: Annotated[bool | None, Meta(description="false: update nothing and forget the session")] = None
    v: Annotated[int, Meta(ge=1, description="Contract version")] = 1


EVENT = np.dtype(
    [
        ("offset", "<i8"),
        ("t", "<i8"),  # effective time, epoch ms
        ("event_id", "<u8"),
        ("visitor", "<u8"),
        ("session_index", "<i4"),  # row of the session in the batch's states
        ("page", "<u4"),
        ("category", "<u4"),
        ("price", "<f4"),
        ("value", "<f4"),
        ("quantity", "<u2"),
        ("country", "<u2"),
        ("kind", "u1"),
        ("device", "u1"),
        ("source", "u1"),
        ("scroll", "u1"),
        ("checkout", "u1"),
        ("unknown_type", "u1"),
    ]
)
"""One row an event; strings as hashes, absent numbers as NaN, absent codes as 0."""

_decoder = msgspec.json.Decoder(Event)
decode_unchecked = _decoder.decode
"""The decoder itself, for the hot path: raises msgspec's errors, checks no size."""


def decode(value: bytes) -> Event:
    """Decode one record's value.

    Raises:
        InvalidEvent: with a reason of `REASONS` and the path of the wrong field, never the content.
    """
    if len(value) > MAX_VALUE_BYTES:
        raise InvalidEvent("too_large", f"the value has {len(value)} bytes, at most {MAX_VALUE_BYTES} are read")
    try:
        return _decoder.decode(value)
    except msgspec.ValidationError as error:
        raise InvalidEvent("schema", _without_content(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidEvent("not_json", "the value is not one JSON object in UTF-8") from None


def _without_content(message: str) -> str:
    """msgspec names expected types, limits and the path; what could quote the event (an invalid value) is cut."""
    return message.split("Invalid value", 1)[0] or "a field has a value outside its limits"


def json_schema() -> dict[str, Any]:
    """The contract as JSON Schema (2020-12)."""
    schema: dict[str, Any] = msgspec.json.schema(Event)
    definition = schema["$defs"]["Event"]
    definition["properties"]["type"]["examples"] = list(EVENT_TYPES)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Clickstage event", **definition}


MASKS: Final = {
    "event_id": np.uint64(0xFF_FFFF_FFFF),  # what a stored session keeps of it
    "visitor": np.uint64(0xFFFF_FFFF_FFFF_FFFF),
    "page": np.uint64(0xFFFF_FFFF),
}

_FIELDS = attrgetter(
    "type",
    "ts",
    "event_id",
    "visitor_id",
    "page",
    "category",
    "price",
    "value",
    "quantity",
    "device",
    "source",
    "country",
    "scroll_depth",
    "checkout_step",
    "consent",
)


def columns(
    events: Sequence[Event], indices: Sequence[int], offsets: Sequence[int], record_ms: Sequence[int]
) -> NDArray[np.void]:
    """The events as rows of `EVENT`, in the order given.

    Args:
        events: decoded events.
        indices: row of each event's session in the batch's states.
        offsets: Kafka offset of each event's record.
        record_ms: Kafka timestamp of each event's record, -1 where the broker gave none.
    """
    n = len(events)
    rows = np.zeros(n, EVENT)
    if n == 0:
        return rows
    names, ts, ids, visitors, pages, categories, prices, values, quantities, *context = zip(
        *map(_FIELDS, events), strict=True
    )
    devices, sources, countries, scrolls, steps, consents = context
    kinds = np.frombuffer(bytes(map(_TYPES.__getitem__, names)), np.uint8)
    unknown = kinds == _UNKNOWN_TYPE
    rows["unknown_type"] = unknown
    rows["kind"] = np.where(unknown, CLICK, kinds)
    if False in consents:
        rows["kind"][np.fromiter((c is False for c in consents), np.bool_, n)] = CLEAR
    rows["session_index"] = indices
    rows["offset"] = offsets
    rows["t"] = effective_ms(np.array(ts, np.int64), np.array(record_ms, np.int64))
    for field, texts in (("event_id", ids), ("visitor", visitors), ("page", pages)):
        if texts.count(None) != n:
            rows[field] = hash64(texts) & MASKS[field]
    rows["price"] = _numbers(prices, n)
    rows["value"] = _numbers(values, n)
    for field, numbers, default in (("quantity", quantities, 1.0), ("scroll", scrolls, 0.0), ("checkout", steps, 0.0)):
        rows[field] = default if numbers.count(None) == n else np.nan_to_num(_numbers(numbers, n), nan=default)
    for field, texts, codes in (("device", devices, _DEVICE), ("source", sources, _SOURCE)):
        if texts.count(None) != n:
            rows[field] = np.frombuffer(bytes(map(codes.__getitem__, texts)), np.uint8)
    for field, texts, codes in (("country", countries, _COUNTRY), ("category", categories, _CATEGORY)):
        if texts.count(None) != n:
            rows[field] = np.fromiter(map(codes.__getitem__, texts), np.uint32, n)
    return rows


def effective_ms(ts: NDArray[np.int64], record_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """``ts`` where it lies within `MAX_SKEW_MS` of the record's time (or the record has none), else the record's."""
    return np.where((record_ms < 0) | (np.abs(ts - record_ms) <= MAX_SKEW_MS), ts, record_ms)


def country_code(text: str | None) -> int:
    """Two ASCII letters as one 16-bit number, 0 for anything else; `country_name` is the inverse."""
    if text is None or len(text) != 2 or not (text.isascii() and text.isalpha()):
        return 0
    upper = text.upper()
    return ord(upper[0]) << 8 | ord(upper[1])


def country_name(code: int) -> str:
    """The two letters of a `country_code`, "" for 0."""
    return chr(code >> 8) + chr(code & 0xFF) if code else ""


class _Codes(dict[str | None, int]):
    """Codes of the words met so far: a look-up in C for all but the first of each.

    What the outside world invents must not fill the memory, so only so many are kept.
    """

    def __init__(self, code: Callable[[str], int]) -> None:
        super().__init__()
        self._code = code

    def __missing__(self, word: str | None) -> int:
        code = 0 if word is None else self._code(word)
        if len(self) < _MAX_WORDS:
            self[word] = code
        return code


_MAX_WORDS: Final = 10_000
_UNKNOWN_TYPE: Final = 255
_TYPES: Final = _Codes(lambda word: TYPE_CODE.get(word, _UNKNOWN_TYPE))
_DEVICE: Final = _Codes(lambda word: _DEVICE_CODE.get(word.lower(), _DEVICE_CODE["other"]))
_SOURCE: Final = _Codes(lambda word: _SOURCE_CODE.get(word.lower(), _SOURCE_CODE["other"]))
_COUNTRY: Final = _Codes(country_code)
_CATEGORY: Final = _Codes(lambda word: hash_text(word) & 0xFFFF_FFFF)


def _numbers(values: Sequence[float | None], n: int) -> NDArray[np.float32] | float:
    return math.nan if values.count(None) == n else np.array(values, np.float32)
