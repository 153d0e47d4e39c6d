"""The session state and the one fold that changes it.

A batch of sessions is one numpy array of `STATE` rows; `fold` applies a batch of `EVENT` rows to it in log order and
returns one observation per event, plus the observations that silence owes: when an event (or a timer's TICK) comes
after a session's idle deadline, a SILENCE row at the nominal deadline precedes it; when it comes 30 minutes after the
last event, an END row does. Silence and ends are judged by arrival, gaps and durations by when events happened (`clock`
says why). So a session's observations depend on its own log only; timers only decide how soon the
rows appear. The worker, the training set and the replay all call this fold.

Two things of a session that has ended are remembered for a day: ids of purchases, and a withdrawal of consent. Such a
state has no LIVE flag.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled, inlined
from featurestore.contract.event import CLEAR as CLEAR_EVENT
from featurestore.contract.event import EVENT, EVENT_TYPES, TICK
from featurestore.session.clock import arrival_of, happened, is_upload, start_clock
from featurestore.session.features import N_FEATURES, feature_row, idle_deadline
from featurestore.session.layout import MAX_TYPES, N_GAPS, STATE
from featurestore.session.observation import (
    BOT,
    CLEAR,
    CONTEXT,
    END,
    EVENT_ROW,
    OBSERVATION,
    SEQ_STEP,
    SILENCE,
    UPLOAD,
    Observations,
)
from featurestore.session.segments import NO_CENTRES, kind_code
from featurestore.session.state import (
    IS_BOT,
    LIVE,
    REMEMBER_MS,
    SILENT,
    UPLOADED,
    apply_event,
    begin,
    end_state,
    forget,
    recognise,
    remember,
    seen,
)
from featurestore.session.views import N_WIDE, wide_row
from featurestore.session.visitors import profile_at

N_TYPES: Final = len(EVENT_TYPES)
if N_TYPES > MAX_TYPES:
    raise ValueError(f"a stored session has room for {MAX_TYPES} event types: a new state version must make more")


@dataclass(frozen=True, slots=True)
class FoldConfig:
    """The constants of the fold; they travel in the bundle, since the model was trained under them.

    Attributes:
        idle_after_ms: shortest silence that can be a Drop-Off.
        idle_mean_ms: the mean of the last five gaps, the open one included, that silence must reach.
        session_gap_ms: silence that ends a session.
        gap_cap_ms: a single gap counts at most this.
        bot_clicks: a session with more interactions is a bot.
    """

    idle_after_ms: int = 30_000
    idle_mean_ms: int = 35_000
    session_gap_ms: int = 1_800_000
    gap_cap_ms: int = 600_000
    bot_clicks: int = 250

    def __post_init__(self) -> None:
        if not 0 < self.idle_after_ms <= self.gap_cap_ms:
            raise ValueError("idle_after_ms must lie between 1 and gap_cap_ms")
        if not 0 < self.idle_mean_ms * N_GAPS <= self.gap_cap_ms:
            raise ValueError("idle_mean_ms must lie between 1 and a fifth of gap_cap_ms, or silence could not reach it")
        if self.session_gap_ms <= self.gap_cap_ms:
            raise ValueError("session_gap_ms must exceed gap_cap_ms")


def empty_states(n: int) -> NDArray[np.void]:
    """``n`` rows of absent sessions (no LIVE flag)."""
    return np.zeros(n, STATE)


def fold(
    states: NDArray[np.void],
    profiles: NDArray[np.void],
    events: NDArray[np.void],
    config: FoldConfig,
    *,
    wide: bool = False,
    centres: NDArray[np.void] = NO_CENTRES,
) -> Observations:
    """Apply ``events`` (rows of `EVENT`, log order within a session) to ``states`` in place.

    Args:
        states: `STATE`, one row a session; a row without the LIVE flag is an absent session, or the memory of one.
        profiles: a table of `PROFILE`: of the visitors that events may name, as known before. A session that ends is
            entered in place; what was shown in it is left to the policy (`decisions.policy`).
        events: rows of `EVENT`; ``session_index`` indexes ``states``.
        config: constants of the fold.
        wide: also compute the wide view of each observation.
        centres: `segments.CENTRES`, what finished sessions are told by; they need the wide view.
    """
    n = events.size
    rows = np.empty(3 * n, OBSERVATION)
    features = np.empty((3 * n, N_FEATURES), np.float64)
    context = np.empty(3 * n, CONTEXT)
    ended = np.empty(n, STATE)
    views = np.empty((3 * n, N_WIDE if wide else 0), np.float64)
    m, n_ended, duplicates, late, withdrawn, foreign = _fold(
        states,
        profiles,
        events,
        rows,
        features,
        context,
        ended,
        views,
        empty_states(1),
        centres,
        config.idle_after_ms,
        config.idle_mean_ms,
        config.session_gap_ms,
        config.gap_cap_ms,
        config.bot_clicks,
    )
    counts = (duplicates, late, views[:m], withdrawn, foreign)
    return Observations(rows[:m], features[:m], context[:m], ended[:n_ended], *counts)


def ticks(indices: NDArray[np.int64] | list[int], t_ms: int) -> NDArray[np.void]:
    """Pseudo-events that let time pass up to ``t_ms`` for the sessions at ``indices``; what a timer feeds the fold."""
    rows = np.zeros(len(indices), EVENT)
    rows["session_index"] = indices
    rows["kind"] = TICK
    rows["t"] = t_ms
    return rows


def deadlines(states: NDArray[np.void], config: FoldConfig) -> NDArray[np.int64]:
    """Each session's next deadline, epoch ms: its silence, its end, when it is forgotten; 0 for absent sessions."""
    out = np.empty(states.size, np.int64)
    fill_deadlines(states, out, config.idle_after_ms, config.idle_mean_ms, config.session_gap_ms)
    return out


def observe(states: NDArray[np.void]) -> NDArray[np.float64]:
    """The features of each session as after its last event; shape (n, 9)."""
    out = np.zeros((states.size, N_FEATURES))
    _observe(states, out)
    return out


class _Sessions(NamedTuple):
    """What a fold changes: states, their visitors' profiles; one blank state, and what ended sessions are told by."""

    states: NDArray[np.void]
    profiles: NDArray[np.void]
    blank: NDArray[np.void]
    centres: NDArray[np.void]


class _Out(NamedTuple):
    """What a fold fills: see `Observations`."""

    rows: NDArray[np.void]
    features: NDArray[np.float64]
    context: NDArray[np.void]
    views: NDArray[np.float64]
    ended: NDArray[np.void]


class _Limits(NamedTuple):
    """`FoldConfig`, for compiled code."""

    idle_after_ms: int
    idle_mean_ms: int
    session_gap_ms: int
    gap_cap_ms: int
    bot_clicks: int


@compiled
def _fold(
    states: NDArray[np.void],
    profiles: NDArray[np.void],
    events: NDArray[np.void],
    rows: NDArray[np.void],
    features: NDArray[np.float64],
    context: NDArray[np.void],
    ended: NDArray[np.void],
    views: NDArray[np.float64],
    blank: NDArray[np.void],
    centres: NDArray[np.void],
    idle_after_ms: int,
    idle_mean_ms: int,
    session_gap_ms: int,
    gap_cap_ms: int,
    bot_clicks: int,
) -> tuple[int, int, int, int, int, int]:
    sessions = _Sessions(states, profiles, blank, centres)
    out = _Out(rows, features, context, views, ended)
    limits = _Limits(idle_after_ms, idle_mean_ms, session_gap_ms, gap_cap_ms, bot_clicks)
    m = n_ended = duplicates = late = withdrawn = foreign = 0
    for i in range(events.size):
        e = events[i]
        s = states[e["session_index"]]
        now = e["t"] if e["kind"] == TICK else arrival_of(e)
        m, n_ended = _pass_time(sessions, e["session_index"], i, now, out, m, n_ended, limits)
        if e["kind"] == TICK:
            continue
        if s["withdrawn"] != 0 and e["t"] <= s["withdrawn"]:
            withdrawn += 1
        elif e["kind"] == CLEAR_EVENT:
            m = _withdraw(sessions, e, i, now, out, m)
        elif seen(s, e):
            duplicates += 1
        else:
            m, n_ended, is_late, left_out = _take(sessions, e, i, now, out, m, n_ended, limits)
            late += is_late
            foreign += left_out
    return m, n_ended, duplicates, late, withdrawn, foreign


@inlined
def _pass_time(
    sessions: _Sessions, index: int, i: int, now: int, out: _Out, m: int, n_ended: int, limits: _Limits
) -> tuple[int, int]:
    """What silence owes up to ``now``; the numbers of observations and of ends after it."""
    s = sessions.states[index]
    if s["flags"] & LIVE:
        ends_at = s["arrival"] + limits.session_gap_ms
        if not s["flags"] & (SILENT | IS_BOT | UPLOADED):
            idle_at = idle_deadline(s, limits.idle_after_ms, limits.idle_mean_ms)
            if idle_at <= now and idle_at < ends_at:
                s["flags"] |= SILENT
                s["silences"] += 1
                _row(out.rows[m], i, index, SILENCE, idle_at, s["offset"] * SEQ_STEP + s["silences"])
                _observation(s, min(idle_at - s["int_arrival"], limits.gap_cap_ms), out, m)
                m += 1
        if ends_at <= now:
            _end(sessions, index, i, ends_at, out, m, n_ended)
            m += 1
            n_ended += 1
    if not s["flags"] & LIVE and s["arrival"] != 0 and s["arrival"] + REMEMBER_MS <= now:
        forget(sessions.states, index, sessions.blank)
    return m, n_ended


@inlined
def _withdraw(sessions: _Sessions, e: np.void, i: int, now: int, out: _Out, m: int) -> int:
    """Forget a session but for its withdrawal; the number of observations after it."""
    index = e["session_index"]
    s = sessions.states[index]
    _row(out.rows[m], i, index, CLEAR, now, e["offset"] * SEQ_STEP)
    out.features[m, :] = 0.0
    out.views[m, :] = 0.0
    _context(s, out.context[m])
    forget(sessions.states, index, sessions.blank)
    s["withdrawn"] = max(e["t"], 1)
    s["arrival"] = now
    s["t_min"] = now
    s["offset"] = e["offset"]
    return m + 1


@inlined
def _take(
    sessions: _Sessions, e: np.void, i: int, now: int, out: _Out, m: int, n_ended: int, limits: _Limits
) -> tuple[int, int, int, int]:
    """Count one event.

    Returns:
        The numbers of observations and of ends after it, whether it was late, whether its money was left out.
    """
    index = e["session_index"]
    s = sessions.states[index]
    t = now
    live, uploaded = s["flags"] & LIVE != 0, s["flags"] & UPLOADED != 0
    upload = is_upload(s, e, now, live, uploaded, limits.session_gap_ms)
    if s["flags"] & LIVE:
        t = happened(s, e, now)
        if t < s["t_min"] - limits.session_gap_ms:
            t = s["t_min"]  # of an earlier visit: it counts, but does not lengthen this one
        elif s["flags"] & UPLOADED and not upload and t >= s["t_max"] + limits.session_gap_ms:
            _end(sessions, index, i, now, out, m, n_ended)
            m += 1
            n_ended += 1
    begins = not s["flags"] & LIVE
    if begins:
        t = start_clock(s, e, now)
        begin(s, t, now)
        if upload:
            s["flags"] |= UPLOADED
    late = 1 if t < s["t_max"] else 0
    s["late"] = min(s["late"] + late, 255)
    foreign = apply_event(s, e, t, now, limits.gap_cap_ms)
    if not upload:
        s["flags"] &= 255 - UPLOADED
    recognised = e["visitor"] != 0 and s["visitor"] == 0
    if recognised:
        recognise(s, e["visitor"], sessions.profiles, index)
    if s["num_clicks"] > limits.bot_clicks:
        s["flags"] |= IS_BOT
    _row(out.rows[m], i, index, _kind(s, upload), now, e["offset"] * SEQ_STEP)
    out.rows[m]["late"] = late
    out.rows[m]["first"] = begins
    out.rows[m]["recognised"] = recognised
    open_gap = -1
    if s["flags"] & SILENT:  # a passive event ends no silence: the gap is still open
        silent_until = max(now, idle_deadline(s, limits.idle_after_ms, limits.idle_mean_ms))
        open_gap = min(silent_until - s["int_arrival"], limits.gap_cap_ms)
    _observation(s, open_gap, out, m)
    return m + 1, n_ended, late, foreign


@inlined
def _kind(s: np.void, upload: bool) -> int:
    if s["flags"] & IS_BOT:
        return BOT
    return UPLOAD if upload else EVENT_ROW


@inlined
def _end(sessions: _Sessions, index: int, i: int, t: int, out: _Out, m: int, n_ended: int) -> None:
    """End a session: its row, its last state, its visitor's profile; what may come again stays."""
    s = sessions.states[index]
    _row(out.rows[m], i, index, END, t, s["offset"] * SEQ_STEP + SEQ_STEP - 1)
    _observation(s, -1, out, m)
    out.ended[n_ended] = s
    at = profile_at(sessions.profiles, s["visitor"], index) if s["visitor"] != 0 else -1
    if at >= 0:
        segment = 0 if s["flags"] & IS_BOT else kind_code(out.views[m], sessions.centres[0])
        remember(sessions.profiles[at], s, 0, segment)
    end_state(sessions.states, index, sessions.blank)


@inlined
def _row(row: np.void, event: int, index: int, kind: int, t: int, seq: int) -> None:
    row["t"] = t
    row["seq"] = seq
    row["session_index"] = index
    row["event"] = event
    row["kind"] = kind
    row["late"] = 0
    row["first"] = 0
    row["recognised"] = 0


@inlined
def _observation(s: np.void, open_gap: int, out: _Out, m: int) -> None:
    """What a session looks like now; ``open_gap`` in ms counts as the latest gap, -1 for none."""
    feature_row(s, open_gap, out.features, m)
    if out.views.shape[1] > 0:
        wide_row(s, open_gap, out.views, m)
    _context(s, out.context[m])


@inlined
def _context(s: np.void, c: np.void) -> None:
    c["session"] = s["session"]
    c["visitor"] = s["visitor"]
    c["category"] = s["category"]
    c["cart_value"] = s["cart_value"]
    c["cart_items"] = s["cart_items"]
    c["visitor_sessions"] = s["visitor_sessions"]
    c["visitor_actions"] = s["visitor_actions"]
    c["country"] = s["country"]
    c["currency"] = s["currency"]
    c["device"] = s["device"]
    c["source"] = s["source"]
    c["purchases"] = s["purchases"]
    c["visitor_segment"] = s["visitor_segment"]


@compiled
def _observe(states: NDArray[np.void], out: NDArray[np.float64]) -> None:
    for i in range(states.size):
        feature_row(states[i], -1, out, i)


@compiled
def fill_deadlines(
    states: NDArray[np.void], out: NDArray[np.int64], idle_after_ms: int, idle_mean_ms: int, session_gap_ms: int
) -> None:
    """`deadlines`, for compiled code."""
    for i in range(states.size):
        s = states[i]
        if not s["flags"] & LIVE:
            out[i] = s["arrival"] + REMEMBER_MS if s["arrival"] != 0 else 0
            continue
        end = s["arrival"] + session_gap_ms
        out[i] = end
        if not s["flags"] & (SILENT | IS_BOT | UPLOADED):
            out[i] = min(end, idle_deadline(s, idle_after_ms, idle_mean_ms))
