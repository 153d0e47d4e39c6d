"""The fast reader of the event contract: a batch of JSON values into rows of `EVENT`, one compiled pass, no objects.

It reads what nearly every event looks like: one flat JSON object without escapes and exponents, every known field
within its limits. Whatever else it meets, it leaves to `decode.read`, which alone says what is an event, what is wrong
with it and why another value is none: a value that is read here gives the same row there and has no problem, a test
holds the two equal. Fields, types and limits are those of `event.Event`; nothing of the contract is written down twice.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.column import same
from featurestore.columns.hashing import hash_span
from featurestore.columns.jit import compiled
from featurestore.contract.event import (
    CLEAR,
    CLICK,
    DEVICES,
    EVENT,
    EVENT_TYPES,
    FIELDS,
    MASKS,
    MAX_TS,
    MAX_VALUE_BYTES,
    SOURCES,
)
from featurestore.contract.junk import LONGEST
from featurestore.contract.junk import WORDS as JUNK
from featurestore.contract.pages import USUAL, Pages, is_plain, normalise

_KINDS: Final = ("text", "whole", "time", "number", "consent", "items")
_TEXT, _WHOLE, _TIME, _NUMBER, _BOOLEAN, _ITEMS = range(len(_KINDS))
_DIGITS: Final = 15
"""So many decimal digits are exact in a float64, and so is a power of ten: their quotient is the nearest float64."""
_SHIFT: Final = 32 - 7
_PLACES: Final = 1 << 32 - _SHIFT
_ROLES: Final = (
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
    _SESSION,
    _TYPE,
    _TS,
    _EVENT_ID,
    _VISITOR,
    _PAGE,
    _CATEGORY,
    _PRICE,
    _VALUE,
    _QUANTITY,
    _DEVICE,
    _SOURCE,
    _COUNTRY,
    _SCROLL,
    _CHECKOUT,
    _CONSENT,
    _SENT,
    _ORDER,
    _CURRENCY,
) = range(len(_ROLES))
_REQUIRED: Final = 1 << _SESSION | 1 << _TYPE | 1 << _TS


class Scanned(NamedTuple):
    """What a pass over values gave; shapes (n,).

    Attributes:
        read: which values were read; the rows of the others hold nothing.
        rows: `EVENT`, without ``session_index``.
        starts: where each session id begins in the values.
        ends: where it ends.
        hashes: of the session ids.
    """

    read: NDArray[np.bool_]
    rows: NDArray[np.void]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    hashes: NDArray[np.uint64]


def _contract() -> NDArray[np.void]:
    """`Event` and its words as one record.

    An argument of the compiled pass, which would not notice that another file has changed. Field 0 is no field. A name
    is found by `_place`, with a factor that gives each one a place of its own: one look, then one comparison.
    """
    fields = [(0, 0, 0, 0.0, 0.0, 0, 0)]  # begin of the name, its size, kind, limits, whether null will do, role
    names = b""
    for label, field in FIELDS.items():
        name = label.encode()
        role = _ROLES.index(label) if label in _ROLES else 0
        null = label not in {"session_id", "type", "ts", "v"}
        kind = _KINDS.index(field.kind)
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
    return (name_hash * factor & 0xFFFF_FFFF) >> _SHIFT


_CONTRACT: Final = _contract()
_OTHER_DEVICE: Final = DEVICES.index("other")
_OTHER_SOURCE: Final = SOURCES.index("other")
_EVENT_ID_MASK: Final = np.uint64(MASKS["event_id"])
_PAGE_MASK: Final = np.uint64(MASKS["page"])
_CATEGORY_MASK: Final = np.uint64(0xFFFF_FFFF)
_TENS: Final = 10.0 ** np.arange(_DIGITS + 1)
_WHITE: Final = np.array([byte in b" \t\n\r" for byte in range(256)])
# Tables, since compiled code makes a set anew wherever it asks one.
_ZERO: Final = np.array([byte in b"0-" for byte in range(256)])
_IS_ID: Final = np.array([role in {_EVENT_ID, _VISITOR, _ORDER} for role in range(len(_ROLES))])
_IS_WORD: Final = np.array([role in {_DEVICE, _SOURCE} for role in range(len(_ROLES))])
_NUMERIC: Final = np.array([kind in {_WHOLE, _TIME, _NUMBER} for kind in range(len(_KINDS))])


def scan(raw: bytes, ends: NDArray[np.int64], record_ms: NDArray[np.int64], pages: Pages = USUAL) -> Scanned:
    """Read values that lie end to end in ``raw``.

    Args:
        raw: the values.
        ends: of each value, shape (n,).
        record_ms: Kafka timestamp of each record, -1 where the broker gave none, shape (n,).
        pages: when two addresses are one page.
    """
    n = ends.size
    read = np.zeros(n, np.bool_)
    rows = np.zeros(n, EVENT)
    starts, stops = np.zeros(n, np.int64), np.zeros(n, np.int64)
    hashes = np.zeros(n, np.uint64)
    if n:
        data = np.frombuffer(raw, np.uint8)
        _scan(data, ends, record_ms, _CONTRACT, pages.table, read, rows, starts, stops, hashes)
    return Scanned(read, rows, starts, stops, hashes)


@compiled
def _scan(
    data: NDArray[np.uint8],
    ends: NDArray[np.int64],
    record_ms: NDArray[np.int64],
    contracts: NDArray[np.void],
    tables: NDArray[np.void],
    read: NDArray[np.bool_],
    rows: NDArray[np.void],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    hashes: NDArray[np.uint64],
) -> None:
    contract = contracts[0]
    table = tables[0]
    page = np.empty(MAX_VALUE_BYTES + 2, np.uint8)
    start = 0
    for i in range(ends.size):
        end = ends[i]
        if end - start <= MAX_VALUE_BYTES:
            row = rows[i]
            row["price"] = np.nan
            row["value"] = np.nan
            row["amount"] = np.nan
            row["quantity"] = 1
            read[i] = _object(data, start, end, contract, table, page, row, starts, stops, hashes, i)
            row["arrival"] = record_ms[i] if 0 <= record_ms[i] <= MAX_TS else 0
        start = end


@compiled
def _object(
    data: NDArray[np.uint8],
    at: int,
    end: int,
    contract: np.void,
    table: np.void,
    page: NDArray[np.uint8],
    row: np.void,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    i: int,
) -> bool:
    """One value; False where it is not what this pass reads."""
    at = _past_white(data, at, end)
    if at >= end or data[at] != 123:  # {
        return False
    seen = 0
    withdrawn = False
    while True:
        at = _past_white(data, at + 1, end)
        if at >= end or data[at] != 34:  # a name begins with a quote
            return False
        name = at + 1
        at = name
        h = 0
        while at < end and data[at] != 34:
            byte = int(data[at])
            if byte < 32 or byte == 92 or byte >= 128:
                return False
            h = (h * 31 + byte) & 0xFFFF_FFFF
            at += 1
        f = int(contract["places"][(h * contract["factor"][0] & 0xFFFF_FFFF) >> _SHIFT])
        if f > 0 and not (
            at - name == contract["size"][f] and same(data, name, contract["names"], contract["at"][f], at - name)
        ):
            f = 0
        kind = contract["kind"][f]
        low, high = contract["low"][f], contract["high"][f]
        role = contract["role"][f]
        at = _past_white(data, at + 1, end)
        if at >= end or data[at] != 58:  # :
            return False
        at = _past_white(data, at + 1, end)
        if at >= end:
            return False
        byte = data[at]
        if byte == 34:
            stop, length = _text_end(data, at + 1, end)
            if stop < 0:
                return False
            if f > 0:
                if kind != _TEXT or not low <= length <= high:
                    return False
                if role == _SESSION:
                    if _may_be_junk(data, at + 1, stop, contract):
                        return False
                    starts[i], stops[i] = at + 1, stop
                    hashes[i] = hash_span(data, at + 1, stop)
                elif role > 0 and not _text(data, at + 1, stop, role, row, length, contract, table, page):
                    return False
                seen |= 1 << role
            at = stop + 1
        elif byte == 45 or 48 <= byte <= 57:
            at, negative, digits, places, whole = _number(data, at, end)
            if at < 0:
                return False
            if f > 0:
                if negative or digits > _DIGITS or not _NUMERIC[kind]:
                    return False
                if kind != _NUMBER and places >= 0:
                    return False
                number = whole / _TENS[places] if places > 0 else np.float64(whole)
                if not low <= number <= high:
                    return False
                seen |= 1 << role
                _put_number(row, role, number, whole)
        elif _literal(data, at, end, 110, 117, 108, 108):  # null
            if f > 0:
                if not contract["null"][f]:
                    return False
                withdrawn &= role != _CONSENT
                _put_none(row, role)
            at += 4
        elif _literal(data, at, end, 116, 114, 117, 101):  # true
            if f > 0:
                if kind != _BOOLEAN:
                    return False
                withdrawn = False
            at += 4
        elif byte == 102 and _literal(data, at + 1, end, 97, 108, 115, 101):  # false
            if f > 0:
                if kind != _BOOLEAN:
                    return False
                withdrawn = True
            at += 5
        else:
            return False
        at = _past_white(data, at, end)
        if at >= end:
            return False
        if data[at] == 125:  # }
            break
        if data[at] != 44:  # ,
            return False
    if withdrawn:
        row["kind"] = CLEAR
    return seen & _REQUIRED == _REQUIRED and _past_white(data, at + 1, end) == end


@compiled
def _past_white(data: NDArray[np.uint8], at: int, end: int) -> int:
    while at < end and _WHITE[data[at]]:
        at += 1
    return at


@compiled
def _literal(data: NDArray[np.uint8], at: int, end: int, a: int, b: int, c: int, d: int) -> bool:
    return at + 4 <= end and data[at] == a and data[at + 1] == b and data[at + 2] == c and data[at + 3] == d


@compiled
def _text_end(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """Where the text that begins at ``at`` has its closing quote, and its characters; (-1, 0) for what is left."""
    length = 0
    while at < end:
        byte = data[at]
        if byte == 34:
            return at, length
        if byte < 32 or byte == 92:
            return -1, 0
        if byte >= 128:
            more = _character(data, at, end)
            if more < 0:
                return -1, 0
            at += more
        at += 1
        length += 1
    return -1, 0


@compiled
def _character(data: NDArray[np.uint8], at: int, end: int) -> int:
    """How many bytes follow the first one of a character in UTF-8; -1 where it is none (RFC 3629)."""
    first = data[at]
    low, high = 0x80, 0xBF
    if 0xC2 <= first <= 0xDF:
        more = 1
    elif 0xE0 <= first <= 0xEF:
        more = 2
        if first == 0xE0:
            low = 0xA0
        elif first == 0xED:
            high = 0x9F
    elif 0xF0 <= first <= 0xF4:
        more = 3
        if first == 0xF0:
            low = 0x90
        elif first == 0xF4:
            high = 0x8F
    else:
        return -1
    if at + more >= end or not low <= data[at + 1] <= high:
        return -1
    for j in range(2, more + 1):
        if data[at + j] & 0xC0 != 0x80:
            return -1
    return more


@compiled
def _number(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, bool, int, int, int]:
    """The number that begins at ``at``.

    Returns:
        Where it ends (-1 where it has an exponent or is none), whether it has a minus, its digits, how many of them
        stand behind the point (-1 without one), and all of them as one integer.
    """
    negative = data[at] == 45
    if negative:
        at += 1
    first = at
    whole = 0
    while at < end and 48 <= data[at] <= 57:
        whole = whole * 10 + int(data[at]) - 48
        at += 1
    digits = at - first
    if digits == 0 or (digits > 1 and data[first] == 48):
        return -1, negative, 0, -1, 0
    places = -1
    if at < end and data[at] == 46:
        at += 1
        first = at
        while at < end and 48 <= data[at] <= 57:
            whole = whole * 10 + int(data[at]) - 48
            at += 1
        places = at - first
        digits += places
        if places == 0:
            return -1, negative, 0, -1, 0
    if at < end and (data[at] == 101 or data[at] == 69):
        return -1, negative, 0, -1, 0
    return at, negative, digits, places, whole


@compiled
def _text(
    data: NDArray[np.uint8],
    start: int,
    stop: int,
    role: int,
    row: np.void,
    length: int,
    contract: np.void,
    table: np.void,
    page: NDArray[np.uint8],
) -> bool:
    """Put a text in its column; False where only `decode` can tell what it means."""
    if role == _TYPE:
        code = _word(data, start, stop, contract["types"], contract["type_ends"])
        row["unknown_type"] = code < 0
        row["kind"] = code if code >= 0 else CLICK
    elif _IS_ID[role]:
        if _may_be_junk(data, start, stop, contract):
            return False
        if role == _EVENT_ID:
            row["event_id"] = hash_span(data, start, stop) & _EVENT_ID_MASK
        elif role == _VISITOR:
            row["visitor"] = hash_span(data, start, stop)
        else:
            row["order"] = hash_span(data, start, stop) & _EVENT_ID_MASK
    elif role == _PAGE:
        if is_plain(data, start, stop):
            row["page"] = hash_span(data, start, stop) & _PAGE_MASK
        else:
            row["page"] = hash_span(page, 0, normalise(data, start, stop, table, page)) & _PAGE_MASK
    elif role == _CATEGORY:
        row["category"] = hash_span(data, start, stop) & _CATEGORY_MASK
    elif role == _COUNTRY:
        row["country"] = _country(data, start, stop)
    elif role == _CURRENCY:
        row["currency"] = _currency(data, start, stop)
    elif _IS_WORD[role]:
        if length != stop - start:
            return False  # in lower case, some letters beyond ASCII become ASCII ones
        if role == _DEVICE:
            code = _lower_word(data, start, stop, contract["devices"], contract["device_ends"])
            row["device"] = code if code >= 0 else _OTHER_DEVICE
        else:
            code = _lower_word(data, start, stop, contract["sources"], contract["source_ends"])
            row["source"] = code if code >= 0 else _OTHER_SOURCE
    return True


@compiled
def _may_be_junk(data: NDArray[np.uint8], start: int, stop: int, contract: np.void) -> bool:
    """Whether an id is `junk`, or has white space around it, which `junk` looks behind."""
    if start == stop or data[start] <= 32 or data[stop - 1] <= 32:
        return True
    if stop - start <= LONGEST and _lower_word(data, start, stop, contract["junks"], contract["junk_ends"]) >= 0:
        return True
    zeros = start
    while zeros < stop and _ZERO[data[zeros]]:
        zeros += 1
    return zeros == stop


@compiled
def _word(data: NDArray[np.uint8], start: int, stop: int, words: NDArray[np.uint8], ends: NDArray[np.int64]) -> int:
    """The code of a word, -1 for an unknown one."""
    begin = 0
    for code in range(ends.size):
        if ends[code] - begin == stop - start and same(data, start, words, begin, stop - start):
            return code
        begin = ends[code]
    return -1


@compiled
def _lower_word(
    data: NDArray[np.uint8], start: int, stop: int, words: NDArray[np.uint8], ends: NDArray[np.int64]
) -> int:
    """As `_word`, whatever the case of the ASCII letters."""
    begin = 0
    for code in range(ends.size):
        if ends[code] - begin == stop - start:
            same = True
            for j in range(stop - start):
                byte = data[start + j]
                same &= (byte | 32 if 65 <= byte <= 90 else byte) == words[begin + j]
            if same:
                return code
        begin = ends[code]
    return -1


@compiled
def _country(data: NDArray[np.uint8], start: int, stop: int) -> int:
    """As `codes.country_code`."""
    if stop - start != 2:
        return 0
    code = 0
    for j in range(start, stop):
        letter = int(data[j]) & 0xDF
        if not 65 <= letter <= 90 or data[j] >= 128:
            return 0
        code = code << 8 | letter
    return code


@compiled
def _currency(data: NDArray[np.uint8], start: int, stop: int) -> int:
    """As `codes.currency_code`."""
    if stop - start != 3:
        return 0
    code = 0
    for j in range(start, stop):
        letter = int(data[j]) & 0xDF
        if not 65 <= letter <= 90 or data[j] >= 128:
            return 0
        code = code * 26 + letter - 65
    return code + 1


@compiled
def _put_number(row: np.void, role: int, number: float, whole: int) -> None:
    if role == _TS:
        row["t"] = whole
    elif role == _PRICE:
        row["price"] = number
    elif role == _VALUE:
        row["value"] = number
    elif role == _QUANTITY:
        row["quantity"] = whole
    elif role == _SCROLL:
        row["scroll"] = int(number)
    elif role == _CHECKOUT:
        row["checkout"] = whole
    elif role == _SENT:
        row["sent"] = whole


@compiled
def _put_none(row: np.void, role: int) -> None:
    """As if the field were absent: it may have stood before with a value."""
    if role == _EVENT_ID:
        row["event_id"] = 0
    elif role == _VISITOR:
        row["visitor"] = 0
    elif role == _PAGE:
        row["page"] = 0
    elif role == _CATEGORY:
        row["category"] = 0
    elif role == _COUNTRY:
        row["country"] = 0
    elif role == _DEVICE:
        row["device"] = 0
    elif role == _SOURCE:
        row["source"] = 0
    elif role == _PRICE:
        row["price"] = np.nan
    elif role == _VALUE:
        row["value"] = np.nan
    elif role == _QUANTITY:
        row["quantity"] = 1
    elif role == _SCROLL:
        row["scroll"] = 0
    elif role == _CHECKOUT:
        row["checkout"] = 0
    elif role == _SENT:
        row["sent"] = 0
    elif role == _ORDER:
        row["order"] = 0
    elif role == _CURRENCY:
        row["currency"] = 0
