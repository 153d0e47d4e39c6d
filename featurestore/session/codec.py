"""How a session is stored: `STATE` and `MEMORY` as one short byte string. FORMAT.md specifies every byte.

A record is mostly zeros (a session of seven clicks uses a few of 64 counters, and one of 64 places for pages). Of its
head, the bytes that are hardly ever zero are stored as they are (`layout.USUAL`). Of the others, a bitmap says which
words of eight bytes are not zero, and for each of these a byte says which of the eight are not, and those bytes follow.
The used part of the two tails comes last. Times are stored as distances from ``t_min``, fields that mostly hold the
same as another (`layout.ALIKE`) as how they differ, and fields that others predict (`residuals`) as what is left.

Version 2 begins with a checksum over the record and the session's hash, so a changed byte is noticed, and also a whole
record under another session's name. `unpack(pack(x)) == x` for every live state; a batch takes one compiled pass each
way, whatever the version, by the tables of its `Layout`.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.column import Blobs
from featurestore.columns.jit import compiled, copy_bytes, load_word, lowest_bit, store_word
from featurestore.session.layout import MAX_EVENT_IDS, MAX_PAGES, MEMORY, NEWEST, STATE, Layout, Tables
from featurestore.session.layout_v1 import V1, downgraded, plausible, upgraded
from featurestore.session.residuals import add_predictions, take_predictions, views
from featurestore.versions import RECORD_VERSION

ID_BYTES: Final = 5
"""Low bytes kept of an event id's hash: one false duplicate in 1.7e10 events of a session that holds all 64."""
ID_MASK: Final = (1 << 8 * ID_BYTES) - 1
_BEYOND: Final = 16
"""Bytes that may be read beyond a record's end: whole words are read where fewer bytes count."""

# What became of a record.
_READ: Final = 0
_OTHER_VERSION: Final = 1
_CORRUPT: Final = 2


class Unpacked(NamedTuple):
    """Stored sessions in memory.

    Attributes:
        states: `STATE`, one row a record.
        memory: `MEMORY`, the same.
        corrupt: rows whose record cannot be read: they are absent sessions, and begin anew.
    """

    states: NDArray[np.void]
    memory: NDArray[np.void]
    corrupt: NDArray[np.int64]


def pack(
    states: NDArray[np.void],
    memory: NDArray[np.void],
    rows: NDArray[np.int64] | None = None,
    version: int = RECORD_VERSION,
) -> Blobs:
    """One byte string a session; of ``rows`` only, if they are given.

    Args:
        states: `STATE`, with the hash of each session's id in ``session``.
        memory: `MEMORY`.
        rows: which to pack.
        version: of the records: the newest one, or the one before.
    """
    chosen = np.arange(states.size) if rows is None else rows
    if version == RECORD_VERSION:
        return _packed(states, memory, chosen, NEWEST)
    return _packed(*downgraded(states[chosen], memory[chosen]), np.arange(chosen.size), V1)


def stored(blobs: Iterable[bytes | None], beside: Iterable[bytes] = ()) -> Blobs:
    """What a store answered, for `unpack`: an absent session is an empty string.

    Args:
        blobs: the strings of the column.
        beside: bytes laid behind them, which rows of the column may be pointed at.
    """
    return Blobs.joined([blob or b"" for blob in blobs], (*beside, bytes(_BEYOND)))


def unpack(blobs: Sequence[bytes | None], sessions: NDArray[np.uint64] | Sequence[int]) -> Unpacked:
    """The sessions of records; None, or an empty string, is an absent session.

    Args:
        blobs: records of the newest version, or the one before.
        sessions: hash of the session id of each.
    """
    column = blobs if isinstance(blobs, Blobs) else stored(blobs)
    if column.ends.max(initial=0) + _BEYOND > len(column.raw):
        column = Blobs(column.raw + bytes(_BEYOND), column.starts, column.ends)
    hashes = np.asarray(sessions, np.uint64)
    states, memory = np.zeros(len(column), STATE), np.zeros(len(column), MEMORY)
    status = np.zeros(len(column), np.uint8)
    if _unpacked(column, hashes, states, memory, NEWEST, status):
        _unpack_older(column, hashes, states, memory, status)
    states["session"] = hashes
    return Unpacked(states, memory, status.nonzero()[0])


def warm_up() -> None:
    """Compile both ways for every version, so that no event waits for it."""
    states = np.zeros(1, STATE)
    states["flags"] = 1
    for version in (V1.tables.version, RECORD_VERSION):
        unpack(pack(states, np.zeros(1, MEMORY), version=version), [0])


def _packed(states: NDArray[np.void], memory: NDArray[np.void], rows: NDArray[np.int64], layout: Layout) -> Blobs:
    out = np.empty(rows.size * layout.largest, np.uint8)
    ends = np.empty(rows.size, np.int64)
    _pack(_bytes(states), _bytes(memory), states["session"], rows, layout.tables, out, ends)
    return Blobs.split(out, ends)


def _unpacked(
    column: Blobs,
    sessions: NDArray[np.uint64],
    states: NDArray[np.void],
    memory: NDArray[np.void],
    layout: Layout,
    status: NDArray[np.uint8],
) -> int:
    """Read the records of one version; how many were not read, by ``status``."""
    data, starts, ends = column.data, column.starts, column.ends
    return _unpack(data, starts, ends, sessions, layout.tables, _bytes(states), _bytes(memory), status)


def _unpack_older(
    column: Blobs,
    sessions: NDArray[np.uint64],
    states: NDArray[np.void],
    memory: NDArray[np.void],
    status: NDArray[np.uint8],
) -> None:
    """Read the records of the version before."""
    rows = np.flatnonzero(status == _OTHER_VERSION)
    old, mind = np.zeros(rows.size, V1.state), np.zeros(rows.size, V1.memory)
    found = np.zeros(rows.size, np.uint8)
    _unpacked(column.take(rows), sessions[rows], old, mind, V1, found)
    found[~plausible(old)] = _CORRUPT
    status[rows] = found
    fine = found == _READ
    states[rows[fine]], memory[rows[fine]] = upgraded(old[fine], mind[fine])


def _bytes(rows: NDArray[np.void]) -> NDArray[np.uint8]:
    return rows.view(np.uint8).reshape(rows.size, rows.dtype.itemsize)


@compiled
def _pack(
    state_bytes: NDArray[np.uint8],
    memory_bytes: NDArray[np.uint8],
    sessions: NDArray[np.uint64],
    rows: NDArray[np.int64],
    tables: Tables,
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> None:
    at = 0
    words = np.zeros(8 * tables.groups, np.uint64)
    fields = views(words)
    head = fields.one
    bitmap = np.zeros(tables.groups, np.uint8)
    usual, alike, times = tables.usual, tables.alike, tables.times
    for k in range(rows.size):
        state = state_bytes[rows[k]]
        copy_bytes(state, 0, tables.state_bytes, head, 0)
        copy_bytes(memory_bytes[rows[k]], 0, tables.memory_bytes, head, tables.state_bytes)
        pages, ids = int(head[tables.pages]), int(head[tables.ids])
        if tables.dense:
            take_predictions(fields)
        base = load_word(head, tables.t_min) - np.uint64(1)
        for j in range(times.size):
            time = load_word(head, times[j])
            store_word(head, times[j], time - base if time != 0 else time)
        for j in range(alike.shape[0]):
            words[alike[j, 0]] ^= (words[alike[j, 2]] >> alike[j, 3] & alike[j, 4]) << alike[j, 1]
        start = at
        out[at] = tables.version
        at += 1 + tables.check
        for j in range(usual.shape[0]):
            word, shift, size = words[usual[j, 0]], np.uint64(usual[j, 1]), usual[j, 2]
            store_word(out, at, word >> shift)
            words[usual[j, 0]] = word & ~(_mask(size) << shift)
            at += size
        at = _write_words(words, bitmap, tables.dense, out, at)
        at = copy_bytes(state, tables.pages_at, 4 * pages, out, at)
        for j in range(ids):
            store_word(out, at, load_word(state, tables.ids_at + 8 * j))
            at += ID_BYTES
        if tables.check:
            check = _checksum(out, start + 1 + tables.check, at, sessions[rows[k]])
            for j in range(tables.check):
                out[start + 1 + j] = check >> np.uint64(8 * j) & np.uint64(255)
        ends[k] = at


@compiled
def _write_words(
    words: NDArray[np.uint64], bitmap: NDArray[np.uint8], dense: bool, out: NDArray[np.uint8], at: int
) -> int:
    """The bitmap, then the words that are not zero; returns where they end."""
    top = at
    if dense:
        for _ in range((bitmap.size + 7) // 8):
            out[at] = 0
            at += 1
    for g in range(bitmap.size):
        bits = 0
        for j in range(8):
            bits |= int(words[8 * g + j] != 0) << j
        bitmap[g] = bits
        out[at] = bits
        if dense:
            some = int(bits != 0)
            out[top + (g >> 3)] |= np.uint8(some << (g & 7))
            at += some
        else:
            at += 1
    for g in range(bitmap.size):
        bits = int(bitmap[g])
        while bits != 0:
            word = words[8 * g + lowest_bit(bits)]
            bits &= bits - 1
            place = at
            at += 1
            which = 0
            for j in range(8):
                # Written in any case and kept if not zero: no branch for the processor to guess.
                value = word & np.uint64(255)
                word >>= np.uint64(8)
                out[at] = value
                kept = int(value != 0)
                which |= kept << j
                at += kept
            out[place] = which
    return at


@compiled
def _unpack(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    sessions: NDArray[np.uint64],
    tables: Tables,
    state_bytes: NDArray[np.uint8],
    memory_bytes: NDArray[np.uint8],
    status: NDArray[np.uint8],
) -> int:
    words = np.zeros(8 * tables.groups, np.uint64)
    fields = views(words)
    head = fields.one
    blank = np.zeros(words.size * 8, np.uint8)
    usual, alike, times, limits = tables.usual, tables.alike, tables.times, tables.limits
    fewest = 1 + tables.check + tables.usual_bytes + ((tables.groups + 7) // 8 if tables.dense else tables.groups)
    unread = 0
    for i in range(ends.size):
        start, end = starts[i], ends[i]
        if start == end:
            continue
        if data[start] != tables.version or end - start < fewest:
            status[i] = _OTHER_VERSION if data[start] != tables.version else _CORRUPT
            unread += 1
            continue
        at = start + 1 + tables.check
        fine = True
        if tables.check:
            check = _checksum(data, at, end, sessions[i])
            for j in range(tables.check):
                fine &= np.uint64(data[start + 1 + j]) == check >> np.uint64(8 * j) & np.uint64(255)
        copy_bytes(blank, 0, blank.size, head, 0)
        behind = _read_words(data, at + tables.usual_bytes, end, tables.groups, tables.dense, words) if fine else -1
        if behind < 0:
            status[i] = _CORRUPT
            unread += 1
            continue
        for j in range(usual.shape[0]):
            run = load_word(data, at) & _mask(usual[j, 2])
            words[usual[j, 0]] |= run << np.uint64(usual[j, 1])
            at += usual[j, 2]
        for j in range(alike.shape[0] - 1, -1, -1):
            words[alike[j, 0]] ^= (words[alike[j, 2]] >> alike[j, 3] & alike[j, 4]) << alike[j, 1]
        base = load_word(head, tables.t_min) - np.uint64(1)
        for j in range(times.size):
            time = load_word(head, times[j])
            store_word(head, times[j], time + base if time != 0 else time)
        if tables.dense:
            add_predictions(fields)
        for j in range(limits.shape[0]):
            fine &= int(head[limits[j, 0]]) <= limits[j, 1]
        pages, ids = int(head[tables.pages]), int(head[tables.ids])
        # Counts that are not true would write into the next session's memory.
        if not fine or behind + 4 * pages + ID_BYTES * ids != end or pages > MAX_PAGES or ids > MAX_EVENT_IDS:
            status[i] = _CORRUPT
            unread += 1
            continue
        state = state_bytes[i]
        copy_bytes(head, 0, tables.state_bytes, state, 0)
        copy_bytes(head, tables.state_bytes, tables.memory_bytes, memory_bytes[i], 0)
        copy_bytes(data, behind, 4 * pages, state, tables.pages_at)
        behind += 4 * pages
        for j in range(ids):
            store_word(state, tables.ids_at + 8 * j, load_word(data, behind) & np.uint64(ID_MASK))
            behind += ID_BYTES
    return unread


@compiled
def _read_words(data: NDArray[np.uint8], at: int, end: int, groups: int, dense: bool, words: NDArray[np.uint64]) -> int:
    """Read the words that are not zero from behind the usual bytes; where they end, -1 if beyond the record."""
    top = at
    behind = at + groups
    if dense:
        at += (groups + 7) // 8
        behind = at
        for g in range(groups):
            behind += data[top + (g >> 3)] >> (g & 7) & 1
    for g in range(groups):
        if dense and data[top + (g >> 3)] >> (g & 7) & 1 == 0:
            continue
        bits = int(data[at])
        at += 1
        while bits != 0:
            if behind >= end:
                return -1
            word = np.uint64(0)
            which = int(data[behind])
            behind += 1
            for j in range(8):
                # Read in any case, up to `_BEYOND` bytes too far, and taken if its bit is set: no branch to guess.
                kept = which >> j & 1
                word |= (np.uint64(data[behind]) if kept else np.uint64(0)) << np.uint64(8 * j)
                behind += kept
            words[8 * g + lowest_bit(bits)] = word
            bits &= bits - 1
    return behind if behind <= end else -1


_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_ODDER: Final = np.uint64(0xC2B2AE3D27D4EB4F)


@compiled
def _checksum(data: NDArray[np.uint8], start: int, end: int, session: np.uint64) -> np.uint64:
    """A hash of the bytes and of the session's hash: two lanes of multiply and xor-shift over words of eight bytes."""
    one, two = session, np.uint64(end - start)
    half = np.uint64(32)
    at = start
    while at + 16 <= end:
        one = (one ^ load_word(data, at)) * _ODD
        two = (two ^ load_word(data, at + 8)) * _ODDER
        one ^= one >> half
        two ^= two >> half
        at += 16
    if at + 8 <= end:
        one = (one ^ load_word(data, at)) * _ODD
        one ^= one >> half
        at += 8
    if at < end:
        two = (two ^ (load_word(data, at) & _mask(end - at))) * _ODDER
        two ^= two >> half
    return (one ^ two << np.uint64(1)) * _ODD >> np.uint64(40)


@compiled
def _mask(size: int) -> np.uint64:
    """The low ``size`` bytes of a word; ``size`` is 1 to 8."""
    return ~np.uint64(0) >> np.uint64(64 - 8 * size)
