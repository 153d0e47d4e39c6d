"""What is known of a visitor across sessions: the last ten sessions, whether each bounced, what each was shown.

A profile is written when a session ends, in the same script as the session's removal, and read when a session first
names its visitor. What was read is kept in the session's state, so a decision is explained by the state alone.

Stored: 2 bytes sessions (little-endian), then at most 10 entries, oldest first, of 18 bytes: session key u8, end i8
(epoch ms), persuasive actions shown u1, bounced u1. The session key makes a second write of the same session harmless.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import inlined

N_SESSIONS: Final = 10
ACTIONS_WINDOW_MS: Final = 86_400_000
"""Persuasive actions count against a visitor for a day."""

ENTRY = np.dtype([("key", "<u8"), ("ended", "<i8"), ("shown", "u1"), ("bounced", "u1")])

PROFILE = np.dtype(
    [
        ("sessions", "<u2"),  # finished sessions, saturating
        ("n", "u1"),  # sessions held, at most 10
        ("bounced", "u1", (N_SESSIONS,)),  # oldest first
        ("shown", "u1", (N_SESSIONS,)),
        ("ended", "<i8", (N_SESSIONS,)),
        ("key", "<u8", (N_SESSIONS,)),
    ]
)
"""One visitor in memory; zero is an unknown one."""


@inlined
def remember_session(profile: np.void, key: int, ended: int, shown: int, bounced: bool) -> None:
    """Count one finished session; a session already counted changes nothing."""
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
        n -= 1
    profile["key"][n] = key
    profile["ended"][n] = ended
    profile["shown"][n] = shown
    profile["bounced"][n] = 1 if bounced else 0
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
def recent_actions(profile: np.void, t: int) -> int:
    """Persuasive actions shown in sessions that ended within `ACTIONS_WINDOW_MS` before ``t``."""
    total = 0
    for j in range(profile["n"]):
        if t - profile["ended"][j] <= ACTIONS_WINDOW_MS:
            total += profile["shown"][j]
    return total


def unpack(blobs: Sequence[bytes | None]) -> NDArray[np.void]:
    """Stored profiles as `PROFILE` rows; None is an unknown visitor."""
    rows = np.zeros(len(blobs), PROFILE)
    for row, blob in zip(rows, blobs, strict=True):
        if blob is None:
            continue
        entries = np.frombuffer(blob, ENTRY, offset=2)[-N_SESSIONS:]
        n = entries.size
        row["sessions"] = int.from_bytes(blob[:2], "little")
        row["n"] = n
        for name in ("bounced", "shown", "ended", "key"):
            row[name][:n] = entries[name]
    return rows


def append_entry(blob: bytes | None, entry: bytes) -> bytes:
    """The stored profile with one more session: what the script does, for the in-memory store."""
    sessions = int.from_bytes(blob[:2], "little") if blob else 0
    entries = blob[2:] if blob else b""
    if any(entries[i : i + 8] == entry[:8] for i in range(0, len(entries), ENTRY.itemsize)):
        return blob or b""
    kept = (entries + entry)[-N_SESSIONS * ENTRY.itemsize :]
    return min(sessions + 1, 65_535).to_bytes(2, "little") + kept


def session_key(session: int, t_min: int) -> int:
    """Tells a visitor's sessions apart, also two visits under one session id."""
    return (session ^ t_min) & 0xFFFF_FFFF_FFFF_FFFF
