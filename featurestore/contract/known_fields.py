"""The fields of the contract as tables, for compiled code; all of it comes from `event.Event`."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.column import same
from featurestore.columns.jit import inlined
from featurestore.contract.event import COLUMN_FIELDS, DEVICES, EVENT, EVENT_TYPES, FIELDS, SOURCES
from featurestore.contract.junk import WORDS as JUNK

KINDS: Final = ("text", "whole", "time", "number", "consent", "items")
TEXT, WHOLE, TIME, NUMBER, BOOLEAN, ITEMS = range(len(KINDS))
ROLES: Final = ("", "session_id", *COLUMN_FIELDS)
"""A field's role is its index here; 0 for fields that make no column: they are only held against their limits."""
SESSION: Final = ROLES.index("session_id")
TYPE: Final = ROLES.index("type")
TS: Final = ROLES.index("ts")
EVENT_ID: Final = ROLES.index("event_id")
VISITOR: Final = ROLES.index("visitor_id")
PAGE: Final = ROLES.index("page")
CATEGORY: Final = ROLES.index("category")
PRICE: Final = ROLES.index("price")
VALUE: Final = ROLES.index("value")
QUANTITY: Final = ROLES.index("quantity")
DEVICE: Final = ROLES.index("device")
SOURCE: Final = ROLES.index("source")
COUNTRY: Final = ROLES.index("country")
SCROLL: Final = ROLES.index("scroll_depth")
CHECKOUT: Final = ROLES.index("checkout_step")
CONSENT: Final = ROLES.index("consent")
SENT: Final = ROLES.index("sent_ts")
ORDER: Final = ROLES.index("transaction_id")
CURRENCY: Final = ROLES.index("currency")

_COLUMNS: Final = {
    "type": "kind",
    "ts": "t",
    "visitor_id": "visitor",
    "scroll_depth": "scroll",
    "checkout_step": "checkout",
    "sent_ts": "sent",
    "transaction_id": "order",
}
"""Fields whose column in `EVENT` has another name."""


class _Fields(NamedTuple):
    """One entry a field of `Event`; entry 0 is no field.

    Attributes:
        kind: index in `KINDS`.
        low: smallest number, or shortest text.
        high: largest number, or longest text.
        null: whether null will do.
        role: index in `ROLES`.
        name_at: where its name begins in `names`.
        name_size: bytes of its name.
        names: all names end to end.
        places: a name's `place` -> its field.
    """

    kind: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    null: NDArray[np.bool_]
    role: NDArray[np.int64]
    name_at: NDArray[np.int64]
    name_size: NDArray[np.int64]
    names: NDArray[np.uint8]
    places: NDArray[np.uint8]


_SHIFT: Final = 32 - 7


def _name_hash(name: bytes) -> int:
    h = 0
    for byte in name:
        h = (h * 31 + byte) & 0xFFFF_FFFF
    return h


def _place(hashed: int, factor: int) -> int:
    return (hashed * factor & 0xFFFF_FFFF) >> _SHIFT


def _fields() -> tuple[_Fields, int]:
    """The table, and the factor that gives each name a place of its own: one look, then one comparison."""
    names = [name.encode() for name in FIELDS]
    hashes = [_name_hash(name) for name in names]
    factor = next(f for f in range(1, 1 << 20, 2) if len({_place(h, f) for h in hashes}) == len(hashes))
    places = np.zeros(1 << 32 - _SHIFT, np.uint8)
    places[[_place(h, factor) for h in hashes]] = np.arange(1, len(names) + 1)
    sizes = np.array([0, *map(len, names)])
    fields = FIELDS.values()
    table = _Fields(
        kind=np.array([0, *(KINDS.index(field.kind) for field in fields)]),
        low=np.array([0, *(field.low for field in fields)]),
        high=np.array([0, *(field.high for field in fields)]),
        null=np.array([True, *(name not in {"session_id", "type", "ts", "v"} for name in FIELDS)]),
        role=np.array([0, *(ROLES.index(name) if name in ROLES else 0 for name in FIELDS)]),
        name_at=np.cumsum(sizes) - sizes,
        name_size=sizes,
        names=np.frombuffer(b"".join(names), np.uint8),
        places=places,
    )
    return table, factor


_TABLE, _FACTOR = _fields()
# One by one, since compiled code takes arrays of a module as constants.
KIND, LOW, HIGH, NULL, ROLE, NAME_AT, NAME_SIZE, NAMES, _PLACES = _TABLE


@inlined
def name_at(data: NDArray[np.uint8], start: int, end: int) -> tuple[int, int]:
    """The name that begins at ``start``: where its closing quote is, and its field; field 0 is none of the contract's.

    The quote is at -1 where the name has none, or has an escape or a byte beyond ASCII.
    """
    at = start
    h = 0
    while at < end and data[at] != 34:
        byte = int(data[at])
        if byte < 32 or byte == 92 or byte >= 128:
            return -1, 0
        h = (h * 31 + byte) & 0xFFFF_FFFF
        at += 1
    if at >= end:
        return -1, 0
    f = int(_PLACES[(h * _FACTOR & 0xFFFF_FFFF) >> _SHIFT])
    if not (NAME_SIZE[f] == at - start and same(data, start, NAMES, NAME_AT[f], at - start)):
        f = 0
    return at, f


def _spans() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each role, the bytes of a row that hold its column; none for roles without one."""
    columns: Mapping[str, Any] = EVENT.fields or {}
    spans = np.zeros((2, len(ROLES)), np.int64)
    for role, name in enumerate(ROLES):
        column = columns.get(_COLUMNS.get(name, name))
        if column is not None:
            spans[:, role] = column[1], column[1] + column[0].itemsize
    return spans[0], spans[1]


COLUMN_AT, COLUMN_END = _spans()


def _words(words: tuple[str, ...]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Words end to end, and where each ends; their index is their code."""
    parts = [word.encode() for word in words]
    return np.frombuffer(b"".join(parts), np.uint8), np.cumsum([len(part) for part in parts])


TYPE_WORDS, TYPE_ENDS = _words(EVENT_TYPES)
DEVICE_WORDS, DEVICE_ENDS = _words(DEVICES)
SOURCE_WORDS, SOURCE_ENDS = _words(SOURCES)
JUNK_WORDS, JUNK_ENDS = _words(JUNK)
