"""The event contract: one click event, its fields, and its columns.

Topic ``clicks``, key = ``session_id``, value = JSON in UTF-8. Names are GA4's. The contract is `Event` alone: the
decoder (`repair`), the fast reader (`scan`), the JSON Schema and docs/contract.md all come from it.

Unknown fields are ignored; an unknown ``type`` counts as ``click``. A later version only adds optional fields.
"""

import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta, inspect
from numpy.typing import NDArray

from featurestore.columns.hashing import hash64, hash_text
from featurestore.contract.codes import country_code, currency_code
from featurestore.contract.pages import USUAL, Pages

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
    "refund",
    "user_engagement",
    "page_ping",
    "video_progress",
    "first_visit",
)
"""The index is the type's persisted code: append, never reorder."""

TYPE_CODE: Final = {name: code for code, name in enumerate(EVENT_TYPES)}
PASSIVE: Final = (
    "session_start",
    "first_visit",
    "user_engagement",
    "page_ping",
    "video_progress",
    "view_promotion",
    "refund",
    "scroll",
)
"""Types that no shopper acts by: they count, but are no interaction, change no gap and end no silence."""
CLICK: Final = TYPE_CODE["click"]
TICK: Final = 250
"""Pseudo-event of the timers: time passes, nothing was clicked."""
CLEAR: Final = 251
"""Pseudo-event for a withdrawal of consent: forget the session."""

DEVICES: Final = ("unknown", "desktop", "mobile", "tablet", "other")
SOURCES: Final = ("unknown", "direct", "organic", "paid", "email", "social", "referral", "other")
_DEVICE_CODE: Final = {name: code for code, name in enumerate(DEVICES)}
_SOURCE_CODE: Final = {name: code for code, name in enumerate(SOURCES)}

MAX_VALUE_BYTES: Final = 65_536
MAX_UNITS: Final = 65_535
"""Units of one event's items count up to here."""
MAX_TS: Final = 9_007_199_254_740_991
"""The largest time, epoch ms; record times beyond it, and negative ones, count as none."""

NEAR_MS: Final = 300_000
"""A clock this close to that of the records may be right; farther away it is wrong."""

REASONS: Final = ("not_json", "schema", "too_large", "junk_session_id", "unreadable", "other")
"""Why a record is no event; the closed label set of ``dead_letters_total``."""

_Page = Annotated[str, Meta(max_length=8_192)]
_Text = Annotated[str, Meta(max_length=512)]
_Id = Annotated[str, Meta(max_length=128)]
_Word = Annotated[str, Meta(max_length=64)]
_Money = Annotated[float, Meta(ge=0, le=1e9)]
_Quantity = Annotated[int, Meta(ge=0, le=10_000)]
_Percent = Annotated[float, Meta(ge=0, le=100)]
_Step = Annotated[int, Meta(ge=0, le=50)]


class Item(msgspec.Struct, frozen=True, gc=False):
    """One line of a basket or an order."""

    item_id: _Id | None = None
    category: _Text | None = None
    price: Annotated[_Money | None, Meta(description="Of one unit")] = None
    quantity: Annotated[_Quantity | None, Meta(description="Units, default 1")] = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """One click event."""

    session_id: Annotated[str, Meta(min_length=1, max_length=128, description="One visit; the Kafka key")]
    type: Annotated[str, Meta(min_length=1, max_length=64, description="A GA4 event name; unknown ones count as click")]
    ts: Annotated[int, Meta(ge=0, le=MAX_TS, description="When it happened by the sender's clock, epoch milliseconds")]
    event_id: Annotated[_Id | None, Meta(description="Set it where a producer may send an event twice")] = None
    visitor_id: Annotated[_Id | None, Meta(description="The same person across sessions")] = None
    page: Annotated[
        _Page | None,
        Meta(
            description="What was shown, best as a URL; distinct values are counted once host, fragment and tracking "
            "parameters are gone"
        ),
    ] = None
    item_id: _Id | None = None
    category: _Text | None = None
    price: Annotated[_Money | None, Meta(description="Price of one unit")] = None
    currency: Annotated[_Word | None, Meta(description="ISO 4217; a session's money is kept in its first one")] = None
    quantity: Annotated[_Quantity | None, Meta(description="Units added or removed, default 1")] = None
    query: _Text | None = None
    value: Annotated[_Money | None, Meta(description="Value of a purchase or refund")] = None
    device: Annotated[_Word | None, Meta(description="desktop, mobile, tablet; anything else is other")] = None
    source: Annotated[
        _Word | None, Meta(description="direct, organic, paid, email, social, referral; anything else is other")
    ] = None
    country: Annotated[_Word | None, Meta(description="ISO 3166-1 alpha-2")] = None
    scroll_depth: Annotated[_Percent | None, Meta(description="Percent of the page")] = None
    checkout_step: _Step | None = None
    consent: Annotated[
        bool | None, Meta(description="Anything but true or null is a withdrawal: update nothing, forget the session")
    ] = None
    v: Annotated[int, Meta(ge=1, description="Contract version")] = 1
    sent_ts: Annotated[
        Annotated[int, Meta(ge=0, le=MAX_TS)] | None,
        Meta(description="The sender's clock when it sent the event, epoch milliseconds: corrects a wrong clock"),
    ] = None
    transaction_id: Annotated[_Id | None, Meta(description="Of a purchase or refund: the order counts once")] = None
    items: Annotated[
        list[Item] | None, Meta(description="What a basket, order or refund event is about; counts as one interaction")
    ] = None


class Field(NamedTuple):
    """How a field is read.

    Attributes:
        kind: ``text``, ``number``, ``whole``, ``time``, ``consent`` or ``items``.
        low: smallest number, or shortest text.
        high: largest number, or longest text.
        is_id: whether a number is as good as its digits.
        wanted: what it must be, in words.
    """

    kind: str
    low: float
    high: float
    is_id: bool
    wanted: str


def _field(name: str, given: Any) -> Field:
    kind = _kind(given)
    if isinstance(kind, inspect.StrType):
        high = math.inf if kind.max_length is None else kind.max_length
        wanted = f"a text of {kind.min_length or 0} to {high:,} characters"
        return Field("text", kind.min_length or 0, high, name.endswith("_id"), wanted)
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        low, high = -math.inf if kind.ge is None else kind.ge, math.inf if kind.le is None else kind.le
        if name.endswith("ts"):
            return Field("time", low, high, False, "milliseconds since 1970, at most 2^53 - 1")
        whole = isinstance(kind, inspect.IntType)
        limits = f"{low:,g}" + ("" if math.isinf(high) else f" to {high:,.0f}")
        return Field("whole" if whole else "number", low, high, False, f"a {'whole ' * whole}number from {limits}")
    if isinstance(kind, inspect.BoolType):
        return Field("consent", 0, 1, False, "true or null")
    return Field("items", 0, math.inf, False, "a list of objects")


def _kind(given: Any) -> Any:
    """A type without its description and without null."""
    while isinstance(given, (inspect.Metadata, inspect.UnionType)):
        if isinstance(given, inspect.Metadata):
            given = given.type
        else:
            [given] = [kind for kind in given.types if not isinstance(_bare(kind), inspect.NoneType)]
    return given


def _bare(given: Any) -> Any:
    return given.type if isinstance(given, inspect.Metadata) else given


_STRUCT: Any = inspect.type_info(Event)
FIELDS: Final = {field.encode_name: _field(field.encode_name, field.type) for field in _STRUCT.fields}
"""By name, in the order of `Event`."""


EVENT = np.dtype(
    [
        ("offset", "<i8"),
        ("t", "<i8"),  # when it happened by the sender's clock, epoch ms
        ("sent", "<i8"),  # when it was sent by the same clock; 0 where the event does not say
        ("arrival", "<i8"),  # time of its Kafka record, epoch ms; 0 where it has none
        ("event_id", "<u8"),
        ("visitor", "<u8"),
        ("order", "<u8"),
        ("price", "<f8"),
        ("value", "<f8"),
        ("amount", "<f8"),  # what the items cost together
        ("session_index", "<i4"),  # row of the session in the batch's states
        ("page", "<u4"),
        ("category", "<u4"),
        ("quantity", "<u2"),
        ("country", "<u2"),
        ("currency", "<u2"),
        ("kind", "u1"),
        ("device", "u1"),
        ("source", "u1"),
        ("scroll", "u1"),
        ("checkout", "u1"),
        ("unknown_type", "u1"),
    ]
)
"""One row an event; strings as hashes, absent numbers as NaN, absent codes as 0."""

MASKS: Final = {
    "event_id": np.uint64(0xFF_FFFF_FFFF),  # what a stored session keeps of it
    "visitor": np.uint64(0xFFFF_FFFF_FFFF_FFFF),
    "page": np.uint64(0xFFFF_FFFF),
    "order": np.uint64(0xFF_FFFF_FFFF),
}

COLUMN_FIELDS: Final = (
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
    "sent_ts",
    "transaction_id",
    "currency",
    "items",
)
"""The fields that make columns, in the order in which `columns` takes them."""
_taken = attrgetter(*COLUMN_FIELDS)

BLANK: Final = np.zeros(1, EVENT)
"""The row of an event that says nothing."""
for _column, _default in (("price", math.nan), ("value", math.nan), ("amount", math.nan), ("quantity", 1)):
    BLANK[_column] = _default


def columns(
    events: Sequence[Event],
    indices: Sequence[int],
    offsets: Sequence[int],
    record_ms: Sequence[int],
    pages: Pages = USUAL,
) -> NDArray[np.void]:
    """The events as rows of `EVENT`, in the order given.

    Args:
        events: decoded events.
        indices: row of each event's session in the batch's states.
        offsets: Kafka offset of each event's record.
        record_ms: Kafka timestamp of each event's record, -1 where the broker gave none.
        pages: when two addresses are one page.
    """
    n = len(events)
    rows = np.zeros(n, EVENT)
    if n == 0:
        return rows
    names, ts, ids, visitors, shown, categories, prices, values, quantities, *context = zip(
        *map(_taken, events), strict=True
    )
    devices, sources, countries, scrolls, steps, consents, sent, orders, currencies, items = context
    kinds = np.frombuffer(bytes(map(_TYPES.__getitem__, names)), np.uint8)
    unknown = kinds == _UNKNOWN_TYPE
    rows["unknown_type"] = unknown
    rows["kind"] = np.where(unknown, CLICK, kinds)
    if False in consents:
        rows["kind"][np.fromiter((c is False for c in consents), np.bool_, n)] = CLEAR
    rows["session_index"] = indices
    rows["offset"] = offsets
    rows["t"] = ts
    rows["sent"] = [at or 0 for at in sent]
    rows["arrival"] = arrivals(np.array(record_ms, np.int64))
    normal = [page and pages.normalised(page) for page in shown]
    for field, texts in (("event_id", ids), ("visitor", visitors), ("page", normal), ("order", orders)):
        if texts.count(None) != n:
            rows[field] = hash64(texts) & MASKS[field]
    rows["price"] = _numbers(prices, n)
    rows["value"] = _numbers(values, n)
    rows["amount"] = math.nan
    for field, numbers, default in (("quantity", quantities, 1.0), ("scroll", scrolls, 0.0), ("checkout", steps, 0.0)):
        rows[field] = default if numbers.count(None) == n else np.nan_to_num(_numbers(numbers, n), nan=default)
    for field, texts, codes in (("device", devices, _DEVICE), ("source", sources, _SOURCE)):
        if texts.count(None) != n:
            rows[field] = np.frombuffer(bytes(map(codes.__getitem__, texts)), np.uint8)
    for field, texts, codes in (
        ("country", countries, _COUNTRY),
        ("category", categories, _CATEGORY),
        ("currency", currencies, _CURRENCY),
    ):
        if texts.count(None) != n:
            rows[field] = np.fromiter(map(codes.__getitem__, texts), np.uint32, n)
    for row, of_event in zip(rows, items, strict=True):
        if of_event:
            _basket(row, of_event)
    return rows


def _basket(row: np.void, items: Sequence[Item]) -> None:
    """Units and worth of a list of items; they count before ``quantity`` and ``price`` beside it."""
    units = [1 if item.quantity is None else item.quantity for item in items]
    row["quantity"] = min(sum(units), MAX_UNITS)
    prices = [(item.price, n) for item, n in zip(items, units, strict=True) if item.price is not None]
    if prices:
        amount = 0.0
        for price, n in prices:
            amount += price * n
        row["amount"] = amount
        priced = sum(n for _, n in prices)
        row["price"] = amount / priced if priced else prices[0][0]


def arrivals(record_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Record times as `EVENT` keeps them: 0 for none, and for what no clock shows."""
    return np.where((record_ms >= 0) & (record_ms <= MAX_TS), record_ms, 0)


def about_ms(rows: NDArray[np.void]) -> NDArray[np.int64]:
    """When events happened, as far as each one says by itself (`session.clock` knows more); shape (n,).

    By ``sent_ts`` where there is one, else the sender's clock where it lies within `NEAR_MS` of the record's time, else
    the record's time.
    """
    t, sent, arrival = rows["t"], rows["sent"], rows["arrival"]
    near = (arrival == 0) | (np.abs(t - arrival) <= NEAR_MS)
    return np.where((sent != 0) & (arrival != 0), np.minimum(t - sent, 0) + arrival, np.where(near, t, arrival))


def skews(rows: NDArray[np.void]) -> NDArray[np.int64]:
    """How long before its record each event was sent or, where it does not say, happened, ms; shape (k,).

    Of the records that have a time: what a sender's clock lacks, and how long the event was under way.
    """
    timed = rows[rows["arrival"] != 0]
    skew: NDArray[np.int64] = timed["arrival"] - np.where(timed["sent"] != 0, timed["sent"], timed["t"])
    return skew


class _Codes(dict[str | None, int]):
    """Codes of the words met so far: a look-up in C for all but the first of each.

    Producers may send any word, so the number of words kept is bounded.
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
_CURRENCY: Final = _Codes(currency_code)
_CATEGORY: Final = _Codes(lambda word: hash_text(word) & 0xFFFF_FFFF)


def _numbers(values: Sequence[float | None], n: int) -> NDArray[np.float64] | float:
    return math.nan if values.count(None) == n else np.array(values, np.float64)
