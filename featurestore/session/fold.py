"""The session state and the one fold that changes it.

A batch of sessions is one numpy array of `STATE` rows; `fold` applies a batch of `EVENT` rows to it in log order and
returns one observation per event, plus the observations that silence owes: when an event (or a timer's TICK) comes
after a session's idle deadline, a SILENCE row at the nominal deadline precedes it; when it comes 30 minutes after the
last event, an END row does. What a session's observations are is thus a pure function of its own log: timers only
decide how soon the rows appear. The worker, the training set and the replay all call this fold.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled, inlined
from featurestore.contract.event import CLEAR as CLEAR_EVENT
from featurestore.contract.event import EVENT, EVENT_TYPES, PASSIVE, TICK, TYPE_CODE
from featurestore.session.features import N_FEATURES
from featurestore.session.layout import MAX_EVENT_IDS, MAX_PAGES, MAX_TYPES, N_GAPS, N_RECENT, STATE
from featurestore.session.views import N_WIDE, wide_row
from featurestore.session.visitors import bounce_rate, recent_actions, remember_session

N_TYPES: Final = len(EVENT_TYPES)
if N_TYPES > MAX_TYPES:
    raise ValueError(f"a stored session has room for {MAX_TYPES} event types: a new state version must make more")

# Observation kinds, persisted nowhere but in traces.
EVENT_ROW: Final = 0
SILENCE: Final = 1
END: Final = 2
CLEAR: Final = 3
BOT: Final = 4

# Flags of a state.
LIVE: Final = 1
SILENT: Final = 2  # the silence row of the current gap has been emitted
IS_BOT: Final = 4

OBSERVATION = np.dtype(
    [("t", "<i8"), ("seq", "<i8"), ("session_index", "<i4"), ("event", "<i4"), ("kind", "u1"), ("late", "u1")]
)
"""One row: a session as seen at time ``t`` after event ``event`` (or the silence before it)."""

CONTEXT = np.dtype(
    [
        ("session", "<u8"),
        ("visitor", "<u8"),
        ("category", "<u4"),
        ("cart_value", "<f4"),
        ("cart_items", "<u2"),
        ("visitor_sessions", "<u2"),
        ("visitor_actions", "<u2"),
        ("country", "<u2"),
        ("device", "u1"),
        ("source", "u1"),
        ("purchases", "u1"),
    ]
)
"""What the policy may ask beside the features, as it was at the observation (the state itself moves on in a batch)."""

SEQ_STEP: Final = 256
"""``seq`` = offset of the last applied event * 256 + silence rows since; the END row of a session has 255."""

_IS_PASSIVE = np.array([name in PASSIVE for name in EVENT_TYPES])
_ADD = TYPE_CODE["add_to_cart"]
_REMOVE = TYPE_CODE["remove_from_cart"]
_PURCHASE = TYPE_CODE["purchase"]
_CHECKOUT_STEP = np.zeros(N_TYPES, np.uint8)
for _step, _name in enumerate(("begin_checkout", "add_shipping_info", "add_payment_info", "purchase"), 1):
    _CHECKOUT_STEP[TYPE_CODE[_name]] = _step


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


class Observations(NamedTuple):
    """What a fold saw.

    Attributes:
        rows: `OBSERVATION`, in log order; shape (n,).
        features: float64 of shape (n, 9).
        context: `CONTEXT`, shape (n,).
        ended: `STATE` as it was at each END row, in the order of the END rows.
        duplicates: events skipped because the session had seen their id.
        late: events applied although a newer one came before.
        wide: float64 of shape (n, `views.N_WIDE`) if it was asked for, else (n, 0).
    """

    rows: NDArray[np.void]
    features: NDArray[np.float64]
    context: NDArray[np.void]
    ended: NDArray[np.void]
    duplicates: int
    late: int
    wide: NDArray[np.float64] = np.empty((0, 0))


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
) -> Observations:
    """Apply ``events`` (rows of `EVENT`, log order within a session) to ``states`` in place.

    Args:
        states: `STATE`, one row a session; a row without the LIVE flag is an absent session.
        profiles: `PROFILE` of the session's visitor, as known now; updated in place when a session ends in the batch.
        events: rows of `EVENT`; ``session_index`` indexes ``states``.
        config: constants of the fold.
        wide: also compute the wide view of each observation.
    """
    n = events.size
    rows = np.empty(3 * n, OBSERVATION)
    features = np.empty((3 * n, N_FEATURES), np.float64)
    context = np.empty(3 * n, CONTEXT)
    ended = np.empty(n, STATE)
    views = np.empty((3 * n, N_WIDE if wide else 0), np.float64)
    m, n_ended, duplicates, late = _fold(
        states,
        profiles,
        events,
        rows,
        features,
        context,
        ended,
        views,
        empty_states(1),
        config.idle_after_ms,
        config.idle_mean_ms,
        config.session_gap_ms,
        config.gap_cap_ms,
        config.bot_clicks,
    )
    return Observations(rows[:m], features[:m], context[:m], ended[:n_ended], duplicates, late, views[:m])


def ticks(indices: NDArray[np.int64] | list[int], t_ms: int) -> NDArray[np.void]:
    """Pseudo-events that let time pass for ``slots`` up to ``t_ms``; what a timer feeds the fold."""
    rows = np.zeros(len(indices), EVENT)
    rows["session_index"] = indices
    rows["kind"] = TICK
    rows["t"] = t_ms
    return rows


def deadlines(states: NDArray[np.void], config: FoldConfig) -> NDArray[np.int64]:
    """Each session's next deadline, epoch ms: its silence, then its end; 0 for absent sessions."""
    out = np.zeros(states.size, np.int64)
    _deadlines(states, out, config.idle_after_ms, config.idle_mean_ms, config.session_gap_ms)
    return out


def observe(states: NDArray[np.void]) -> NDArray[np.float64]:
    """The features of each session as after its last event; shape (n, 9)."""
    out = np.zeros((states.size, N_FEATURES))
    _observe(states, out)
    return out


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
    idle_after_ms: int,
    idle_mean_ms: int,
    session_gap_ms: int,
    gap_cap_ms: int,
    bot_clicks: int,
) -> tuple[int, int, int, int]:
    m = 0
    n_ended = 0
    duplicates = 0
    late = 0
    for i in range(events.size):
        e = events[i]
        index = e["session_index"]
        s = states[index]
        t = e["t"]
        if s["flags"] & LIVE:
            if not s["flags"] & (SILENT | IS_BOT):
                idle_at = _idle_deadline(s, idle_after_ms, idle_mean_ms)
                if idle_at <= t and idle_at < s["t_max"] + session_gap_ms:
                    s["flags"] |= SILENT
                    s["silences"] += 1
                    _row(rows, m, i, index, SILENCE, idle_at, s["offset"] * SEQ_STEP + s["silences"])
                    _features(s, min(idle_at - s["last_int"], gap_cap_ms), features, m)
                    if views.shape[1] > 0:
                        wide_row(s, min(idle_at - s["last_int"], gap_cap_ms), views, m)
                    _context(s, context[m])
                    m += 1
            if s["t_max"] + session_gap_ms <= t:
                _row(rows, m, i, index, END, s["t_max"] + session_gap_ms, s["offset"] * SEQ_STEP + SEQ_STEP - 1)
                _features(s, -1, features, m)
                if views.shape[1] > 0:
                    wide_row(s, -1, views, m)
                _context(s, context[m])
                m += 1
                ended[n_ended] = states[index]
                n_ended += 1
                if s["visitor"] != 0:
                    key = s["session"] ^ np.uint64(s["t_min"])
                    remember_session(profiles[index], key, s["t_max"], 0, s["pages"] <= 1)
                _erase(states, index, blank)
        if e["kind"] == TICK:
            continue
        if e["kind"] == CLEAR_EVENT:
            _row(rows, m, i, index, CLEAR, t, e["offset"] * SEQ_STEP)
            features[m, :] = 0.0
            views[m, :] = 0.0
            _context(s, context[m])
            m += 1
            _erase(states, index, blank)
            continue
        if e["event_id"] != 0 and s["flags"] & LIVE and _seen(s, e["event_id"]):
            duplicates += 1
            continue
        if not s["flags"] & LIVE:
            _begin(s, t)
        is_late = t < s["t_max"]
        if is_late:
            late += 1
            s["late"] = min(s["late"] + 1, 255)
        _apply(s, e, gap_cap_ms)
        if e["visitor"] != 0 and s["visitor"] == 0:
            _recognise(s, e["visitor"], profiles[index], t)
        if s["num_clicks"] > bot_clicks:
            s["flags"] |= IS_BOT
        _row(rows, m, i, index, BOT if s["flags"] & IS_BOT else EVENT_ROW, t, e["offset"] * SEQ_STEP)
        rows[m]["late"] = is_late
        _features(s, -1, features, m)
        if views.shape[1] > 0:
            wide_row(s, -1, views, m)
        _context(s, context[m])
        m += 1
    return m, n_ended, duplicates, late


@inlined
def _row(rows: NDArray[np.void], m: int, event: int, index: int, kind: int, t: int, seq: int) -> None:
    row = rows[m]
    row["t"] = t
    row["seq"] = seq
    row["session_index"] = index
    row["event"] = event
    row["kind"] = kind
    row["late"] = 0


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
    c["device"] = s["device"]
    c["source"] = s["source"]
    c["purchases"] = s["purchases"]


@inlined
def _erase(states: NDArray[np.void], index: int, blank: NDArray[np.void]) -> None:
    session = states[index]["session"]
    states[index] = blank[0]
    states[index]["session"] = session


@inlined
def _begin(s: np.void, t: int) -> None:
    s["flags"] = LIVE
    s["t_min"] = t
    s["t_max"] = t
    s["last_int"] = t
    s["bounce"] = np.nan
    hours = t // 3_600_000
    s["first_hour"] = hours % 24
    s["first_weekday"] = (hours // 24 + 3) % 7


@inlined
def _recognise(s: np.void, visitor: int, profile: np.void, t: int) -> None:
    s["visitor"] = visitor
    s["visitor_sessions"] = profile["sessions"]
    s["visitor_actions"] = recent_actions(profile, t)
    s["bounce"] = bounce_rate(profile)


@inlined
def _seen(s: np.void, event_id: int) -> bool:
    found = False
    for j in range(s["ids"]):
        found |= s["id_hashes"][j] == event_id
    return found


@inlined
def _apply(s: np.void, e: np.void, gap_cap_ms: int) -> None:
    t = e["t"]
    kind = e["kind"]
    s["offset"] = e["offset"]
    s["silences"] = 0
    s["t_min"] = min(s["t_min"], t)
    s["t_max"] = max(s["t_max"], t)
    s["counts"][kind] = min(s["counts"][kind] + 1, 255)
    if not _IS_PASSIVE[kind]:
        gap = min(max(t - s["last_int"], 0), gap_cap_ms)
        if s["num_clicks"] > 0:
            s["gap_sum"] = min(s["gap_sum"] + gap, 4_294_967_295)
            s["gaps"][s["gap_n"] % N_GAPS] = gap
            # At its largest it steps back by a whole turn of the ring.
            s["gap_n"] = s["gap_n"] + 1 if s["gap_n"] < 65_534 else 65_530
        s["num_clicks"] = min(s["num_clicks"] + 1, 65_535)
        s["last_int"] = max(s["last_int"], t)
        s["flags"] &= 255 - SILENT
        at = s["recent_at"]
        s["recent"][at] = kind + 1
        s["dwell"][at] = gap // 100
        s["recent_at"] = (at + 1) % N_RECENT
    if e["page"] != 0:
        known = False
        pages = s["page_hashes"]
        for j in range(s["pages"]):
            if pages[j] == e["page"]:
                known = True
                break
        if not known and s["pages"] < MAX_PAGES:
            pages[s["pages"]] = e["page"]
            s["pages"] += 1
    price = e["price"]
    quantity = e["quantity"]
    if not np.isnan(price):
        s["price_min"] = min(s["price_min"], price) if s["price_n"] > 0 else price
        s["price_max"] = max(s["price_max"], price)
        s["price_sum"] += price
        s["price_squares"] += price * price
        s["price_n"] = min(s["price_n"] + 1, 65_535)
    if kind == _ADD:
        s["cart_additions"] = min(s["cart_additions"] + quantity, 65_535)
        s["cart_items"] = min(s["cart_items"] + quantity, 65_535)
        if not np.isnan(price):
            s["cart_value"] += price * quantity
    elif kind == _REMOVE:
        s["cart_items"] = s["cart_items"] - min(s["cart_items"], quantity)
        if s["cart_items"] == 0:
            s["cart_value"] = 0.0
        elif not np.isnan(price):
            s["cart_value"] = max(s["cart_value"] - price * quantity, 0.0)
    elif kind == _PURCHASE:
        s["purchases"] = min(s["purchases"] + 1, 255)
        s["purchase_value"] += e["value"] if not np.isnan(e["value"]) else s["cart_value"]
        s["cart_items"] = 0
        s["cart_value"] = 0.0
    s["checkout"] = max(s["checkout"], e["checkout"], _CHECKOUT_STEP[kind])
    s["scroll"] = max(s["scroll"], e["scroll"])
    if s["device"] == 0:
        s["device"] = e["device"]
    if s["source"] == 0:
        s["source"] = e["source"]
    if s["country"] == 0:
        s["country"] = e["country"]
    if e["category"] != 0:
        s["category"] = e["category"]
    if e["event_id"] != 0:
        s["id_hashes"][s["id_at"]] = e["event_id"]
        s["id_at"] = (s["id_at"] + 1) % MAX_EVENT_IDS
        s["ids"] = min(s["ids"] + 1, MAX_EVENT_IDS)


@inlined
def _recent_gaps(s: np.void, n: int) -> int:
    """Sum of the last ``n`` gaps, ms."""
    total = 0
    for j in range(n):
        total += s["gaps"][(s["gap_n"] - 1 - j) % N_GAPS]
    return total


@inlined
def _idle_deadline(s: np.void, idle_after_ms: int, idle_mean_ms: int) -> int:
    """When the mean of the last five gaps, the open one too, reaches ``idle_mean_ms``; not before ``idle_after_ms``."""
    k = min(s["gap_n"] + 1, N_GAPS)
    return int(s["last_int"] + max(idle_after_ms, k * idle_mean_ms - _recent_gaps(s, k - 1)))


@inlined
def _features(s: np.void, open_gap: int, features: NDArray[np.float64], m: int) -> None:
    """One row of `features.FEATURES`; ``open_gap`` in ms counts as the latest gap, -1 for none."""
    duration = (s["t_max"] - s["t_min"]) / 1000.0
    clicks = s["num_clicks"]
    row = features[m]
    row[0] = duration
    row[1] = clicks
    row[2] = s["pages"]
    row[3] = s["cart_additions"]
    row[4] = s["gap_sum"] / 1000.0 / s["gap_n"] if s["gap_n"] > 0 else 0.0
    row[5] = s["bounce"]
    row[6] = clicks / max(duration, 1.0)
    row[7] = s["cart_additions"] / max(s["pages"], 1)
    if open_gap >= 0:
        k = min(s["gap_n"] + 1, N_GAPS)
        row[8] = (_recent_gaps(s, k - 1) + open_gap) / 1000.0 / k
    else:
        k = min(s["gap_n"], N_GAPS)
        row[8] = _recent_gaps(s, k) / 1000.0 / k if k > 0 else 0.0


@compiled
def _observe(states: NDArray[np.void], out: NDArray[np.float64]) -> None:
    for i in range(states.size):
        _features(states[i], -1, out, i)


@compiled
def _deadlines(
    states: NDArray[np.void], out: NDArray[np.int64], idle_after_ms: int, idle_mean_ms: int, session_gap_ms: int
) -> None:
    for i in range(states.size):
        s = states[i]
        if not s["flags"] & LIVE:
            continue
        end = s["t_max"] + session_gap_ms
        out[i] = end
        if not s["flags"] & (SILENT | IS_BOT):
            out[i] = min(end, _idle_deadline(s, idle_after_ms, idle_mean_ms))
