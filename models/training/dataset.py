"""Training rows: simulated (or recorded) events run through the very fold that the worker uses.

A row is one observation that a live worker would score: a session after one of its events, or in silence at its idle
deadline. Its label is what the rules say of that row. Finished sessions, one row each as in the published study, come
from the same run.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.hashing import hash64
from featurestore.contract.decode import decode_unchecked
from featurestore.contract.event import columns
from featurestore.session.features import N_FEATURES
from featurestore.session.fold import deadlines, empty_states, fold, ticks
from featurestore.session.observation import END, EVENT_ROW, OBSERVATION, SILENCE
from featurestore.session.views import N_WIDE
from featurestore.session.visitors import PROFILE
from models.rules import StageRules
from models.simulator.simulator import SimEvent

_AFTER_MS: Final = 2 * 3_600_000


class Rows(NamedTuple):
    """Observations in the order in which they were made.

    Attributes:
        X: (n, 9) features, NaN where missing.
        stages: (n,) stage code by the rules.
        session: (n,) index of the session, in order of first event.
        t: (n,) epoch ms of the observation.
        kind: (n,) EVENT_ROW or SILENCE; END for finished sessions.
    """

    X: NDArray[np.float64]
    stages: NDArray[np.uint8]
    session: NDArray[np.int64]
    t: NDArray[np.int64]
    kind: NDArray[np.uint8]

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Rows":
        return Rows(self.X[chosen], self.stages[chosen], self.session[chosen], self.t[chosen], self.kind[chosen])

    def position(self) -> NDArray[np.int64]:
        """1 for the first row of each session, 2 for the second, ...; rows of a session must be in order."""
        order = np.argsort(self.session, kind="stable")
        sizes = np.unique(self.session, return_counts=True)[1]
        at = np.empty(self.session.size, np.int64)
        at[order] = np.arange(self.session.size) - np.repeat(np.cumsum(sizes) - sizes, sizes) + 1
        return at


class Recording(NamedTuple):
    """What a run of events gives.

    Attributes:
        live: the rows a worker would have scored.
        finished: one row a finished session, as after its last event.
        started: (sessions,) epoch ms of the first event of each session.
        names: (sessions,) the session ids.
    """

    live: Rows
    finished: Rows
    started: NDArray[np.int64]
    names: list[str]


class Observed(NamedTuple):
    """Every observation of a log: what the fold returned, in the order in which it was made.

    Attributes:
        rows: (n,) `OBSERVATION`; ``session_index`` is the index of the session id.
        features: (n, 9), NaN where missing.
        wide: (n, `N_WIDE`), or (n, 0) if it was not asked for.
        event: (n,) index in the log of the event that was applied; of the next one for SILENCE and END rows, -1 if a
            timer made them.
        types: (events,) type code of each event of the log.
        started: (sessions,) epoch ms of the first event of each session id.
        names: (sessions,) the session ids.
        last_ms: epoch ms of the log's last event: what ends later was cut off by the end of the log.
    """

    rows: NDArray[np.void]
    features: NDArray[np.float64]
    wide: NDArray[np.float64]
    event: NDArray[np.int64]
    types: NDArray[np.uint8]
    started: NDArray[np.int64]
    names: list[str]
    last_ms: int


def record(chunks: Iterable[Sequence[SimEvent]], rules: StageRules, batch: int = 4_096) -> Recording:
    """Run events in log order through the fold, with timers and visitor profiles as a worker would, to the end.

    Timers and profiles are looked at every ``batch`` events; as in a worker, only bounce_rate and
    the rows around late events depend on it.

    Raises:
        msgspec.DecodeError, msgspec.ValidationError: a value is no event of the contract.
    """
    return recording_of(observe_log(chunks, rules, batch), rules)


def recording_of(seen: Observed, rules: StageRules) -> Recording:
    """The scored rows and the finished sessions among the observations of a log."""
    index, t, kind = seen.rows["session_index"].astype(np.int64), seen.rows["t"], seen.rows["kind"]
    every = Rows(seen.features, rules.label(seen.features), index, t, kind)
    scored = (kind == EVENT_ROW) | (kind == SILENCE)
    return Recording(every.take(scored), every.take(kind == END), seen.started, seen.names)


def observe_log(
    chunks: Iterable[Sequence[SimEvent]], rules: StageRules, batch: int = 4_096, *, wide: bool = False
) -> Observed:
    """Every observation of a log; see `record`.

    Raises:
        msgspec.DecodeError, msgspec.ValidationError: a value is no event of the contract.
    """
    records = [event for chunk in chunks for event in chunk]
    events = [decode_unchecked(value) for _, value, _ in records]
    indices: dict[str, int] = {}
    index = [indices.setdefault(event.session_id, len(indices)) for event in events]
    names = list(indices)
    rows = columns(events, index, range(len(events)), [t for _, _, t in records])
    started = np.full(len(names), np.iinfo(np.int64).max)
    np.minimum.at(started, rows["session_index"], rows["arrival"])
    run = _Run(names, rows["visitor"], rules, wide)
    for start in range(0, rows.size, batch):
        run.apply(rows[start : start + batch], start)
    last_ms = int(rows["arrival"].max()) if rows.size else 0
    if rows.size:
        run.let_time_pass(last_ms + _AFTER_MS)
    return Observed(*run.observed(), rows["kind"].astype(np.uint8), started, names, last_ms)


class _Part(NamedTuple):
    """What one call of the fold returned."""

    rows: NDArray[np.void]
    features: NDArray[np.float64]
    wide: NDArray[np.float64]
    event: NDArray[np.int64]


class _Run:
    """One pass over a log: states of all sessions, profiles of all visitors."""

    def __init__(self, names: list[str], visitors: NDArray[np.uint64], rules: StageRules, wide: bool) -> None:
        self._config = rules.fold_config()
        self._wide = wide
        self._states = empty_states(len(names))
        self._states["session"] = hash64(names)
        named = np.unique(visitors)
        self._profiles = np.zeros(named.size, PROFILE)
        self._profiles["visitor"], self._profiles["end"] = named, len(names)
        nothing = np.empty((0, N_WIDE if wide else 0))
        self._parts = [_Part(np.zeros(0, OBSERVATION), np.empty((0, N_FEATURES)), nothing, np.empty(0, np.int64))]

    def apply(self, events: NDArray[np.void], first: int) -> None:
        """Fold ``events``, of which the first is the log's event number ``first``."""
        self.let_time_pass(int(events["arrival"].min()))
        self._fold(events, first)
        self.let_time_pass(int(events["arrival"].max()))

    def let_time_pass(self, t: int) -> None:
        due = deadlines(self._states, self._config)
        indices = np.flatnonzero((due > 0) & (due <= t))
        if indices.size:
            self._fold(ticks(indices, t), None)

    def _fold(self, events: NDArray[np.void], first: int | None) -> None:
        seen = fold(self._states, self._profiles, events, self._config, wide=self._wide)
        event = seen.rows["event"].astype(np.int64) + first if first is not None else np.full(seen.rows.size, -1)
        self._parts.append(_Part(seen.rows.copy(), seen.features.copy(), seen.wide.copy(), event))

    def observed(self) -> _Part:
        """All observations so far."""
        return _Part(*(np.concatenate(parts) for parts in zip(*self._parts, strict=True)))


class Split(NamedTuple):
    """Two sets of rows without a common session, the second later than the first."""

    train: Rows
    test: Rows


def split_by_time(rows: Rows, started: NDArray[np.int64], share: float) -> Split:
    """Sessions that were over before the moment by which ``share`` of all had begun, and those that began after it.

    Sessions that were going on at that moment belong to neither.
    """
    if started.size == 0:
        return Split(rows, rows)
    border = np.sort(started)[min(started.size - 1, int(share * started.size))]
    last = np.zeros(started.size, np.int64)
    np.maximum.at(last, rows.session, rows.t)
    return Split(rows.take(last[rows.session] < border), rows.take(started[rows.session] >= border))
