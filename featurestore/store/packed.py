"""Decisions between their making and their documents: all that a document says, at a fraction of its length.

The documents of a batch are mostly names and repeated words. `PackedDecisions` keeps the words once, and of each
decision only its numbers. The documents can be written from it at any time, to the byte. Outboxes hold it.

A document is stored without the session id, which its key says, and logged with it (docs/decisions/0022).

Packed: MessagePack ``[lengths, names, rows, fixed, words, tails]``: lengths of the session ids as 16-bit numbers, the
ids end to end, rows of `ROW`, the pieces of a document that are the same in all, the words that the rows name, and the
ends of the documents; all numbers little-endian.
"""

from collections.abc import Sequence
from typing import Any, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from featurestore.columns.column import Blobs, Column, Texts
from featurestore.columns.jit import compiled, copy_bytes, inlined, write_decimal

ROW = np.dtype(
    [
        ("seq", "<i8"),
        ("event_ms", "<i8"),
        ("expires", "<i8"),
        ("tail", "<u4"),
        ("stage", "<u2"),  # these three number words
        ("action", "<u2"),
        ("route", "<u2"),
        ("shares", "<u2", (5,)),  # thousandths: the confidence, and the probability of each stage
    ]
)
"""A decision, as far as it is numbers."""

PIECES: Final = ("stage", "confidence", "probabilities", "action", "route", "event_ts", "seq", "expires_at")
"""What stands in every document before the part so named."""

_KEY: Final = b',"session_id":"'

_DECIMALS: Final = 3 * len("9223372036854775807")
_SHARE: Final = len("0.999,")

# How a number of thousandths is written, as JSON writes the float: 0.0, 0.05, 0.912, 1.0.
_SHARES: Final = Blobs.joined([repr(i / 1000).encode() for i in range(1001)])
_SHARE_DATA, _SHARE_ENDS = _SHARES.data, _SHARES.ends

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[bytes, bytes, bytes, list[bytes], list[bytes], list[bytes]])


class PackedDecisions:
    """Decisions of one policy, one bundle and one topic.

    Args:
        names: session ids, one a row.
        rows: `ROW`.
        fixed: the pieces named by `PIECES`.
        words: JSON texts of stages, actions and routes.
        tails: ends of documents, from the reasons to the closing brace.
    """

    def __init__(self, names: Texts, rows: NDArray[np.void], fixed: Blobs, words: Blobs, tails: Blobs) -> None:
        self.names = names
        self.rows = rows
        self._fixed = fixed
        self._words = words
        self._tails = tails

    def take(self, places: NDArray[np.int64]) -> Self:
        """Some of them."""
        return type(self)(self.names.take(places), self.rows[places], self._fixed, self._words, self._tails)

    def documents(self) -> Blobs:
        """The documents as they are stored, one a row."""
        n = len(self.names)
        if n == 0:
            return Blobs.joined([])
        rows, tails = self.rows, self._tails
        size = int((tails.ends - tails.starts)[rows["tail"]].sum())
        size += n * (_size(self._fixed) + 3 * _longest(self._words) + 5 * _SHARE + _DECIMALS)
        out = np.empty(size, np.uint8)
        ends = np.empty(n, np.int64)
        _write_documents(
            rows,
            self._fixed.data,
            self._fixed.ends,
            self._words.data,
            self._words.ends,
            tails.data,
            tails.ends,
            out,
            ends,
        )
        return Blobs.split(out, ends)

    def logged(self, documents: Blobs) -> Blobs:
        """The same ``documents`` as they are logged."""
        n = len(self.names)
        if n == 0:
            return documents
        names = _as_json(self.names)
        key = np.frombuffer(_KEY, np.uint8)
        out = np.empty(_size(documents) + _size(names) + n * (key.size + 1), np.uint8)
        ends = np.empty(n, np.int64)
        _insert(documents.data, documents.starts, documents.ends, names.data, names.starts, names.ends, key, out, ends)
        return Blobs.split(out, ends)

    def packed(self) -> bytes:
        """As bytes."""
        names = self.names
        lengths, joined, rows, used = _joined(names.data, names.starts, names.ends, self.rows, len(self._tails))
        parts = [part.strings() for part in (self._fixed, self._words, self._tails.take(used))]
        return _encoder.encode((lengths.tobytes(), joined.tobytes(), rows.tobytes(), *parts))

    @classmethod
    def unpacked(cls, packed: bytes) -> Self:
        """From `packed`."""
        lengths, names, rows, *parts = _decoder.decode(packed)
        ends = np.cumsum(np.frombuffer(lengths, "<u2"), dtype=np.int64)
        column = Texts(names, np.concatenate([np.zeros(min(ends.size, 1), np.int64), ends[:-1]]), ends)
        return cls(column, np.frombuffer(rows, ROW), *map(Blobs.joined, parts))


def _size(column: Column[Any]) -> int:
    return int((column.ends - column.starts).sum())


def _longest(column: Column[bytes]) -> int:
    return int((column.ends - column.starts).max())


def _as_json(session_ids: Texts) -> Texts:
    """The ids as they stand inside JSON strings; nearly every one stands there as it is."""
    if _plain(session_ids.data, session_ids.starts, session_ids.ends):
        return session_ids
    return Texts.of([msgspec.json.encode(session_id)[1:-1].decode() for session_id in session_ids])


@compiled
def _joined(
    data: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64], rows: NDArray[np.void], tails: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.void], NDArray[np.int64]]:
    """Lengths of the names, the names end to end, and the rows with the tails that they use numbered from 0 on, in the
    order of the tails; which ones these are.
    """
    lengths = np.empty(starts.size, np.uint16)
    names = np.empty((ends - starts).sum(), np.uint8)
    numbered = rows.copy()
    place = np.full(tails, -1, np.int64)
    at = 0
    for i in range(starts.size):
        lengths[i] = ends[i] - starts[i]
        at = copy_bytes(data, starts[i], ends[i] - starts[i], names, at)
        place[rows[i]["tail"]] = 0
    used = np.empty(tails, np.int64)
    count = 0
    for tail in range(tails):
        if place[tail] == 0:
            place[tail] = count
            used[count] = tail
            count += 1
    for i in range(rows.size):
        numbered[i]["tail"] = place[rows[i]["tail"]]
    return lengths, names, numbered, used[:count]


@compiled
def _plain(data: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> bool:
    """Whether none of the texts holds what JSON escapes: a quote, a backslash, a control character."""
    for i in range(starts.size):
        for j in range(starts[i], ends[i]):
            if data[j] < 32 or data[j] == 34 or data[j] == 92:
                return False
    return True


@compiled
def _insert(
    documents: NDArray[np.uint8],
    starts: NDArray[np.int64],
    document_ends: NDArray[np.int64],
    names: NDArray[np.uint8],
    name_starts: NDArray[np.int64],
    name_ends: NDArray[np.int64],
    key: NDArray[np.uint8],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> None:
    at = 0
    for i in range(starts.size):
        behind = starts[i]
        while documents[behind] != 44:  # the comma behind the version
            behind += 1
        at = copy_bytes(documents, starts[i], behind - starts[i], out, at)
        at = copy_bytes(key, 0, key.size, out, at)
        at = copy_bytes(names, name_starts[i], name_ends[i] - name_starts[i], out, at)
        out[at] = 34  # quote
        at = copy_bytes(documents, behind, document_ends[i] - behind, out, at + 1)
        ends[i] = at


@compiled
def _write_documents(
    rows: NDArray[np.void],
    fixed: NDArray[np.uint8],
    fixed_ends: NDArray[np.int64],
    words: NDArray[np.uint8],
    word_ends: NDArray[np.int64],
    tails: NDArray[np.uint8],
    tail_ends: NDArray[np.int64],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> None:
    at = 0
    for i in range(rows.size):
        row = rows[i]
        at = _piece(fixed, fixed_ends, 0, out, at)
        at = _piece(words, word_ends, row["stage"], out, at)
        at = _piece(fixed, fixed_ends, 1, out, at)
        at = _piece(_SHARE_DATA, _SHARE_ENDS, row["shares"][0], out, at)
        at = _piece(fixed, fixed_ends, 2, out, at)
        for j in range(1, 5):
            if j > 1:
                out[at] = 44  # comma
                at += 1
            at = _piece(_SHARE_DATA, _SHARE_ENDS, row["shares"][j], out, at)
        at = _piece(fixed, fixed_ends, 3, out, at)
        at = _piece(words, word_ends, row["action"], out, at)
        at = _piece(fixed, fixed_ends, 4, out, at)
        at = _piece(words, word_ends, row["route"], out, at)
        at = _piece(fixed, fixed_ends, 5, out, at)
        at = write_decimal(row["event_ms"], out, at)
        at = _piece(fixed, fixed_ends, 6, out, at)
        at = write_decimal(row["seq"], out, at)
        at = _piece(fixed, fixed_ends, 7, out, at)
        at = write_decimal(row["expires"], out, at)
        at = _piece(tails, tail_ends, row["tail"], out, at)
        ends[i] = at


@inlined
def _piece(data: NDArray[np.uint8], ends: NDArray[np.int64], k: int, out: NDArray[np.uint8], at: int) -> int:
    start = ends[k - 1] if k > 0 else 0
    return copy_bytes(data, start, ends[k] - start, out, at)


def pieces(model: str, policy: str, source: str, version: int, decided_at: int) -> Sequence[bytes]:
    """What stands in every document of a batch; model, policy and source as JSON texts."""
    return [
        b'{"v":%d,"stage":' % version,
        b',"confidence":',
        b',"probabilities":[',
        b'],"action":',
        b',"route":',
        f',"model":{model},"policy":{policy},"event_ts":'.encode(),
        f',"decided_at":{decided_at},"source":{source},"seq":'.encode(),
        b',"expires_at":',
    ]
