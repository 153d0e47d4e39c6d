"""What a fold means for the store: which sessions to keep, which are gone, whose decision is shown or dropped. Pure."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled
from featurestore.contract.event import CLEAR as WITHDRAWN
from featurestore.contract.event import TICK
from featurestore.session.clock import arrival_of
from featurestore.session.fold import FoldConfig, fill_deadlines
from featurestore.session.observation import CLEAR, END
from featurestore.session.state import IS_BOT, LIVE, SILENT, UPLOADED


class Outcome(NamedTuple):
    """Slots, each array in their order.

    Attributes:
        put: sessions that live, or of which something is remembered, and that may have changed.
        gone: sessions that were looked at and are no more.
        shown: those whose decision is put where the front end reads.
        row: of each of these, the observation that it rests on.
        dropped: those whose decision must not be read any more.
        armed: those whose entry in the idle index moves, and that await their silence.
        ending: those whose entry in the idle index moves, and that await nothing but their end, or to be forgotten.
    """

    put: NDArray[np.int64]
    gone: NDArray[np.int64]
    shown: NDArray[np.int64]
    row: NDArray[np.int64]
    dropped: NDArray[np.int64]
    armed: NDArray[np.int64]
    ending: NDArray[np.int64]


def outcome(
    events: NDArray[np.void],
    rows: NDArray[np.void],
    scored: NDArray[np.bool_],
    states: NDArray[np.void],
    config: FoldConfig,
) -> Outcome:
    """Sort the sessions of a batch; writes into ``states`` where those that are armed stand in the idle index.

    An entry may stand before the deadline, which moves with every click: when it falls due, the session is looked at,
    found busy, and armed anew. So an entry is written once a silence, not once an event.

    An end's entry stays in its list when the session moves on. A tick that such an entry brings finds the session
    standing after the tick's own time, and does not arm it: entries that are left behind are used up, and never grow.

    Args:
        events: of the batch, ticks included.
        rows: what the fold saw.
        scored: which rows have a decision, shape of ``rows``.
        states: after the fold, one row a session.
        config: of the fold.
    """
    indices = np.empty((7, states.size), np.int64)
    sizes = _outcome(
        events, rows, scored, states, config.idle_after_ms, config.idle_mean_ms, config.session_gap_ms, indices
    )
    return Outcome(*(part[:size] for part, size in zip(indices, sizes, strict=True)))


@compiled
def _outcome(
    events: NDArray[np.void],
    rows: NDArray[np.void],
    scored: NDArray[np.bool_],
    states: NDArray[np.void],
    idle_after_ms: int,
    idle_mean_ms: int,
    session_gap_ms: int,
    out: NDArray[np.int64],
) -> tuple[int, int, int, int, int, int, int]:
    n = states.size
    due = np.empty(n, np.int64)
    fill_deadlines(states, due, idle_after_ms, idle_mean_ms, session_gap_ms)
    touched = np.zeros(n, np.bool_)
    fallen = np.full(n, -1, np.int64)
    closed = np.full(n, -1, np.int64)
    latest = np.full(n, -1, np.int64)
    for m in range(rows.size):
        index = rows[m]["session_index"]
        touched[index] = True
        if rows[m]["kind"] == END or rows[m]["kind"] == CLEAR:
            closed[index] = m
        if scored[m]:
            latest[index] = m
    for i in range(events.size):
        if events[i]["kind"] == TICK:
            touched[events[i]["session_index"]] = True
            fallen[events[i]["session_index"]] = events[i]["t"]
    puts = gone = shown = dropped = armed = ending = 0
    for index in range(n):
        live = states[index]["flags"] & LIVE != 0
        # A session's last decision counts only if the session was not closed after it.
        if live and latest[index] > closed[index]:
            out[2, shown] = index
            out[3, shown] = latest[index]
            shown += 1
        elif closed[index] >= 0:
            out[4, dropped] = index
            dropped += 1
        if not touched[index]:
            continue
        if not live and states[index]["arrival"] == 0:  # nothing of it is remembered either
            out[1, gone] = index
            gone += 1
            continue
        out[0, puts] = index
        puts += 1
        stands = states[index]["armed"]
        if stands == 0 or stands > due[index] or stands <= fallen[index]:
            states[index]["armed"] = due[index]
            if not live or states[index]["flags"] & (SILENT | IS_BOT | UPLOADED) != 0:
                out[6, ending] = index
                ending += 1
            else:
                out[5, armed] = index
                armed += 1
    return puts, gone, shown, shown, dropped, armed, ending


def visitors_wanted(events: NDArray[np.void], states: NDArray[np.void], session_gap_ms: int) -> NDArray[np.int64]:
    """The events that may name a visitor to a session: one that does not know its own, or that may begin anew.

    Of several that name one visitor to one session, mostly the first alone.
    """
    wanted = np.empty(events.size, np.int64)
    return wanted[: _visitors_wanted(events, states, session_gap_ms, wanted)]


@compiled
def _visitors_wanted(
    events: NDArray[np.void], states: NDArray[np.void], session_gap_ms: int, wanted: NDArray[np.int64]
) -> int:
    found = 0
    anew = np.zeros(states.size, np.bool_)
    taken = np.zeros(states.size, np.uint64)
    earliest = states["arrival"].copy()
    for i in range(events.size):
        e = events[i]
        index = e["session_index"]
        s = states[index]
        if e["kind"] == WITHDRAWN:
            anew[index] = True
        if e["kind"] == TICK:
            continue
        # A session's arrival may move back while records come, but not before the earliest of them.
        arrived = arrival_of(e)
        anew[index] |= s["flags"] & UPLOADED != 0 or arrived >= earliest[index] + session_gap_ms
        earliest[index] = min(earliest[index], arrived)
        if e["visitor"] == 0 or e["visitor"] == taken[index]:
            continue
        if anew[index] or s["flags"] & LIVE == 0 or s["visitor"] == 0:
            taken[index] = e["visitor"]
            wanted[found] = i
            found += 1
    return found
