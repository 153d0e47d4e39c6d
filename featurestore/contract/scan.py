"""The fast reader of the event contract: a batch of JSON values into rows of `EVENT`, one compiled pass, no objects.

It reads what nearly every event looks like: one flat JSON object without escapes and exponents, every known field
within its limits. Whatever else it meets, it leaves to `decode.read`, which alone says what is an event, what is wrong
with it and why it is no event. A value that is read here gives the same row there and has no problem; a test
holds the two equal. Fields, types and limits are those of `event.Event`; nothing of the contract is written down twice.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.hashing import hash_span
from featurestore.columns.jit import compiled, inlined
from featurestore.contract import known_fields as known
from featurestore.contract.event import BLANK, CLEAR, EVENT, MAX_TS, MAX_VALUE_BYTES
from featurestore.contract.json_text import is_literal, number_at, past_white, text_end
from featurestore.contract.pages import USUAL, Pages
from featurestore.contract.row import may_be_junk, put_none, put_number, put_text

_DIGITS: Final = 15
"""So many decimal digits are exact in a float64, and so is a power of ten: their quotient is the nearest float64."""
_START: Final = 0
_END: Final = 1
_HASH: Final = 2
_REQUIRED: Final = 1 << known.SESSION | 1 << known.TYPE | 1 << known.TS
_TENS: Final = 10.0 ** np.arange(_DIGITS + 1)
_NUMERIC: Final = np.array([kind in {known.WHOLE, known.TIME, known.NUMBER} for kind in range(len(known.KINDS))])


class Scanned(NamedTuple):
    """What a pass over values gave; shapes (n,).

    Attributes:
        read: which values were read; the rows of the others mean nothing.
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
    cells = np.empty((n, EVENT.itemsize), np.uint8)
    rows = cells.view(EVENT).reshape(n)
    sessions = np.zeros((3, n), np.int64)
    hashes = sessions[_HASH].view(np.uint64)
    if n:
        _scan(np.frombuffer(raw, np.uint8), ends, record_ms, pages.table, read, rows, cells, sessions)
    return Scanned(read, rows, sessions[_START], sessions[_END], hashes)


@compiled
def _scan(
    data: NDArray[np.uint8],
    ends: NDArray[np.int64],
    record_ms: NDArray[np.int64],
    pages: NDArray[np.void],
    read: NDArray[np.bool_],
    rows: NDArray[np.void],
    cells: NDArray[np.uint8],
    sessions: NDArray[np.int64],
) -> None:
    page = np.empty(MAX_VALUE_BYTES + 2, np.uint8)
    start = 0
    for i in range(ends.size):
        end = ends[i]
        rows[i] = BLANK[0]
        if end - start <= MAX_VALUE_BYTES:
            read[i] = _object(data, start, end, pages[0], page, rows[i], cells[i], sessions[:, i])
            rows[i]["arrival"] = record_ms[i] if 0 <= record_ms[i] <= MAX_TS else 0
        start = end


@inlined
def _object(
    data: NDArray[np.uint8],
    at: int,
    end: int,
    pages: np.void,
    page: NDArray[np.uint8],
    row: np.void,
    cells: NDArray[np.uint8],
    session: NDArray[np.int64],
) -> bool:
    """One value; False where it is not what this pass reads."""
    at = past_white(data, at, end)
    if at >= end or data[at] != 123:  # {
        return False
    seen = 0
    withdrawn = False
    while True:
        at, f = _name(data, at + 1, end)
        if at < 0:
            return False
        role = known.ROLE[f]
        first = data[at]
        if first == 34:  # a text
            at = _text(data, at + 1, end, f, pages, page, row, session)
        elif first == 45 or 48 <= first <= 57:  # a minus or a digit
            at = _number(data, at, end, f, row)
        else:
            at = _literal(data, at, end, f)
            if at >= 0 and role == known.CONSENT:
                withdrawn = first == 102  # false
            elif at >= 0 and first == 110:  # null
                put_none(cells, role)
        if at < 0:
            return False
        seen |= 1 << role
        at = past_white(data, at, end)
        if at >= end:
            return False
        if data[at] == 125:  # }
            break
        if data[at] != 44:  # ,
            return False
    if withdrawn:
        row["kind"] = CLEAR
    return seen & _REQUIRED == _REQUIRED and past_white(data, at + 1, end) == end


@inlined
def _name(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """Read a name and its colon; where its value begins (-1 for nowhere), and its field, 0 for an unknown one."""
    at = past_white(data, at, end)
    if at >= end or data[at] != 34:
        return -1, 0
    at, f = known.name_at(data, at + 1, end)
    if at < 0:
        return -1, 0
    at = past_white(data, at + 1, end)
    if at >= end or data[at] != 58:  # :
        return -1, 0
    at = past_white(data, at + 1, end)
    return at if at < end else -1, f


@inlined
def _text(
    data: NDArray[np.uint8],
    at: int,
    end: int,
    f: int,
    pages: np.void,
    page: NDArray[np.uint8],
    row: np.void,
    session: NDArray[np.int64],
) -> int:
    """Read the text that begins at ``at``; where what follows it begins, -1 where it is not what this pass reads."""
    stop, length = text_end(data, at, end)
    if stop < 0 or f == 0:
        return stop + 1 if stop >= 0 else -1
    if known.KIND[f] != known.TEXT or not known.LOW[f] <= length <= known.HIGH[f]:
        return -1
    role = known.ROLE[f]
    if role == known.SESSION:
        if may_be_junk(data, at, stop):
            return -1
        session[_START], session[_END] = at, stop
        session[_HASH] = hash_span(data, at, stop)
    elif role > 0 and not put_text(data, at, stop, role, row, length, pages, page):
        return -1
    return stop + 1


@inlined
def _number(data: NDArray[np.uint8], at: int, end: int, f: int, row: np.void) -> int:
    """As `_text`, for the number that begins at ``at``."""
    at, negative, digits, places, whole = number_at(data, at, end)
    if at < 0 or f == 0:
        return at
    kind = known.KIND[f]
    if negative or digits > _DIGITS or not _NUMERIC[kind] or (kind != known.NUMBER and places >= 0):
        return -1
    number = whole / _TENS[places] if places > 0 else np.float64(whole)
    if not known.LOW[f] <= number <= known.HIGH[f]:
        return -1
    put_number(row, known.ROLE[f], number, whole)
    return at


@inlined
def _literal(data: NDArray[np.uint8], at: int, end: int, f: int) -> int:
    """As `_text`, for null, true and false."""
    if is_literal(data, at, end, 110, 117, 108, 108):  # null
        return at + 4 if known.NULL[f] else -1
    if f > 0 and known.KIND[f] != known.BOOLEAN:
        return -1
    if is_literal(data, at, end, 116, 114, 117, 101):  # true
        return at + 4
    if data[at] == 102 and is_literal(data, at + 1, end, 97, 108, 115, 101):  # false
        return at + 5
    return -1
