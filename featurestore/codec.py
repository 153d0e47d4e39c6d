"""How a session rests in Redis: `STATE` and `MEMORY` as one short byte string. FORMAT.md specifies every byte.

A record is mostly zeros (a session of seven clicks uses a few of 24 counters, and one of 64 places for pages), so what
rests is a bitmap of the head's non-zero bytes, those bytes, and the used part of the two tails. Times are kept as
distances from ``t_min``. `unpack(pack(x)) == x` for every live state; a batch takes one compiled pass either way.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.errors import StoreUnavailable
from featurestore.jit import compiled
from featurestore.session import MAX_EVENT_IDS, MAX_PAGES, MEMORY, STATE, STATE_VERSION


def _at(dtype: np.dtype[np.void], name: str) -> int:
    """Where a field begins in a row."""
    offset: int = dtype.fields[name][1]  # type: ignore[index] # both are structured
    return offset


_PAGES_AT: Final = _at(STATE, "page_hashes")
_IDS_AT: Final = _at(STATE, "id_hashes")
_HEAD: Final = _PAGES_AT + MEMORY.itemsize
_BITMAP: Final = (_HEAD + 7) // 8
ID_BYTES: Final = 5
"""Low bytes kept of an event id's hash: one false duplicate in 1.7e10 events of a session that holds all 64."""
_MAX: Final = 1 + _BITMAP + _HEAD + 64 * 4 + 64 * ID_BYTES
ID_MASK: Final = (1 << 8 * ID_BYTES) - 1


_T_MIN_AT: Final = _at(STATE, "t_min")
_TIMES = np.array(
    [_at(STATE, name) for name in ("t_max", "last_int", "armed")]
    + [_PAGES_AT + _at(MEMORY, name) for name in ("stage_since", "offer_until")]
    + [_PAGES_AT + _at(MEMORY, "action_at") + 8 * j for j in range(8)],
    np.int64,
)


def pack(states: NDArray[np.void], memory: NDArray[np.void]) -> list[bytes]:
    """One byte string a session."""
    n = states.size
    out = np.empty(n * _MAX, np.uint8)
    ends = np.empty(n, np.int64)
    _pack(_bytes(states), _bytes(memory), states, out, ends)
    data = memoryview(out.data)
    spans = ends.tolist()
    return [bytes(data[a:b]) for a, b in zip([0, *spans[:-1]], spans, strict=True)] if n else []


def unpack(blobs: Sequence[bytes | None]) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """`STATE` and `MEMORY` rows; None is an absent session.

    Raises:
        StoreUnavailable: bytes of another version, or damaged ones: this worker must not go on.
    """
    n = len(blobs)
    states = np.zeros(n, STATE)
    memory = np.zeros(n, MEMORY)
    filled = [blob or b"" for blob in blobs]
    data = np.frombuffer(b"".join(filled), np.uint8)
    lengths = np.fromiter(map(len, filled), np.int64, n)
    if data.size and not _unpack(data, lengths, _bytes(states), _bytes(memory), states):
        raise StoreUnavailable(
            f"a stored session is not of state version {STATE_VERSION}; run the release that wrote it, "
            "or raise CLICKSTAGE_SCHEMA to rebuild from the topic"
        )
    return states, memory


def _bytes(rows: NDArray[np.void]) -> NDArray[np.uint8]:
    return rows.view(np.uint8).reshape(rows.size, rows.dtype.itemsize)


@compiled
def _pack(
    state_bytes: NDArray[np.uint8],
    memory_bytes: NDArray[np.uint8],
    states: NDArray[np.void],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> None:
    at = 0
    head = np.empty(_HEAD, np.uint8)
    words = np.empty(1, np.int64)
    word_bytes = words.view(np.uint8)
    for i in range(states.size):
        head[:_PAGES_AT] = state_bytes[i, :_PAGES_AT]
        head[_PAGES_AT:] = memory_bytes[i]
        t_min = states[i]["t_min"]
        for k in range(_TIMES.size):
            where = _TIMES[k]
            word_bytes[:] = head[where : where + 8]
            if words[0] != 0:
                words[0] = words[0] - t_min + 1
                head[where : where + 8] = word_bytes
        out[at] = STATE_VERSION
        bitmap = at + 1
        out[bitmap : bitmap + _BITMAP] = 0
        at = bitmap + _BITMAP
        for j in range(_HEAD):
            if head[j] != 0:
                out[bitmap + j // 8] |= np.uint8(1 << (j % 8))
                out[at] = head[j]
                at += 1
        for j in range(4 * states[i]["pages"]):
            out[at] = state_bytes[i, _PAGES_AT + j]
            at += 1
        for j in range(states[i]["ids"]):
            for b in range(ID_BYTES):
                out[at] = state_bytes[i, _IDS_AT + 8 * j + b]
                at += 1
        ends[i] = at


@compiled
def _unpack(
    data: NDArray[np.uint8],
    lengths: NDArray[np.int64],
    state_bytes: NDArray[np.uint8],
    memory_bytes: NDArray[np.uint8],
    states: NDArray[np.void],
) -> bool:
    start = 0
    head = np.empty(_HEAD, np.uint8)
    words = np.empty(1, np.int64)
    word_bytes = words.view(np.uint8)
    for i in range(lengths.size):
        if lengths[i] == 0:
            continue
        if data[start] != STATE_VERSION or lengths[i] <= _BITMAP:
            return False
        bitmap = start + 1
        at = bitmap + _BITMAP
        end = start + lengths[i]
        for j in range(_HEAD):
            if data[bitmap + j // 8] >> (j % 8) & 1:
                if at == end:
                    return False
                head[j] = data[at]
                at += 1
            else:
                head[j] = 0
        word_bytes[:] = head[_T_MIN_AT : _T_MIN_AT + 8]
        t_min = words[0]
        for k in range(_TIMES.size):
            where = _TIMES[k]
            word_bytes[:] = head[where : where + 8]
            if words[0] != 0:
                words[0] = words[0] + t_min - 1
                head[where : where + 8] = word_bytes
        state_bytes[i, :_PAGES_AT] = head[:_PAGES_AT]
        memory_bytes[i] = head[_PAGES_AT:]
        pages, ids = states[i]["pages"], states[i]["ids"]
        # Counts that are not true would write into the next session's memory.
        if pages > MAX_PAGES or ids > MAX_EVENT_IDS or at + 4 * pages + ID_BYTES * ids != end:
            return False
        for j in range(4 * pages):
            state_bytes[i, _PAGES_AT + j] = data[at]
            at += 1
        for j in range(ids):
            for b in range(ID_BYTES):
                state_bytes[i, _IDS_AT + 8 * j + b] = data[at]
                at += 1
        start = end
    return True
