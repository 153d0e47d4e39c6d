"""64-bit hashes of short strings, the same on every machine and in every release.

FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/) over the UTF-8 bytes, then the finaliser of MurmurHash3 so that
the low bits are as good as the high ones. 0 is kept for "no value".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled, inlined

_OFFSET = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)


@inlined
def hash_span(data: NDArray[np.uint8], start: int, end: int) -> np.uint64:
    """The hash of ``data[start:end]``; 0 where that is empty. For compiled code."""
    if start == end:
        return np.uint64(0)
    h = _OFFSET
    for j in range(start, end):
        h = (h ^ np.uint64(data[j])) * _PRIME
    h = (h ^ (h >> _SHIFT)) * _MIX_1
    h = (h ^ (h >> _SHIFT)) * _MIX_2
    h = h ^ (h >> _SHIFT)
    return h if h != 0 else np.uint64(1)


@compiled
def _hash_spans(data: NDArray[np.uint8], lengths: NDArray[np.int64], out: NDArray[np.uint64]) -> None:
    start = 0
    for i in range(lengths.size):
        end = start + lengths[i]
        out[i] = hash_span(data, start, end)
        start = end


def hash64(texts: Sequence[str | None] | Sequence[Any]) -> NDArray[np.uint64]:
    """Hash each text; None and "" give 0. Shape (n,)."""
    out = np.zeros(len(texts), np.uint64)
    filled = [text or "" for text in texts]
    joined = "".join(filled)
    if not joined:
        return out
    data = joined.encode("utf-8", "surrogatepass")
    sizes = map(len, filled) if len(data) == len(joined) else (len(t.encode("utf-8", "surrogatepass")) for t in filled)
    _hash_spans(np.frombuffer(data, np.uint8), np.fromiter(sizes, np.int64, len(filled)), out)
    return out


def hash_text(text: str) -> int:
    """The hash of one text, as a Python integer."""
    return int(hash64([text])[0])
