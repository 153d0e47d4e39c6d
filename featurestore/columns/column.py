"""A column: many short byte strings in one buffer, so that a batch is handed from step to step without an object each.

What records bring, what Redis holds and what is written are columns; compiled code reads and writes them. Where one of
the strings is wanted as a Python object, a column is a sequence: of `str` (`Texts`) or of `bytes` (`Blobs`).
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, Generic, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import inlined

T = TypeVar("T", str, bytes)

_MOSTLY: Final = 8
"""Decoding a whole buffer at once pays while no more than so many times the strings' bytes are decoded."""


class Column(Sequence[T], Generic[T]):
    """String i is ``raw[starts[i]:ends[i]]``.

    Attributes:
        raw: what the strings are cut from; may hold more than they are.
        starts: shape (n,).
        ends: shape (n,); may share memory with ``starts``.
    """

    __slots__ = ("_cut", "ends", "raw", "starts")

    def __init__(self, raw: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self.raw: Final = raw
        self.starts: Final = starts
        self.ends: Final = ends
        self._cut: list[T] | None = None

    @classmethod
    def joined(cls, parts: Sequence[bytes], beside: Iterable[bytes] = ()) -> Self:
        """A column of these byte strings; ``beside`` follows in the buffer and belongs to no string."""
        edges = np.zeros(len(parts) + 1, np.int64)
        np.fromiter(map(len, parts), np.int64, len(parts)).cumsum(out=edges[1:])
        return cls(b"".join([*parts, *beside]), edges[:-1], edges[1:])

    @classmethod
    def split(cls, out: NDArray[np.uint8], ends: NDArray[np.int64]) -> Self:
        """Strings that lie end to end from the first byte of ``out``."""
        return cls(out[: ends[-1]].tobytes() if ends.size else b"", _starts(ends), ends)

    @classmethod
    def chained(cls, columns: Sequence[Self]) -> Self:
        """The strings of these columns, one column after the other; a buffer that all share is not copied."""
        some: list[Self] = [column for column in columns if column.ends.size]
        if len(some) < 2:
            return some[0] if some else cls.joined([])
        raw = some[0].raw
        starts, ends = [column.starts for column in some], [column.ends for column in some]
        if any(column.raw is not raw for column in some):
            raw = b"".join(column.raw for column in some)
            befores = [0, *accumulate(len(column.raw) for column in some[:-1])]
            for i, before in enumerate(befores):
                starts[i], ends[i] = starts[i] + before, ends[i] + before
        return cls(raw, np.concatenate(starts), np.concatenate(ends))

    @property
    def data(self) -> NDArray[np.uint8]:
        """The buffer, for compiled code."""
        return np.frombuffer(self.raw, np.uint8)

    def take(self, rows: NDArray[np.int64] | slice) -> Self:
        """These strings, in this order; the buffer is shared."""
        return type(self)(self.raw, self.starts[rows], self.ends[rows])

    def strings(self) -> list[T]:
        """The strings as objects, made once."""
        if self._cut is None:
            self._cut = self._made()
        return self._cut

    def _made(self) -> list[T]:
        raise NotImplementedError

    def _one(self, part: bytes) -> T:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return self.take(index)
        return self._one(self.raw[self.starts[index] : self.ends[index]])

    def __len__(self) -> int:
        return self.ends.size

    def __iter__(self) -> Iterator[T]:
        return iter(self.strings())


class Texts(Column[str]):
    """A column of texts, as UTF-8."""

    __slots__ = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """These texts."""
        return texts if isinstance(texts, cls) else cls.joined([text.encode() for text in texts])

    def _made(self) -> list[str]:
        raw, spans = self.raw, zip(self.starts.tolist(), self.ends.tolist(), strict=True)
        # The buffer of a column that was taken from a long one is mostly other strings.
        if int((self.ends - self.starts).sum()) * _MOSTLY >= len(raw) and raw.isascii():
            text = raw.decode("ascii")
            return [text[a:b] for a, b in spans]
        return [raw[a:b].decode() for a, b in spans]

    def _one(self, part: bytes) -> str:
        return part.decode()


class Blobs(Column[bytes]):
    """A column of bytes."""

    __slots__ = ()

    @classmethod
    def of(cls, blobs: Iterable[bytes]) -> Self:
        """These byte strings."""
        return blobs if isinstance(blobs, cls) else cls.joined(list(blobs))

    def _made(self) -> list[bytes]:
        raw = self.raw
        return [raw[a:b] for a, b in zip(self.starts.tolist(), self.ends.tolist(), strict=True)]

    def _one(self, part: bytes) -> bytes:
        return part


@inlined
def same(a: NDArray[np.uint8], a_start: int, b: NDArray[np.uint8], b_start: int, size: int) -> bool:
    """Whether ``size`` bytes are the same here and there. For compiled code."""
    for j in range(size):  # noqa: SIM110 - a generator is not compiled
        if a[a_start + j] != b[b_start + j]:
            return False
    return True


@inlined
def alike(data: NDArray[np.uint8], start: int, words: NDArray[np.uint8], begin: int, size: int) -> bool:
    """Whether ``size`` bytes are those of a word in lower case, whatever the case of ASCII letters."""
    for j in range(size):
        byte = data[start + j]
        if (byte | 32 if 65 <= byte <= 90 else byte) != words[begin + j]:
            return False
    return True


def _starts(ends: NDArray[np.int64]) -> NDArray[np.int64]:
    starts = np.zeros(ends.size, np.int64)
    starts[1:] = ends[:-1]
    return starts
