"""Which strings of a column are the same: indices for a batch's sessions, and those that an earlier batch has changed.

Both look a string up by its hash in an open-addressing table, and then compare the bytes: hashes alone would let
whoever chooses session ids put one session in the place of another.
"""

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.column import Column, same
from featurestore.columns.jit import compiled

Strings = Column[str] | Column[bytes]


def group(
    hashes: NDArray[np.uint64], names: Strings, spans: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Number the different strings of each span, from 0 on through all of them, in the order in which they first come.

    Args:
        hashes: of the strings, shape (n,).
        names: n strings.
        spans: first and end of strings that may be the same, one span behind the other; shape (s, 2).

    Returns:
        The number of each string, shape (n,); where the string of each number first comes, shape (k,); and, of each
        span, one past its last number, shape (s,).
    """
    indices = np.empty(hashes.size, np.int32)
    firsts = np.empty(hashes.size, np.int64)
    edges = np.empty(len(spans), np.int64)
    table = np.empty(_room(int((spans[:, 1] - spans[:, 0]).max(initial=0))), np.int32)
    count = _group(hashes, names.data, names.starts, names.ends, spans, table, indices, firsts, edges)
    return indices, firsts[:count], edges


def match(
    known_hashes: NDArray[np.uint64],
    known: Strings,
    hashes: NDArray[np.uint64],
    names: Strings,
    spans: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Which strings are among known ones, span by span: rows of where they stand here and there, shape (k, 2).

    Args:
        known_hashes: of the strings, shape (m,).
        known: m strings.
        hashes: of the strings looked for, shape (n,).
        names: n strings.
        spans: first and end of known strings, all different, and of those looked for among them, which come once in
            all; shape (s, 4).
    """
    table = np.empty(_room(int((spans[:, 1] - spans[:, 0]).max())), np.int32)
    found: NDArray[np.int64] = _match(
        known_hashes,
        known.data,
        known.starts,
        known.ends,
        hashes,
        names.data,
        names.starts,
        names.ends,
        spans,
        table,
    )
    return found


def _room(n: int) -> int:
    """A power of two, at least twice as large."""
    return 1 << max(2 * n - 1, 1).bit_length()


@compiled
def _group(
    hashes: NDArray[np.uint64],
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    spans: NDArray[np.int64],
    table: NDArray[np.int32],
    indices: NDArray[np.int32],
    firsts: NDArray[np.int64],
    edges: NDArray[np.int64],
) -> int:
    mask = np.uint64(table.size - 1)
    count = 0
    for s in range(spans.shape[0]):
        table[:] = -1
        for i in range(spans[s, 0], spans[s, 1]):
            at = hashes[i] & mask
            while True:
                index = table[at]
                if index < 0:
                    table[at] = count
                    indices[i] = count
                    firsts[count] = i
                    count += 1
                    break
                j = firsts[index]
                if hashes[j] == hashes[i] and _equal(data, starts[i], ends[i], data, starts[j], ends[j]):
                    indices[i] = index
                    break
                at = (at + np.uint64(1)) & mask
        edges[s] = count
    return count


@compiled
def _match(
    known_hashes: NDArray[np.uint64],
    known: NDArray[np.uint8],
    known_starts: NDArray[np.int64],
    known_ends: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    spans: NDArray[np.int64],
    table: NDArray[np.int32],
) -> NDArray[np.int64]:
    mask = np.uint64(table.size - 1)
    found = np.empty((hashes.size, 2), np.int64)
    count = 0
    for s in range(spans.shape[0]):
        table[:] = -1
        for k in range(spans[s, 0], spans[s, 1]):
            at = known_hashes[k] & mask
            while table[at] >= 0:
                at = (at + np.uint64(1)) & mask
            table[at] = k
        for i in range(spans[s, 2], spans[s, 3]):
            at = hashes[i] & mask
            while table[at] >= 0:
                k = table[at]
                if known_hashes[k] == hashes[i] and _equal(
                    known, known_starts[k], known_ends[k], data, starts[i], ends[i]
                ):
                    found[count, 0], found[count, 1] = i, k
                    count += 1
                    break
                at = (at + np.uint64(1)) & mask
    return found[:count]


@compiled
def _equal(a: NDArray[np.uint8], a_start: int, a_end: int, b: NDArray[np.uint8], b_start: int, b_end: int) -> bool:
    return a_end - a_start == b_end - b_start and same(a, a_start, b, b_start, a_end - a_start)
