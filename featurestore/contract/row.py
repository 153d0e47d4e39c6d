"""Put what a field of an event says into its row of `EVENT`: for compiled code."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.column import alike, same
from featurestore.columns.hashing import hash_span
from featurestore.columns.jit import inlined
from featurestore.contract import known_fields as known
from featurestore.contract.event import BLANK, CLICK, DEVICES, MASKS, SOURCES
from featurestore.contract.junk import LONGEST
from featurestore.contract.junk import WORDS as JUNK
from featurestore.contract.pages import is_plain, normalise

_OTHER_DEVICE: Final = DEVICES.index("other")
_OTHER_SOURCE: Final = SOURCES.index("other")
_ID_MASK: Final = np.uint64(MASKS["event_id"])
_PAGE_MASK: Final = np.uint64(MASKS["page"])
_CATEGORY_MASK: Final = np.uint64(0xFFFF_FFFF)
_BLANK: Final = BLANK.view(np.uint8)
# Tables, since compiled code makes a set anew wherever it asks one.
_ZERO: Final = np.array([byte in b"0-" for byte in range(256)])
_BEGINS_JUNK: Final = np.array([chr(byte).lower() in {word[0] for word in JUNK} for byte in range(256)])
_IS_WORD: Final = np.array([role in {known.DEVICE, known.SOURCE} for role in range(len(known.ROLES))])
_IS_ID: Final = np.array([role in {known.EVENT_ID, known.VISITOR, known.ORDER} for role in range(len(known.ROLES))])


@inlined
def put_text(
    data: NDArray[np.uint8],
    start: int,
    stop: int,
    role: int,
    row: np.void,
    length: int,
    pages: np.void,
    page: NDArray[np.uint8],
) -> bool:
    """Put a text in its column; False where only `decode` can tell what it means.

    Args:
        data: holds the text.
        start: its first byte.
        stop: one past its last.
        role: of its field.
        row: of `EVENT`.
        length: its characters.
        pages: `Pages.table`.
        page: room for a normalised page.
    """
    if role == known.TYPE:
        code = _word(data, start, stop, known.TYPE_WORDS, known.TYPE_ENDS)
        row["unknown_type"] = code < 0
        row["kind"] = code if code >= 0 else CLICK
    elif _IS_ID[role]:
        if may_be_junk(data, start, stop):
            return False
        _put_id(row, role, hash_span(data, start, stop))
    elif role == known.PAGE:
        if is_plain(data, start, stop):
            row["page"] = hash_span(data, start, stop) & _PAGE_MASK
        else:
            row["page"] = hash_span(page, 0, normalise(data, start, stop, pages, page)) & _PAGE_MASK
    elif role == known.CATEGORY:
        row["category"] = hash_span(data, start, stop) & _CATEGORY_MASK
    elif role == known.COUNTRY:
        row["country"] = max(_letters(data, start, stop, 2, 256, 0), 0)
    elif role == known.CURRENCY:
        row["currency"] = _letters(data, start, stop, 3, 26, 65) + 1
    elif _IS_WORD[role]:
        if length != stop - start:
            return False  # in lower case, some letters beyond ASCII become ASCII ones
        if role == known.DEVICE:
            code = _lower_word(data, start, stop, known.DEVICE_WORDS, known.DEVICE_ENDS)
            row["device"] = code if code >= 0 else _OTHER_DEVICE
        else:
            code = _lower_word(data, start, stop, known.SOURCE_WORDS, known.SOURCE_ENDS)
            row["source"] = code if code >= 0 else _OTHER_SOURCE
    return True


@inlined
def _put_id(row: np.void, role: int, hashed: np.uint64) -> None:
    if role == known.EVENT_ID:
        row["event_id"] = hashed & _ID_MASK
    elif role == known.VISITOR:
        row["visitor"] = hashed
    else:
        row["order"] = hashed & _ID_MASK


@inlined
def put_number(row: np.void, role: int, number: float, whole: int) -> None:
    """Put a number in its column; ``whole`` is the same as an integer, of roles that take only those."""
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


@inlined
def put_none(cells: NDArray[np.uint8], role: int) -> None:
    """As if the field were absent, which may have stood before with a value; ``cells`` are the bytes of the row."""
    for j in range(known.COLUMN_AT[role], known.COLUMN_END[role]):
        cells[j] = _BLANK[j]


@inlined
def may_be_junk(data: NDArray[np.uint8], start: int, stop: int) -> bool:
    """Whether an id is `junk`, or has white space around it, which `junk` looks behind."""
    if start == stop or data[start] <= 32 or data[stop - 1] <= 32:
        return True
    if _BEGINS_JUNK[data[start]] and stop - start <= LONGEST:  # noqa: SIM102 - the cheap question first
        if _lower_word(data, start, stop, known.JUNK_WORDS, known.JUNK_ENDS) >= 0:
            return True
    zeros = start
    while zeros < stop and _ZERO[data[zeros]]:
        zeros += 1
    return zeros == stop


@inlined
def _word(data: NDArray[np.uint8], start: int, stop: int, words: NDArray[np.uint8], ends: NDArray[np.int64]) -> int:
    """The code of a word, -1 for an unknown one."""
    begin = 0
    for code in range(ends.size):
        if ends[code] - begin == stop - start and same(data, start, words, begin, stop - start):
            return code
        begin = ends[code]
    return -1


@inlined
def _lower_word(
    data: NDArray[np.uint8], start: int, stop: int, words: NDArray[np.uint8], ends: NDArray[np.int64]
) -> int:
    """As `_word`, whatever the case of the ASCII letters."""
    begin = 0
    for code in range(ends.size):
        if ends[code] - begin == stop - start and alike(data, start, words, begin, stop - start):
            return code
        begin = ends[code]
    return -1


@inlined
def _letters(data: NDArray[np.uint8], start: int, stop: int, size: int, base: int, first: int) -> int:
    """A text of ``size`` ASCII letters as a number to a ``base``, A counting 65 - ``first``; -1 for any other text."""
    if stop - start != size:
        return -1
    code = 0
    for j in range(start, stop):
        letter = int(data[j]) & 0xDF
        if not 65 <= letter <= 90 or data[j] >= 128:
            return -1
        code = code * base + letter - first
    return code
