"""The fields of the contract as one record, for compiled code; all of it comes from `event.Event`."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from featurestore.contract.event import DEVICES, EVENT_TYPES, FIELDS, SOURCES
from featurestore.contract.junk import WORDS as JUNK

KINDS: Final = ("text", "whole", "time", "number", "consent", "items")
TEXT, WHOLE, TIME, NUMBER, BOOLEAN, ITEMS = range(len(KINDS))
SHIFT: Final = 32 - 7
_PLACES: Final = 1 << 32 - SHIFT
ROLES: Final = (
    "",
    "session_id",
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
)
"""Fields that make a column; the others are held against their limits alone."""
(
    _,
    SESSION,
    TYPE,
    TS,
    EVENT_ID,
    VISITOR,
    PAGE,
    CATEGORY,
    PRICE,
    VALUE,
    QUANTITY,
    DEVICE,
    SOURCE,
    COUNTRY,
    SCROLL,
    CHECKOUT,
    CONSENT,
    SENT,
    ORDER,
    CURRENCY,
) = range(len(ROLES))


def _contract() -> NDArray[np.void]:
    """`Event` and its words as one record.

    An argument of the compiled pass, which would not notice that another file has changed. Field 0 is no field. A name
    is found by `_place`, with a factor that gives each one a place of its own: one look, then one comparison.
    """
    fields = [(0, 0, 0, 0.0, 0.0, 0, 0)]  # begin of the name, its size, kind, limits, whether null will do, role
    names = b""
    for label, field in FIELDS.items():
        name = label.encode()
        role = ROLES.index(label) if label in ROLES else 0
        null = label not in {"session_id", "type", "ts", "v"}
        kind = KINDS.index(field.kind)
        fields.append((len(names), len(name), kind, field.low, field.high, int(null), role))
        names += name
    hashes = [_name_hash(names[at : at + size]) for at, size, *_ in fields[1:]]
    factor = next(f for f in range(1, 1 << 20, 2) if len({_place(h, f) for h in hashes}) == len(hashes))
    places = np.zeros(_PLACES, np.uint8)
    places[[_place(h, factor) for h in hashes]] = np.arange(1, len(fields))
    columns = zip(("at", "size", "kind", "low", "high", "null", "role"), zip(*fields, strict=True), strict=True)
    parts: dict[str, NDArray[Any]] = {name: np.array(values) for name, values in columns}
    parts |= {"names": np.frombuffer(names, np.uint8), "places": places, "factor": np.array([factor])}
    for known, words in (("type", EVENT_TYPES), ("device", DEVICES), ("source", SOURCES), ("junk", JUNK)):
        parts[f"{known}s"], parts[f"{known}_ends"] = _words(words)
    record = np.zeros(1, np.dtype([(name, part.dtype, part.shape) for name, part in parts.items()]))
    for name, part in parts.items():
        record[0][name] = part
    return record


def _words(words: tuple[str, ...]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Words end to end, and where each ends; their index is their code."""
    parts = [word.encode() for word in words]
    return np.frombuffer(b"".join(parts), np.uint8), np.cumsum([len(part) for part in parts])


def _name_hash(name: bytes) -> int:
    h = 0
    for byte in name:
        h = (h * 31 + byte) & 0xFFFF_FFFF
    return h


def _place(name_hash: int, factor: int) -> int:
    return (name_hash * factor & 0xFFFF_FFFF) >> SHIFT


CONTRACT: Final = _contract()
