"""Which records of a partition were sent on, in the few bytes that Kafka keeps beside a committed offset. Pure.

The committed offset never passes a record that was not sent. What was sent beyond it is in the commit's metadata: the
lengths of the runs of records not sent and sent, in turn from the committed offset on, as LEB128 numbers, compressed,
in base64 behind ``1:``.
"""

import base64
import binascii
import zlib
from bisect import bisect_left, bisect_right
from typing import Final, Self

NOTE_CHARS: Final = 4_000
"""Longest note: brokers take 4,096 bytes (``offset.metadata.max.bytes``)."""
_VERSION: Final = "1:"
_UNPACKED: Final = 1_000_000


class SentOffsets:
    """A set of offsets, kept as ranges.

    Attributes:
        begin: every offset below it was sent, and it itself was not.

    >>> sent = SentOffsets(5)
    >>> sent.add(7, 10)
    >>> sent.begin, 6 in sent, 7 in sent
    (5, False, True)
    >>> sent.add(5, 7)
    >>> sent.begin
    10
    """

    def __init__(self, begin: int = 0) -> None:
        self.begin = begin
        self._firsts: list[int] = []
        self._ends: list[int] = []

    def __contains__(self, offset: int) -> bool:
        at = bisect_right(self._firsts, offset) - 1
        return offset < self.begin or (at >= 0 and offset < self._ends[at])

    def add(self, first: int, end: int | None = None) -> None:
        """Add one offset, or those from ``first`` to before ``end``."""
        first, end = max(first, self.begin), first + 1 if end is None else end
        if first >= end:
            return
        # The ranges that touch the new one become part of it.
        low, high = bisect_left(self._ends, first), bisect_right(self._firsts, end)
        if low < high:
            first, end = min(first, self._firsts[low]), max(end, self._ends[high - 1])
        self._firsts[low:high], self._ends[low:high] = [first], [end]
        if self._firsts[0] == self.begin:
            self.begin = self._ends[0]
            del self._firsts[0], self._ends[0]

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """What was sent from `begin` on, as ranges ``[first, end)`` in order, none touching another."""
        return list(zip(self._firsts, self._ends, strict=True))

    def note(self) -> str:
        """The ranges for a commit's metadata; where they do not all fit, those that come first."""
        ranges = self.ranges
        text = _encoded(self.begin, ranges)
        while len(text) > NOTE_CHARS:
            ranges = ranges[: len(ranges) * 7 // 8]
            text = _encoded(self.begin, ranges)
        return text

    @property
    def fits(self) -> bool:
        """Whether `note` holds all ranges."""
        return not self._firsts or len(_encoded(self.begin, self.ranges)) <= NOTE_CHARS

    @classmethod
    def of(cls, begin: int, note: str | None) -> Self:
        """What a commit says. A note that cannot be read counts as none: then records may be sent a second time."""
        sent = cls(begin)
        at = begin
        runs = _decoded(note or "")
        for skipped, length in zip(runs[::2], runs[1::2], strict=False):
            sent.add(at + skipped, at + skipped + length)
            at += skipped + length
        return sent


def _encoded(begin: int, ranges: list[tuple[int, int]]) -> str:
    if not ranges:
        return ""
    runs = bytearray()
    at = begin
    for first, end in ranges:
        for run in (first - at, end - first):
            rest = run
            while rest > 0x7F:
                runs.append(rest & 0x7F | 0x80)
                rest >>= 7
            runs.append(rest)
        at = end
    return _VERSION + base64.b64encode(zlib.compress(runs, 9)).decode()


def _decoded(note: str) -> list[int]:
    if not note.startswith(_VERSION):
        return []
    try:
        packed = base64.b64decode(note.removeprefix(_VERSION), validate=True)
        unpacked = zlib.decompressobj().decompress(packed, _UNPACKED)
    except (binascii.Error, ValueError, zlib.error):
        return []
    runs, number, shift = [], 0, 0
    for byte in unpacked:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            runs.append(number)
            number = shift = 0
    return runs
