"""How a session rests in Redis: `STATE` and `MEMORY` as one short byte string. FORMAT.md specifies every byte.

A record is mostly zeros (a session of seven clicks uses a few of 24 counters, and one of 64 places for pages). What
rests of its head is, as they are, the bytes that are hardly ever zero (`USUAL`); of the others a bitmap of the words of
eight bytes that are not zero, and for each of them a byte that says which of the eight are not, and those bytes. The
used part of the two tails follows. Times are kept as distances from ``t_min``, and fields that mostly hold the same as
another (`ALIKE`) as how they differ. `unpack(pack(x)) == x` for every live state; a batch takes one compiled pass each
way.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.column import Blobs
from featurestore.columns.jit import compiled, copy_bytes, inlined
from featurestore.errors import StoreUnavailable
from featurestore.session.fold import MAX_EVENT_IDS, MAX_PAGES, MEMORY, N_ACTIONS, STATE, STATE_VERSION


def _at(dtype: np.dtype[np.void], name: str) -> int:
    """Where a field begins in a row."""
    offset: int = dtype.fields[name][1]  # type: ignore[index] # both are structured
    return offset


USUAL: Final = (
    *(("flags", 0, 1), ("silences", 0, 1), ("pages", 0, 1), ("ids", 0, 1), ("id_at", 0, 1), ("device", 0, 1)),
    *(("source", 0, 1), ("offset", 0, 2), ("t_min", 0, 6), ("t_max", 0, 2), ("armed", 0, 3), ("num_clicks", 0, 1)),
    *(("country", 0, 2), ("category", 0, 4), ("bounce", 2, 4), ("first_weekday", 0, 1), ("recent_at", 0, 1)),
    *(("counts", 0, 1), ("recent", 0, 1), ("memory.shown", 0, 1), ("memory.flips", 0, 1), ("memory.n_actions", 0, 1)),
    *(("memory.stage_since", 0, 2), ("memory.stage_ms", 0, 2), ("memory.action", 0, 2), ("memory.action_count", 0, 1)),
)
"""Field, and from which of its bytes to which: in nine of ten sessions of a shop these are not zero."""

ALIKE: Final = (
    ("price_sum", "price_max", 4),
    ("price_max", "price_min", 4),
    ("last_int", "t_max", 8),
    ("memory.action_id", "memory.action", 2),
    ("memory.action_at", "memory.stage_since", 8),
)
"""The first bytes of a field are kept XOR those of another one; in this order, so the second may be changed later."""

_PAGES_AT: Final = _at(STATE, "page_hashes")
_IDS_AT: Final = _at(STATE, "id_hashes")
_HEAD: Final = _PAGES_AT + MEMORY.itemsize


def _place(name: str) -> int:
    """Where a field begins in the head."""
    field = name.removeprefix("memory.")
    return _at(STATE, name) if field == name else _PAGES_AT + _at(MEMORY, field)


_USUAL: Final = np.concatenate([_place(name) + np.arange(first, end) for name, first, end in USUAL])
_ALIKE: Final = np.concatenate(
    [np.stack([_place(a) + np.arange(n), _place(b) + np.arange(n)], axis=1) for a, b, n in ALIKE]
)
_WORDS: Final = (_HEAD + 7) // 8
_BITMAP: Final = (_WORDS + 7) // 8
ID_BYTES: Final = 5
"""Low bytes kept of an event id's hash: one false duplicate in 1.7e10 events of a session that holds all 64."""
_MAX: Final = 1 + _USUAL.size + _BITMAP + _WORDS + _HEAD + 64 * 4 + 64 * ID_BYTES
_BEYOND: Final = 8
ID_MASK: Final = (1 << 8 * ID_BYTES) - 1


def pack(states: NDArray[np.void], memory: NDArray[np.void], rows: NDArray[np.int64] | None = None) -> Blobs:
    """One byte string a session; of ``rows`` only, if they are given."""
    chosen = np.arange(states.size) if rows is None else rows
    n = chosen.size
    out = np.empty(n * _MAX, np.uint8)
    ends = np.empty(n, np.int64)
    state, mind = np.zeros(1, STATE), np.zeros(1, MEMORY)
    _pack(_bytes(states), _bytes(memory), chosen, state, _bytes(state)[0], mind, _bytes(mind)[0], out, ends)
    return Blobs.split(out, ends)


def stored(blobs: Iterable[bytes | None], beside: Iterable[bytes] = ()) -> Blobs:
    """What a store answered, for `unpack`: an absent session is an empty string.

    Args:
        blobs: the strings of the column.
        beside: bytes laid behind them, which rows of the column may be pointed at.
    """
    return Blobs.joined([blob or b"" for blob in blobs], (*beside, bytes(_BEYOND)))


def unpack(blobs: Sequence[bytes | None]) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """`STATE` and `MEMORY` rows; None, or an empty string, is an absent session.

    Raises:
        StoreUnavailable: bytes of another version, or damaged ones: this worker must not go on.
    """
    column = blobs if isinstance(blobs, Blobs) else stored(blobs)
    if column.ends.max(initial=0) + _BEYOND > len(column.raw):
        column = Blobs(column.raw + bytes(_BEYOND), column.starts, column.ends)
    states = np.zeros(len(column), STATE)
    memory = np.zeros(len(column), MEMORY)
    if not _unpack(column.data, column.starts, column.ends, _bytes(states), _bytes(memory), states, memory):
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
    rows: NDArray[np.int64],
    state: NDArray[np.void],
    state_head: NDArray[np.uint8],
    mind: NDArray[np.void],
    mind_bytes: NDArray[np.uint8],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> None:
    at = 0
    head = np.zeros(8 * _WORDS, np.uint8)
    words = head.view(np.uint64)
    for k in range(rows.size):
        i = rows[k]
        row = state_bytes[i]
        copy_bytes(row, 0, _PAGES_AT, state_head, 0)
        copy_bytes(memory_bytes[i], 0, mind_bytes.size, mind_bytes, 0)
        s = state[0]
        m = mind[0]
        base = s["t_min"] - 1
        s["t_max"] = _less(s["t_max"], base)
        s["last_int"] = _less(s["last_int"], base)
        s["armed"] = _less(s["armed"], base)
        m["stage_since"] = _less(m["stage_since"], base)
        m["offer_until"] = _less(m["offer_until"], base)
        for j in range(N_ACTIONS):
            m["action_at"][j] = _less(m["action_at"][j], base)
        copy_bytes(mind_bytes, 0, mind_bytes.size, head, copy_bytes(state_head, 0, _PAGES_AT, head, 0))
        for j in range(_ALIKE.shape[0]):
            head[_ALIKE[j, 0]] ^= head[_ALIKE[j, 1]]
        out[at] = STATE_VERSION
        at += 1
        for j in range(_USUAL.size):
            out[at + j] = head[_USUAL[j]]
            head[_USUAL[j]] = 0
        bitmap = at + _USUAL.size
        at = bitmap + _BITMAP
        out[bitmap:at] = 0
        for w in range(_WORDS):
            if words[w] != 0:
                out[bitmap + w // 8] |= np.uint8(1 << w % 8)
                bits = 0
                place = at
                at += 1
                for j in range(8):
                    # Written in any case and kept if not zero: no branch for the processor to guess.
                    value = head[8 * w + j]
                    out[at] = value
                    kept = int(value != 0)
                    bits |= kept << j
                    at += kept
                out[place] = bits
        at = copy_bytes(row, _PAGES_AT, 4 * s["pages"], out, at)
        for j in range(s["ids"]):
            for b in range(ID_BYTES):
                out[at + b] = row[_IDS_AT + 8 * j + b]
            at += ID_BYTES
        ends[k] = at


@compiled
def _unpack(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    state_bytes: NDArray[np.uint8],
    memory_bytes: NDArray[np.uint8],
    states: NDArray[np.void],
    memory: NDArray[np.void],
) -> bool:
    head = np.zeros(8 * _WORDS, np.uint8)
    words = head.view(np.uint64)
    for i in range(ends.size):
        start, end = starts[i], ends[i]
        if start == end:
            continue
        if data[start] != STATE_VERSION or end - start <= _USUAL.size + _BITMAP:
            return False
        bitmap = start + 1 + _USUAL.size
        at = bitmap + _BITMAP
        for w in range(_WORDS):
            words[w] = 0
            if data[bitmap + w // 8] >> w % 8 & 1 == 0:
                continue
            if at >= end:
                return False
            bits = int(data[at])
            at += 1
            for j in range(8):
                # Read in any case, up to `_BEYOND` bytes too far, and taken if its bit is set: no branch to guess.
                kept = bits >> j & 1
                head[8 * w + j] = data[at] if kept else 0
                at += kept
            if at > end:
                return False
        for j in range(_USUAL.size):
            head[_USUAL[j]] |= data[start + 1 + j]
        for j in range(_ALIKE.shape[0] - 1, -1, -1):
            head[_ALIKE[j, 0]] ^= head[_ALIKE[j, 1]]
        row = state_bytes[i]
        copy_bytes(head, 0, _PAGES_AT, row, 0)
        copy_bytes(head, _PAGES_AT, _HEAD - _PAGES_AT, memory_bytes[i], 0)
        s = states[i]
        m = memory[i]
        base = s["t_min"] - 1
        s["t_max"] = _more(s["t_max"], base)
        s["last_int"] = _more(s["last_int"], base)
        s["armed"] = _more(s["armed"], base)
        m["stage_since"] = _more(m["stage_since"], base)
        m["offer_until"] = _more(m["offer_until"], base)
        for j in range(N_ACTIONS):
            m["action_at"][j] = _more(m["action_at"][j], base)
        pages, ids = s["pages"], s["ids"]
        # Counts that are not true would write into the next session's memory.
        if pages > MAX_PAGES or ids > MAX_EVENT_IDS or at + 4 * pages + ID_BYTES * ids != end:
            return False
        copy_bytes(data, at, 4 * pages, row, _PAGES_AT)
        at += 4 * pages
        for j in range(ids):
            for b in range(ID_BYTES):
                row[_IDS_AT + 8 * j + b] = data[at + b]
            at += ID_BYTES
    return True


@inlined
def _less(time: int, base: int) -> int:
    """A time as its distance from ``base``; 0, which is no time, stays 0."""
    return time - base if time != 0 else 0


@inlined
def _more(distance: int, base: int) -> int:
    return distance + base if distance != 0 else 0
