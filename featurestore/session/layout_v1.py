"""The layout of state version 1, which releases before version 2 wrote. Frozen: it is read, and written on demand.

Version 1 has room for 25 event types and four stages, no checksum, and no spare bytes. What it cannot hold is written
as well as it can: events of later types count as `click`, which is what the releases that wrote it make of them;
counts stop at 255; a shown stage beyond the fourth is forgotten.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled
from featurestore.session.conversion import Conversion
from featurestore.session.layout import (
    MAX_EVENT_IDS,
    MAX_PAGES,
    MEMORY,
    N_ACTIONS,
    N_GAPS,
    N_RECENT,
    STATE,
    Field,
    Layout,
)
from featurestore.versions import VERSION_BEFORE

N_TYPES: Final = 25
CLICK: Final = 24
STAGES: Final = 4
_FLAGS: Final = 7
"""Flags that version 1 knows."""

_STATE_FIELDS: Final = (
    Field("flags", "u1", most=7),
    Field("silences", "u1"),
    Field("pages", "u1", most=MAX_PAGES),
    Field("ids", "u1", most=MAX_EVENT_IDS),
    Field("id_at", "u1", most=MAX_EVENT_IDS - 1),
    Field("device", "u1", most=4),
    Field("source", "u1", most=7),
    Field("late", "u1"),
    Field("offset", "<i8"),
    Field("t_min", "<i8"),
    Field("t_max", "<i8", time=True),
    Field("last_int", "<i8", time=True),
    Field("armed", "<i8", time=True),
    Field("visitor", "<u8"),
    Field("gap_sum", "<u4"),
    Field("gaps", "<u4", N_GAPS),
    Field("gap_n", "<u2"),
    Field("num_clicks", "<u2"),
    Field("cart_additions", "<u2"),
    Field("cart_items", "<u2"),
    Field("cart_value", "<f4"),
    Field("purchase_value", "<f4"),
    Field("price_sum", "<f4"),
    Field("price_squares", "<f4"),
    Field("price_min", "<f4"),
    Field("price_max", "<f4"),
    Field("price_n", "<u2"),
    Field("country", "<u2"),
    Field("category", "<u4"),
    Field("bounce", "<f4"),
    Field("visitor_sessions", "<u2"),
    Field("visitor_actions", "<u2"),
    Field("purchases", "u1"),
    Field("checkout", "u1"),
    Field("scroll", "u1"),
    Field("first_hour", "u1", most=23),
    Field("first_weekday", "u1", most=6),
    Field("recent_at", "u1", most=N_RECENT - 1),
    Field("counts", "u1", N_TYPES),
    Field("recent", "u1", N_RECENT),
    Field("dwell", "<u2", N_RECENT),
)
_MEMORY_FIELDS: Final = (
    Field("shown", "u1", most=STAGES),
    Field("candidate", "u1", most=STAGES),
    Field("candidate_n", "u1"),
    Field("flips", "u1"),
    Field("persuasive", "u1"),
    Field("flags", "u1"),
    Field("n_actions", "u1", most=N_ACTIONS),
    Field("reserved", "u1"),
    Field("stage_since", "<i8", time=True),
    Field("offer_until", "<i8", time=True),
    Field("stage_ms", "<u4", STAGES),
    Field("action", "<u2"),
    Field("action_id", "<u2", N_ACTIONS),
    Field("action_count", "u1", N_ACTIONS),
    Field("action_at", "<i8", N_ACTIONS, time=True),
)
_USUAL: Final = (
    *(("flags", 0, 1), ("silences", 0, 1), ("pages", 0, 1), ("ids", 0, 1), ("id_at", 0, 1), ("device", 0, 1)),
    *(("source", 0, 1), ("offset", 0, 2), ("t_min", 0, 6), ("t_max", 0, 2), ("armed", 0, 3), ("num_clicks", 0, 1)),
    *(("country", 0, 2), ("category", 0, 4), ("bounce", 2, 4), ("first_weekday", 0, 1), ("recent_at", 0, 1)),
    *(("counts", 0, 1), ("recent", 0, 1), ("memory.shown", 0, 1), ("memory.flips", 0, 1), ("memory.n_actions", 0, 1)),
    *(("memory.stage_since", 0, 2), ("memory.stage_ms", 0, 2), ("memory.action", 0, 2), ("memory.action_count", 0, 1)),
)
_ALIKE: Final = (
    ("price_sum", "price_max", 4),
    ("price_max", "price_min", 4),
    ("last_int", "t_max", 8),
    ("memory.action_id", "memory.action", 2),
    ("memory.action_at", "memory.stage_since", 8),
)

V1: Final = Layout(VERSION_BEFORE, (_STATE_FIELDS, _MEMORY_FIELDS), (0, 0), _USUAL, _ALIKE, check=0, dense=False)

_UP: Final = (Conversion(V1.state, STATE), Conversion(V1.memory, MEMORY))
_DOWN: Final = (Conversion(STATE, V1.state), Conversion(MEMORY, V1.memory))
_LATEST_MS: Final = 2**53


def upgraded(states: NDArray[np.void], memory: NDArray[np.void]) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Rows of version 1 as rows of `STATE` and `MEMORY`. It knew one time alone: events arrived when they happened."""
    new = _UP[0](states)
    new["arrival"], new["int_arrival"] = new["t_max"], new["last_int"]
    new["price_squares"] = np.maximum(new["price_squares"] - _mean_squares(new), 0)
    new["price_squares"][new["price_min"] == new["price_max"]] = 0
    return new, _UP[1](memory)


def downgraded(states: NDArray[np.void], memory: NDArray[np.void]) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Rows of `STATE` and `MEMORY` as well as version 1 can hold them."""
    old, mind = _DOWN[0](states), _DOWN[1](memory)
    old["price_squares"] = states["price_squares"] + _mean_squares(states)
    _fit(states, old, mind)
    return old, mind


def _mean_squares(states: NDArray[np.void]) -> NDArray[np.float64]:
    """What version 1 added to the squares of the deviations: it summed the squares of the prices themselves."""
    squares: NDArray[np.float64] = states["price_sum"] ** 2 / np.maximum(states["price_n"], 1)
    return squares


def plausible(states: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which rows can be states at all: version 1 has no checksum, so this is what tells that a byte was changed."""
    fine = np.zeros(states.size, np.bool_)
    _plausible(states, fine)
    return fine


@compiled
def _fit(states: NDArray[np.void], old: NDArray[np.void], mind: NDArray[np.void]) -> None:
    for i in range(states.size):
        counts = states[i]["counts"]
        clicks = int(counts[CLICK])
        for j in range(N_TYPES, counts.size):
            clicks += counts[j]
        old[i]["counts"][CLICK] = min(clicks, 255)
        recent = old[i]["recent"]
        for j in range(N_RECENT):
            if recent[j] > N_TYPES:
                recent[j] = CLICK + 1
        if mind[i]["shown"] > STAGES:
            mind[i]["shown"] = 0
        if mind[i]["candidate"] > STAGES:
            mind[i]["candidate"] = 0
        # It knows one time alone: of arrival, since silence is what it waits for. What is over counts as never seen.
        live = old[i]["flags"] & 1 != 0
        moved = max(states[i]["arrival"] - states[i]["t_max"], 0) if live else 0
        old[i]["flags"] &= _FLAGS
        old[i]["t_min"] += moved
        old[i]["t_max"] = old[i]["t_max"] + moved if live else old[i]["t_min"]
        old[i]["last_int"] = old[i]["last_int"] + moved if live else old[i]["t_min"]


@compiled
def _plausible(states: NDArray[np.void], fine: NDArray[np.bool_]) -> None:
    for i in range(states.size):
        s = states[i]
        begun, newest = s["t_min"], s["t_max"]
        over = s["flags"] == 0 and s["num_clicks"] == 0
        good = (s["flags"] & 1 != 0 or over) and s["offset"] >= 0 and 0 <= begun <= newest <= _LATEST_MS
        good &= 0 <= s["last_int"] <= newest and 0 <= s["armed"] <= _LATEST_MS
        good &= _amount(s["cart_value"]) and _amount(s["purchase_value"])
        good &= _amount(s["price_sum"]) and _amount(s["price_squares"])
        good &= _amount(s["price_min"]) and _amount(s["price_max"])
        good &= np.isnan(s["bounce"]) or 0 <= s["bounce"] <= 1
        for j in range(N_RECENT):
            good &= s["recent"][j] <= N_TYPES
        fine[i] = good


@compiled
def _amount(value: float) -> bool:
    return bool(value >= 0 and value < np.inf)
