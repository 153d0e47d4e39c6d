"""Rows of one layout as rows of another: each field that both have by name."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled, copy_bytes


class Conversion:
    """From one type of row to another; of an array that is longer in one of them, the elements that both have.

    Numbers that are too large become the largest. Bytes named ``spare...`` are left out: in the other layout their
    place may have another meaning.

    Args:
        source: type of the rows that come.
        target: type of the rows that go.
    """

    def __init__(self, source: "np.dtype[np.void]", target: "np.dtype[np.void]") -> None:
        self._target: Final = target
        self._cast: list[str] = []
        moves = []
        for name in target.names or ():
            if name not in (source.names or ()) or name.startswith("spare"):
                continue
            (old, at), (new, to) = _field(source, name), _field(target, name)
            count = min(*(int(np.prod(one.shape, dtype=int)) for one in (old, new)))
            if old.base == new.base:
                moves.append((at, count * old.base.itemsize, to, count * old.base.itemsize, 1))
            elif old.base.kind == new.base.kind == "u":
                moves.append((at, old.base.itemsize, to, new.base.itemsize, count))
            else:
                self._cast.append(name)
        self._moves = np.array(moves, np.int64).reshape(-1, 5)

    def __call__(self, rows: NDArray[np.void]) -> NDArray[np.void]:
        """The rows in the target's layout."""
        rows = np.ascontiguousarray(rows)
        out = np.zeros(rows.size, self._target)
        shape = (rows.size, -1)
        if rows.size:
            _move(rows.view(np.uint8).reshape(shape), self._moves, out.view(np.uint8).reshape(shape))
        for name in self._cast:
            out[name] = rows[name]
        return out


def _field(dtype: "np.dtype[np.void]", name: str) -> tuple[Any, int]:
    kind, at = dtype.fields[name][:2]  # type: ignore[index] # both are structured
    return kind, at


@compiled
def _move(rows: NDArray[np.uint8], moves: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
    for i in range(rows.shape[0]):
        row, to = rows[i], out[i]
        for k in range(moves.shape[0]):
            at, size, place, width, count = moves[k]
            if size == width:
                copy_bytes(row, at, size * count, to, place)
                continue
            for _ in range(count):
                over = False
                for j in range(size):
                    over |= j >= width and row[at + j] != 0
                for j in range(width):
                    to[place + j] = 255 if over else (row[at + j] if j < size else 0)
                at += size
                place += width
