"""Where rows with a hash stand: an open-addressing index of row numbers, for compiled code.

An index is an int32 array whose size is a power of two, `FREE` where no row stands, at most half full. Rows with the
same hash stand one behind the other, others may stand between them; a walk ends at the first free place.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled, inlined

FREE: Final = -1


def empty_index(rows: int) -> NDArray[np.int32]:
    """An index with room for so many rows."""
    return np.full(1 << max(2 * rows - 1, 1).bit_length(), FREE, np.int32)


@inlined
def first_place(index: NDArray[np.int32], key: int | np.uint64) -> int:
    """Where the walk for a hash begins."""
    return int(np.int64(key & np.uint64(index.size - 1)))


@inlined
def next_place(index: NDArray[np.int32], at: int) -> int:
    """Where it goes on."""
    return int(at + 1 & index.size - 1)


@inlined
def free_place(index: NDArray[np.int32], key: int) -> int:
    """Where a row with a hash is to be put, behind those that are there."""
    at = first_place(index, key)
    while index[at] != FREE:
        at = next_place(index, at)
    return at


@inlined
def place_of(index: NDArray[np.int32], keys: NDArray[np.uint64], key: int) -> int:
    """Where the first row with a hash stands, or the free place where it belongs; ``keys`` are the rows' hashes."""
    at = first_place(index, key)
    while index[at] != FREE and keys[index[at]] != key:
        at = next_place(index, at)
    return at


@compiled
def fill(index: NDArray[np.int32], keys: NDArray[np.uint64], rows: int) -> None:
    """Put the first ``rows`` rows into an empty index."""
    for row in range(rows):
        index[free_place(index, keys[row])] = row
