"""Put what a field of an event says into its row of `EVENT`: for compiled code."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.column import same
from featurestore.columns.hashing import hash_span
from featurestore.columns.jit import compiled
from featurestore.contract import known_fields as known
from featurestore.contract.event import CLICK, DEVICES, MASKS, SOURCES
from featurestore.contract.junk import LONGEST
from featurestore.contract.pages import is_plain, normalise

_OTHER_DEVICE: Final = DEVICES.index("other")
_OTHER_SOURCE: Final = SOURCES.index("other")
_EVENT_ID_MASK: Final = np.uint64(MASKS["event_id"])
_PAGE_MASK: Final = np.uint64(MASKS["page"])
_CATEGORY_MASK: Final = np.uint64(0xFFFF_FFFF)
# Tables, since compiled code makes a set anew wherever it asks one.
_ZERO: Final = np.array([byte in b"0-" for byte in range(256)])
_IS_ID: Final = np.array([role in {known.EVENT_ID, known.VISITOR, known.ORDER} for role in range(len(known.ROLES))])
_IS_WORD: Final = np.array([role in {known.DEVICE, known.SOURCE} for role in range(len(known.ROLES))])


@compiled
def put_text(
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
    if role == known.TYPE:
        code = _word(data, start, stop, contract["types"], contract["type_ends"])
        row["unknown_type"] = code < 0
        row["kind"] = code if code >= 0 else CLICK
    elif _IS_ID[role]:
        if may_be_junk(data, start, stop, contract):
            return False
        if role == known.EVENT_ID:
            row["event_id"] = hash_span(data, start, stop) & _EVENT_ID_MASK
        elif role == known.VISITOR:
            row["visitor"] = hash_span(data, start, stop)
        else:
            row["order"] = hash_span(data, start, stop) & _EVENT_ID_MASK
    elif role == known.PAGE:
        if is_plain(data, start, stop):
            row["page"] = hash_span(data, start, stop) & _PAGE_MASK
        else:
            row["page"] = hash_span(page, 0, normalise(data, start, stop, table, page)) & _PAGE_MASK
    elif role == known.CATEGORY:
        row["category"] = hash_span(data, start, stop) & _CATEGORY_MASK
    elif role == known.COUNTRY:
        row["country"] = _country(data, start, stop)
    elif role == known.CURRENCY:
        row["currency"] = _currency(data, start, stop)
    elif _IS_WORD[role]:
        if length != stop - start:
            return False  # in lower case, some letters beyond ASCII become ASCII ones
        if role == known.DEVICE:
            code = _lower_word(data, start, stop, contract["devices"], contract["device_ends"])
            row["device"] = code if code >= 0 else _OTHER_DEVICE
        else:
            code = _lower_word(data, start, stop, contract["sources"], contract["source_ends"])
            row["source"] = code if code >= 0 else _OTHER_SOURCE
    return True


@compiled
def may_be_junk(data: NDArray[np.uint8], start: int, stop: int, contract: np.void) -> bool:
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
def put_number(row: np.void, role: int, number: float, whole: int) -> None:
    if role == known.TS:
        row["t"] = whole
    elif role == known.PRICE:
        row["price"] = number
    elif role == known.VALUE:
        row["value"] = number
    elif role == known.QUANTITY:
        row["quantity"] = whole
    elif role == known.SCROLL:
        row["scroll"] = int(number)
    elif role == known.CHECKOUT:
        row["checkout"] = whole
    elif role == known.SENT:
        row["sent"] = whole


@compiled
def put_none(row: np.void, role: int) -> None:
    """As if the field were absent: it may have stood before with a value."""
    if role == known.EVENT_ID:
        row["event_id"] = 0
    elif role == known.VISITOR:
        row["visitor"] = 0
    elif role == known.PAGE:
        row["page"] = 0
    elif role == known.CATEGORY:
        row["category"] = 0
    elif role == known.COUNTRY:
        row["country"] = 0
    elif role == known.DEVICE:
        row["device"] = 0
    elif role == known.SOURCE:
        row["source"] = 0
    elif role == known.PRICE:
        row["price"] = np.nan
    elif role == known.VALUE:
        row["value"] = np.nan
    elif role == known.QUANTITY:
        row["quantity"] = 1
    elif role == known.SCROLL:
        row["scroll"] = 0
    elif role == known.CHECKOUT:
        row["checkout"] = 0
    elif role == known.SENT:
        row["sent"] = 0
    elif role == known.ORDER:
        row["order"] = 0
    elif role == known.CURRENCY:
        row["currency"] = 0
