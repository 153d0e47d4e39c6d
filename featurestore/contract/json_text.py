"""The pieces of a JSON text, for compiled code that reads it byte by byte."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import inlined

_WHITE: Final = np.array([byte in b" \t\n\r" for byte in range(256)])


@inlined
def past_white(data: NDArray[np.uint8], at: int, end: int) -> int:
    while at < end and _WHITE[data[at]]:
        at += 1
    return at


@inlined
def is_literal(data: NDArray[np.uint8], at: int, end: int, a: int, b: int, c: int, d: int) -> bool:
    return at + 4 <= end and data[at] == a and data[at + 1] == b and data[at + 2] == c and data[at + 3] == d


@inlined
def text_end(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """Where the text that begins at ``at`` has its closing quote, and its characters; (-1, 0) if it has escapes."""
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


@inlined
def _character(data: NDArray[np.uint8], at: int, end: int) -> int:
    """How many bytes follow the first one of a character in UTF-8; -1 for bytes that are not UTF-8 (RFC 3629)."""
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


@inlined
def number_at(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, bool, int, int, int]:
    """The number that begins at ``at``.

    Returns:
        Where it ends (-1 if it has an exponent or is not a number), whether it has a minus, how many digits it has, how
        many of them follow the point (-1 without a point), and all digits as one integer.
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
