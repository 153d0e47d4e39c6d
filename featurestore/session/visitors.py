"""What is known of a visitor across sessions: of the last ten, whether each bounced, its segment, what it was shown.

A profile is written when a session ends, in the same script as the session's removal, and read when a session first
names its visitor. The session's state keeps what was read, so the state alone explains a decision.

Stored: the version and the size of an entry (a byte each), 2 bytes sessions (little-endian), then at most 10 entries,
oldest first, of 18 bytes: session key u8, end i8 (epoch ms), persuasive actions shown u1, and one byte with whether it
bounced (bit 0) and the code of its segment (`segments.KINDS`; the bits above). The session key makes a second write of
the same session harmless. Version 1 lacks the first two bytes and the segments; `scripts/profile.lua` reads both as
this module does.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import inlined
from featurestore.errors import CorruptRecord
from featurestore.versions import RECORD_VERSION, VERSION_BEFORE

N_SESSIONS: Final = 10
ACTIONS_WINDOW_MS: Final = 86_400_000
"""Persuasive actions count against a visitor for a day."""

ENTRY = np.dtype([("key", "<u8"), ("ended", "<i8"), ("shown", "u1"), ("visit", "u1")])
"""A finished session; ``visit`` is `visit_byte`."""

_BOUNCED: Final = np.uint8(1)
_HEAD: Final = bytes([RECORD_VERSION, ENTRY.itemsize])

PROFILE = np.dtype(
    [
        ("visitor", "<u8"),
        ("first", "<i4"),  # the sessions that it is for, by index: those from here
        ("end", "<i4"),  # up to here
        ("sessions", "<u2"),  # finished sessions, saturating
        ("n", "u1"),  # sessions held, at most 10
        ("bounced", "u1", (N_SESSIONS,)),  # oldest first
        ("segment", "u1", (N_SESSIONS,)),
        ("shown", "u1", (N_SESSIONS,)),
        ("ended", "<i8", (N_SESSIONS,)),
        ("key", "<u8", (N_SESSIONS,)),
    ]
)
"""A visitor in memory, as the sessions of one partition of a batch know it.

A table of profiles ascends by ``visitor``. A visitor without a row is an unknown one, and a row that holds no session.
"""

NOBODY: Final = np.zeros(0, PROFILE)
"""A table for events that name no visitors."""


@inlined
def profile_at(profiles: NDArray[np.void], visitor: int, index: int) -> int:
    """Where the profile of a session's visitor stands in the table; -1 if it does not."""
    low, high = 0, profiles.size
    while low < high:
        middle = (low + high) // 2
        if profiles[middle]["visitor"] < visitor:
            low = middle + 1
        else:
            high = middle
    while low < profiles.size and profiles[low]["visitor"] == visitor:
        if profiles[low]["first"] <= index < profiles[low]["end"]:
            return low
        low += 1
    return -1


@inlined
def remember_session(profile: np.void, key: int, ended: int, shown: int, bounced: bool, segment: int) -> None:
    """Count one finished session; a session already counted changes nothing. ``segment`` is a code, 0 for none."""
    n = profile["n"]
    for j in range(n):
        if profile["key"][j] == key:
            return
    profile["sessions"] = min(profile["sessions"] + 1, 65_535)
    if n == N_SESSIONS:
        for j in range(N_SESSIONS - 1):
            profile["key"][j] = profile["key"][j + 1]
            profile["ended"][j] = profile["ended"][j + 1]
            profile["shown"][j] = profile["shown"][j + 1]
            profile["bounced"][j] = profile["bounced"][j + 1]
            profile["segment"][j] = profile["segment"][j + 1]
        n -= 1
    profile["key"][n] = key
    profile["ended"][n] = ended
    profile["shown"][n] = shown
    profile["bounced"][n] = 1 if bounced else 0
    profile["segment"][n] = segment
    profile["n"] = n + 1


@inlined
def bounce_rate(profile: np.void) -> float:
    """Share of single-page sessions among those held; NaN for a visitor without one."""
    if profile["n"] == 0:
        return float(np.nan)
    bounced = 0
    for j in range(profile["n"]):
        bounced += profile["bounced"][j]
    return float(bounced / profile["n"])


@inlined
def latest_segment(profile: np.void) -> int:
    """Code of the segment of the visitor's latest finished session; 0 if it is not known."""
    return int(profile["segment"][profile["n"] - 1]) if profile["n"] > 0 else 0


@inlined
def recent_actions(profile: np.void, t: int) -> int:
    """Persuasive actions shown in sessions that ended within `ACTIONS_WINDOW_MS` before ``t``."""
    total = 0
    for j in range(profile["n"]):
        if t - profile["ended"][j] <= ACTIONS_WINDOW_MS:
            total += profile["shown"][j]
    return total


class Profiles(NamedTuple):
    """Stored profiles in memory.

    Attributes:
        rows: `PROFILE`.
        corrupt: which of them cannot be read: they are those of unknown visitors.
    """

    rows: NDArray[np.void]
    corrupt: list[int]


def unpack(blobs: Sequence[bytes | None]) -> Profiles:
    """Stored profiles, of this version or the one before; None is an unknown visitor."""
    rows = np.zeros(len(blobs), PROFILE)
    corrupt = []
    for i, blob in enumerate(blobs):
        if blob is None:
            continue
        try:
            sessions, stored = split(blob)
        except CorruptRecord:
            corrupt.append(i)
            continue
        entries = np.frombuffer(stored, ENTRY)[-N_SESSIONS:]
        n = entries.size
        row = rows[i]
        row["sessions"] = sessions
        row["n"] = n
        for name in ("shown", "ended", "key"):
            row[name][:n] = entries[name]
        row["bounced"][:n] = entries["visit"] & _BOUNCED
        row["segment"][:n] = entries["visit"] >> 1
    return Profiles(rows, corrupt)


def split(blob: bytes) -> tuple[int, bytes]:
    """How many sessions a visitor has finished, and the entries of the latest.

    Raises:
        CorruptRecord: the bytes are no profile.
    """
    # The sizes tell the versions apart: 2 + 18 n bytes and 4 + 18 n.
    if len(blob) % ENTRY.itemsize == 2:
        return int.from_bytes(blob[:2], "little"), blob[2:]
    if len(blob) % ENTRY.itemsize == len(_HEAD) + 2 and blob.startswith(_HEAD):
        return int.from_bytes(blob[2:4], "little"), blob[4:]
    raise CorruptRecord("a visitor's profile is not of a version that this release reads")


def append_entry(blob: bytes | None, entry: bytes, version: int = RECORD_VERSION) -> bytes:
    """The stored profile with one more session: what the script does, for the in-memory store.

    Args:
        blob: as stored, of either version; None for none. What cannot be read begins anew.
        entry: of the session.
        version: of the result.
    """
    sessions, entries = 0, b""
    if blob:
        with suppress(CorruptRecord):
            sessions, entries = split(blob)
    if blob and any(entries[i : i + 8] == entry[:8] for i in range(0, len(entries), ENTRY.itemsize)):
        return blob
    kept = (entries + entry)[-N_SESSIONS * ENTRY.itemsize :]
    if version == VERSION_BEFORE:
        kept = _without_segments(kept)
    return head(version) + min(sessions + 1, 65_535).to_bytes(2, "little") + kept


def _without_segments(entries: bytes) -> bytes:
    """As version 1 writes them: it takes the whole byte for whether a session bounced."""
    rows = np.frombuffer(entries, ENTRY).copy()
    rows["visit"] &= _BOUNCED
    return rows.tobytes()


def visit_byte(bounced: NDArray[np.bool_], segment: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What entries say of each session beside what it was shown."""
    return np.asarray(bounced.astype(np.uint8) | segment << 1, np.uint8)


def head(version: int) -> bytes:
    """What a profile of a version begins with; the scripts are given it."""
    return b"" if version == VERSION_BEFORE else _HEAD


def session_key(session: int, t_min: int) -> int:
    """Tells a visitor's sessions apart, also two visits under one session id."""
    return (session ^ t_min) & 0xFFFF_FFFF_FFFF_FFFF
