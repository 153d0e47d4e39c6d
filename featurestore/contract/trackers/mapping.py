"""What the trackers' mappings share: the result, and how untidy values are read.

Numbers may be text, ids may be numbers, times may be ISO 8601 or epochs. A value that cannot be read is None.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from featurestore.contract.junk import is_junk

MAX_TS: Final = 9_007_199_254_740_991
"""The contract's largest time, epoch ms."""
MAX_ID: Final = 128
MAX_PAGE: Final = 8_192
MAX_TYPE: Final = 64
MAX_ITEMS: Final = 200
"""Items of one event that are read; the rest is left out."""

LEFT_OUT: Final = ("no_object", "no_session", "no_time", "no_action")
"""Why an entry became no event: not an object, without an id of a session or visitor, without a time, without a name
of what happened. Closed: it labels metrics."""
WHY: Final = dict(
    zip(
        LEFT_OUT,
        ("not an object", "no id of a session or a visitor", "no time", "nothing that happened"),
        strict=True,
    )
)
"""The same in words."""

Event = dict[str, Any]
"""Fields of the contract, ready to be encoded: only those that are known."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_encoder: Final = msgspec.json.Encoder()


@dataclass(slots=True)
class Mapped:
    """What one payload became.

    Attributes:
        events: in the payload's order.
        left_out: a reason of `LEFT_OUT` for each entry that should have been an event but is not.
        ignored: entries that are no actions of a shopper by their nature (Segment's identify, group, alias).
    """

    events: list[Event] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    ignored: int = 0

    def add(self, other: "Mapped") -> None:
        """Append what another payload became."""
        self.events += other.events
        self.left_out += other.left_out
        self.ignored += other.ignored


def left_out(reason: str) -> Mapped:
    """Nothing but a reason."""
    return Mapped(left_out=[reason])


def event(session_id: str, kind: str, ts: int, **fields: Any) -> Event:
    """An event with the fields that are known; None, "" and [] are left out."""
    known = {name: value for name, value in fields.items() if value is not None and value not in ("", [])}
    return {"session_id": session_id, "type": kind, "ts": ts, **known}


def encode(made: Event) -> bytes:
    """The event as JSON, what goes into a record."""
    return _encoder.encode(made)


def objects(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def text(value: Any) -> str | None:
    """A text or a whole number as text; None for anything else, for "" and for text that is not valid Unicode."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    try:
        stripped = str(value).strip()
        stripped.encode()
    except (UnicodeEncodeError, ValueError):  # a lone surrogate; an integer of thousands of digits
        return None
    return stripped or None


def word(value: Any, limit: int = 64) -> str | None:
    """A text of at most ``limit`` characters; a longer one is no word."""
    found = text(value)
    return found if found is not None and len(found) <= limit else None


def page(*values: Any) -> str | None:
    """The first of the values that is a text; a hash of it where it is longer than a page may be.

    Cutting would make one page of all that begin alike.
    """
    found = first_text(*values)
    if found is not None and len(found) > MAX_PAGE:
        return hashlib.blake2b(found.encode(), digest_size=32).hexdigest()
    return found


def first_text(*values: Any) -> str | None:
    """The first of the values that is a text."""
    return next((found for value in values if (found := text(value))), None)


def first_id(*values: Any) -> str | None:
    """The first of the values that is an id, and not what programs write when they have none."""
    return next((found for value in values if (found := text(value)) and not is_junk(found)), None)


def identifier(*parts: str | None) -> str | None:
    """The parts that are there, joined with a dot; a hash of them where that is longer than an id may be.

    Cutting would give different shoppers one id.

    >>> identifier("1.2", None), identifier("1.2", "9"), identifier(None)
    ('1.2', '1.2.9', None)
    """
    joined = ".".join(part for part in parts if part)
    if len(joined) > MAX_ID:
        return hashlib.blake2b(joined.encode(), digest_size=32).hexdigest()
    return joined or None


def session_of(who: str | None, visit: str | None) -> str | None:
    """The id of a session, of a browser's or person's id and a visit's; None where strangers might share it.

    A tracker that counts visits, or names them by the moment in which they begin, gives two browsers one number.

    >>> session_of("1.2", "1704164645"), session_of(None, "1704164645"), session_of(None, "8a3e-77")
    ('1.2.1704164645', None, '8a3e-77')
    """
    if who is None and visit is not None and visit.isdecimal():
        return None
    return identifier(who, visit)


def number(value: Any) -> float | None:
    """A number of at most 1e9 that is not negative, also as text."""
    found = _real(value)
    return found if found is not None and 0 <= found <= 1e9 else None


def whole(value: Any) -> int | None:
    """A whole number of at most 10,000."""
    found = number(value)
    return int(found) if found is not None and found <= 10_000 and found == int(found) else None


def time_ms(value: Any) -> int | None:
    """Epoch ms of ISO 8601 text (UTC where it names no zone) or of an epoch in s, ms or µs, told by its size.

    >>> time_ms("2024-01-02T03:04:05.678Z"), time_ms(1_704_164_645), time_ms("1704164645678")
    (1704164645678, 1704164645000, 1704164645678)
    >>> time_ms("2024-01-02 03:04:05 UTC")
    1704164645000
    """
    epoch = _real(value)
    if epoch is None:
        return _iso_ms(value) if isinstance(value, str) else None
    if not 0 < epoch < 1e18:
        return None
    return int(epoch * 1_000) if epoch < 1e11 else int(epoch) if epoch < 1e14 else int(epoch) // 1_000


def _iso_ms(value: str) -> int | None:
    try:
        when = datetime.fromisoformat(value.removesuffix("UTC").strip())
        ms = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None
    return ms if ms >= 0 else None


def _real(value: Any) -> float | None:
    """A finite number, also as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def micros_ms(value: Any) -> int | None:
    """Epoch ms of an epoch in µs, also as text or float."""
    micros = _real(value)
    return int(micros) // 1_000 if micros is not None and 0 < micros <= MAX_TS * 1_000 else None


def item(told: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> Event:
    """One item of the contract, from the first of the names of each field that can be read."""
    found: Event = {
        "item_id": first_text(*(told.get(name) for name in names["item_id"])),
        "category": next((w for name in names["category"] if (w := word(told.get(name), 512))), None),
        "price": next((n for name in names["price"] if (n := number(told.get(name))) is not None), None),
        "quantity": next((n for name in names["quantity"] if (n := whole(told.get(name))) is not None), None),
    }
    if found["item_id"] and len(found["item_id"]) > MAX_ID:
        found["item_id"] = identifier(found["item_id"])
    return {name: value for name, value in found.items() if value is not None}


def items_of(value: Any, names: Mapping[str, tuple[str, ...]]) -> list[Event]:
    """The items of a list; entries that are no objects are left out."""
    entries: Iterable[Any] = value if isinstance(value, list) else ()
    return [item(entry, names) for entry in entries if isinstance(entry, dict)][:MAX_ITEMS]


def basket(items: list[Event]) -> Event:
    """Fields of an event that speaks of items: one item as fields of its own, several as ``items`` too.

    ``quantity`` is the sum of units, ``price`` what one unit costs on average, so that their product is what all of
    them are worth. Where an item has no price, it counts in units only, and ``price`` is left out.

    >>> basket([{"price": 20.0}, {"price": 15.0, "quantity": 3}, {"price": 30.0}])["quantity"]
    5
    >>> basket([{"price": 20.0}, {"price": 15.0, "quantity": 3}, {"price": 30.0}])["price"]
    19.0
    """
    if not items:
        return {}
    first = {name: items[0].get(name) for name in ("item_id", "category")}
    if len(items) == 1:
        return {**first, "price": items[0].get("price"), "quantity": items[0].get("quantity")}
    units = sum(one.get("quantity", 1) for one in items)
    priced = all("price" in one for one in items)
    price = worth(items) if priced else None
    return {
        **first,
        "items": items,
        "quantity": min(units, 10_000),
        "price": price / units if price is not None and units else None,
    }


def worth(items: list[Event]) -> float | None:
    """What the items with a price cost together, None where none has one; at most 1e9."""
    prices = [one["price"] * one.get("quantity", 1) for one in items if "price" in one]
    return min(math.fsum(prices), 1e9) if prices else None
