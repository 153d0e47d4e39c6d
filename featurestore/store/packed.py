"""Decisions between their making and their documents: all that a document says, at a fraction of its length.

The documents of a batch are mostly names and repeated words. `PackedDecisions` keeps the words once, and of each
decision only its numbers. The documents can be written from it at any time, to the byte. Outboxes hold it.

A document is stored without the session id, which its key says, and logged with it (docs/decisions/0022).

Packed: the version (a byte; version 1 had none), then MessagePack ``[lengths, names, rows, fixed, words, tails]``:
lengths of the session ids as 16-bit numbers, the ids end to end, rows of `ROW`, the pieces of a document that are the
same in all, the words that the rows name, and the ends of the documents; all numbers little-endian. Documents with
other values than `PLAIN` writes have two more parts, ``program`` and ``outputs``: the order of the values (two bytes
each: which kind, and which one), and the outputs of heads as thousandths, 64-bit numbers, row by row. So a release that
writes more fields needs no other reader. Version 1 is read by releases that know the six parts only: `plain` says
whether it can hold the documents.
"""

from typing import Any, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from featurestore.columns.column import Blobs, Column, Texts
from featurestore.columns.jit import compiled, copy_bytes, write_decimal
from featurestore.errors import CorruptRecord
from featurestore.versions import RECORD_VERSION, VERSION_BEFORE

N_SHARES: Final = 5
ROW = np.dtype(
    [
        ("numbers", "<i8", (3,)),  # seq, event_ms, expires
        ("tail", "<u4"),  # which end of a document
        ("words", "<u2", (3,)),  # which words: stage, action, route
        ("shares", "<u2", (N_SHARES,)),  # thousandths: the confidence, and the probability of each stage
    ]
)
"""A decision, as far as it is numbers; `decisions.document` says which number is what."""

# Kinds of values in a program. What stands before a value is the piece of the same place in ``fixed``.
NUMBER: Final = 0
WORD: Final = 1
SHARE: Final = 2
SHARES: Final = 3  # from this one on, to the last, with commas between them
OUTPUT: Final = 4  # a head's, in thousandths; null where it has none
NOTHING: Final = 5  # a piece with no value behind it

PLAIN: Final = np.array(
    [(WORD, 0), (SHARE, 0), (SHARES, 1), (WORD, 1), (WORD, 2), (NUMBER, 1), (NUMBER, 0), (NUMBER, 2)], np.uint8
)
"""The program of documents without outputs of further heads: version 1. Never changes; stored blocks rely on it."""

NO_OUTPUT: Final = -(2**63)
"""Thousandths of an output that a row does not have."""

_KEY: Final = b',"session_id":"'
_NULL: Final = np.frombuffer(b"null", np.uint8)

_DECIMAL: Final = len("-9223372036854775.807")
_SHARE: Final = len("0.999,")

# How a number of thousandths is written, as JSON writes the float: 0.0, 0.05, 0.912, 1.0.
_SHARES: Final = Blobs.joined([repr(i / 1000).encode() for i in range(1001)])
_SHARE_DATA, _SHARE_ENDS = _SHARES.data, _SHARES.ends

_MARK: Final = bytes([RECORD_VERSION])
_encoder = msgspec.msgpack.Encoder()


class _Body(msgspec.Struct, array_like=True):
    """The parts of the packed form."""

    lengths: bytes
    names: bytes
    rows: bytes
    fixed: list[bytes]
    words: list[bytes]
    tails: list[bytes]
    program: bytes = b""
    outputs: bytes = b""


_decoder = msgspec.msgpack.Decoder(_Body)


class PackedDecisions:
    """Decisions of one policy, one bundle and one topic.

    Args:
        names: session ids, one a row.
        rows: `ROW`.
        fixed: the piece before each value of the program.
        words: JSON texts of stages, actions and routes.
        tails: ends of documents, from the reasons to the closing brace.
        program: kind and number of each value, in the order of the document; shape (values, 2).
        outputs: of the heads beside the stage, in thousandths, shape (n, k).
    """

    def __init__(
        self,
        names: Texts,
        rows: NDArray[np.void],
        fixed: Blobs,
        words: Blobs,
        tails: Blobs,
        program: NDArray[np.uint8] = PLAIN,
        outputs: NDArray[np.int64] | None = None,
    ) -> None:
        self.names = names
        self.rows = rows
        self.outputs = np.empty((rows.size, 0), np.int64) if outputs is None else outputs
        self._fixed = fixed
        self._words = words
        self._tails = tails
        self._program = program

    def take(self, places: NDArray[np.int64]) -> Self:
        """Some of them."""
        parts = (self._fixed, self._words, self._tails, self._program, self.outputs[places])
        return type(self)(self.names.take(places), self.rows[places], *parts)

    def documents(self) -> Blobs:
        """The documents as they are stored, one a row."""
        n = len(self.names)
        if n == 0:
            return Blobs.joined([])
        ends = np.empty(n, np.int64)
        out = _write_documents(
            self.rows,
            self.outputs,
            self._program,
            self._fixed.data,
            self._fixed.ends,
            self._words.data,
            self._words.ends,
            self._tails.data,
            self._tails.ends,
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

    def packed(self, version: int = RECORD_VERSION) -> bytes:
        """As bytes."""
        names = self.names
        lengths, joined, rows, used = _joined(names.data, names.starts, names.ends, self.rows, len(self._tails))
        parts = [part.strings() for part in (self._fixed, self._words, self._tails.take(used))]
        more = () if self.plain else (self._program.tobytes(), self.outputs.tobytes())
        body = _encoder.encode((lengths.tobytes(), joined.tobytes(), rows.tobytes(), *parts, *more))
        return body if version == VERSION_BEFORE else _MARK + body

    @property
    def plain(self) -> bool:
        """Whether the documents have no other values than those of version 1."""
        return self._program is PLAIN

    @classmethod
    def unpacked(cls, packed: bytes) -> Self:
        """From `packed`, of this version or the one before.

        Raises:
            CorruptRecord: the bytes are none, or a row names what is not there.
        """
        try:
            found = cls._read(_decoder.decode(memoryview(packed)[packed.startswith(_MARK) :]))
        except (msgspec.MsgspecError, ValueError) as error:
            raise CorruptRecord(f"packed decisions cannot be read ({type(error).__name__})") from None
        if not found._whole():  # noqa: SLF001 - its own
            raise CorruptRecord("packed decisions name what is not among them")
        return found

    @classmethod
    def _read(cls, body: _Body) -> Self:
        body.names.decode()
        ends = np.cumsum(np.frombuffer(body.lengths, "<u2"), dtype=np.int64)
        column = Texts(body.names, np.concatenate([np.zeros(min(ends.size, 1), np.int64), ends[:-1]]), ends)
        rows = np.frombuffer(body.rows, ROW)
        fixed, words, tails = map(Blobs.joined, (body.fixed, body.words, body.tails))
        if not body.program:
            return cls(column, rows, fixed, words, tails)
        program = np.frombuffer(body.program, np.uint8).reshape(-1, 2)
        outputs = np.frombuffer(body.outputs, "<i8").reshape(rows.size, -1) if rows.size else np.empty((0, 0), np.int64)
        return cls(column, rows, fixed, words, tails, program, outputs)

    def _whole(self) -> bool:
        """Whether every row names what is there: compiled code would read other memory."""
        rows, n, program = self.rows, len(self.names), self._program
        if n == 0:
            return rows.size == 0
        most = {NUMBER: 3, WORD: 3, SHARE: N_SHARES, SHARES: N_SHARES, OUTPUT: self.outputs.shape[1], NOTHING: 256}
        return (
            rows.size == n
            and int(self.names.ends[-1]) == len(self.names.raw)
            and len(self._fixed) == len(program)
            and all(kind in most and which < most[kind] for kind, which in program.tolist())
            and int(rows["words"].max()) < len(self._words)
            and int(rows["tail"].max()) < len(self._tails)
            and int(rows["shares"].max()) < len(_SHARES)
            and int(rows["numbers"].min()) >= 0
        )


def _size(column: Column[Any]) -> int:
    return int((column.ends - column.starts).sum())


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
    outputs: NDArray[np.int64],
    program: NDArray[np.uint8],
    fixed: NDArray[np.uint8],
    fixed_ends: NDArray[np.int64],
    words: NDArray[np.uint8],
    word_ends: NDArray[np.int64],
    tails: NDArray[np.uint8],
    tail_ends: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> NDArray[np.uint8]:
    room = rows.size * (fixed.size + _room(program, word_ends, outputs.shape[1]))
    for i in range(rows.size):
        tail = rows[i]["tail"]
        room += tail_ends[tail] - (tail_ends[tail - 1] if tail > 0 else 0)
    out = np.empty(room, np.uint8)
    at = 0
    for i in range(rows.size):
        row = rows[i]
        for p in range(program.shape[0]):
            at = _piece(fixed, fixed_ends, p, out, at)
            kind, which = program[p, 0], program[p, 1]
            if kind == NUMBER:
                at = write_decimal(row["numbers"][which], out, at)
            elif kind == WORD:
                at = _piece(words, word_ends, row["words"][which], out, at)
            elif kind == SHARE:
                at = _piece(_SHARE_DATA, _SHARE_ENDS, row["shares"][which], out, at)
            elif kind == SHARES:
                for j in range(which, len(row["shares"])):
                    if j > which:
                        out[at] = 44  # comma
                        at += 1
                    at = _piece(_SHARE_DATA, _SHARE_ENDS, row["shares"][j], out, at)
            elif kind == OUTPUT:
                at = _write_thousandths(outputs[i, which], out, at)
        at = _piece(tails, tail_ends, row["tail"], out, at)
        ends[i] = at
    return out


@compiled
def _room(program: NDArray[np.uint8], word_ends: NDArray[np.int64], outputs: int) -> int:
    """The most bytes that the values of one document take."""
    longest = begin = 0
    for end in word_ends:
        longest = max(longest, end - begin)
        begin = end
    room = (len(program) + outputs) * _DECIMAL
    for p in range(len(program)):
        if program[p, 0] == WORD:
            room += longest
        elif program[p, 0] == SHARES:
            room += N_SHARES * _SHARE
    return room


@compiled
def _write_thousandths(value: int, out: NDArray[np.uint8], at: int) -> int:
    """As JSON writes the float: no more digits than it needs, and at least one behind the point."""
    if value == NO_OUTPUT:
        for j in range(_NULL.size):
            out[at + j] = _NULL[j]
        return int(at + _NULL.size)
    if 0 <= value <= 1000:
        return _piece(_SHARE_DATA, _SHARE_ENDS, value, out, at)
    if value < 0:
        out[at] = 45  # minus
        at += 1
        value = -value
    at = write_decimal(value // 1000, out, at)
    rest = value % 1000
    out[at] = 46  # point
    out[at + 1] = 48 + rest // 100
    at += 2
    if rest % 100 != 0:
        out[at] = 48 + rest // 10 % 10
        at += 1
        if rest % 10 != 0:
            out[at] = 48 + rest % 10
            at += 1
    return int(at)


@compiled
def _piece(data: NDArray[np.uint8], ends: NDArray[np.int64], k: int, out: NDArray[np.uint8], at: int) -> int:
    start = ends[k - 1] if k > 0 else 0
    return copy_bytes(data, start, ends[k] - start, out, at)
