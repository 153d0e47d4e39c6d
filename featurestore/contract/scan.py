"""The fast reader of the event contract: a batch of JSON values into rows of `EVENT`, one compiled pass, no objects.

It reads what nearly every event looks like: one flat JSON object without escapes and exponents, every known field
within its limits. Whatever else it meets, it leaves to `decode.read`, which alone says what is an event, what is wrong
with it and why another value is none: a value that is read here gives the same row there and has no problem, a test
holds the two equal. Fields, types and limits are those of `event.Event`; nothing of the contract is written down twice.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.column import same
from featurestore.columns.hashing import hash_span
from featurestore.columns.jit import compiled
from featurestore.contract import known_fields as known
from featurestore.contract.event import (
    CLEAR,
    EVENT,
    MAX_TS,
    MAX_VALUE_BYTES,
)
from featurestore.contract.json_text import is_literal, number_at, past_white, text_end
from featurestore.contract.pages import USUAL, Pages
from featurestore.contract.row import may_be_junk, put_none, put_number, put_text

_DIGITS: Final = 15
"""So many decimal digits are exact in a float64, and so is a power of ten: their quotient is the nearest float64."""
_REQUIRED: Final = 1 << known.SESSION | 1 << known.TYPE | 1 << known.TS
_TENS: Final = 10.0 ** np.arange(_DIGITS + 1)
_NUMERIC: Final = np.array([kind in {known.WHOLE, known.TIME, known.NUMBER} for kind in range(len(known.KINDS))])


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
        _scan(data, ends, record_ms, known.CONTRACT, pages.table, read, rows, starts, stops, hashes)
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
    at = past_white(data, at, end)
    if at >= end or data[at] != 123:  # {
        return False
    seen = 0
    withdrawn = False
    while True:
        at = past_white(data, at + 1, end)
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
        f = int(contract["places"][(h * contract["factor"][0] & 0xFFFF_FFFF) >> known.SHIFT])
        if f > 0 and not (
            at - name == contract["size"][f] and same(data, name, contract["names"], contract["at"][f], at - name)
        ):
            f = 0
        kind = contract["kind"][f]
        low, high = contract["low"][f], contract["high"][f]
        role = contract["role"][f]
        at = past_white(data, at + 1, end)
        if at >= end or data[at] != 58:  # :
            return False
        at = past_white(data, at + 1, end)
        if at >= end:
            return False
        byte = data[at]
        if byte == 34:
            stop, length = text_end(data, at + 1, end)
            if stop < 0:
                return False
            if f > 0:
                if kind != known.TEXT or not low <= length <= high:
                    return False
                if role == known.SESSION:
                    if may_be_junk(data, at + 1, stop, contract):
                        return False
                    starts[i], stops[i] = at + 1, stop
                    hashes[i] = hash_span(data, at + 1, stop)
                elif role > 0 and not put_text(data, at + 1, stop, role, row, length, contract, table, page):
                    return False
                seen |= 1 << role
            at = stop + 1
        elif byte == 45 or 48 <= byte <= 57:
            at, negative, digits, places, whole = number_at(data, at, end)
            if at < 0:
                return False
            if f > 0:
                if negative or digits > _DIGITS or not _NUMERIC[kind]:
                    return False
                if kind != known.NUMBER and places >= 0:
                    return False
                number = whole / _TENS[places] if places > 0 else np.float64(whole)
                if not low <= number <= high:
                    return False
                seen |= 1 << role
                put_number(row, role, number, whole)
        elif is_literal(data, at, end, 110, 117, 108, 108):  # null
            if f > 0:
                if not contract["null"][f]:
                    return False
                withdrawn &= role != known.CONSENT
                put_none(row, role)
            at += 4
        elif is_literal(data, at, end, 116, 114, 117, 101):  # true
            if f > 0:
                if kind != known.BOOLEAN:
                    return False
                withdrawn = False
            at += 4
        elif byte == 102 and is_literal(data, at + 1, end, 97, 108, 115, 101):  # false
            if f > 0:
                if kind != known.BOOLEAN:
                    return False
                withdrawn = True
            at += 5
        else:
            return False
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
