"""One pass over a log in memory, as a worker would judge it: what the heads say after every event.

The pass holds what a worker's store would hold: the sessions that are open and the profiles of visitors. A session
leaves when it is over and forgotten, so memory follows the open sessions and not the length of the log.
"""

from itertools import repeat
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from decisions.core import Judge, Judgement
from decisions.intake import Plan, Records, arrivals, decode, plan
from decisions.open_visits import Clicks, OpenVisits
from decisions.outcome import visitors_wanted
from decisions.visitor_profiles import VisitorProfiles
from featurestore.session.fold import deadlines, empty_states, ticks
from featurestore.session.layout import MEMORY
from featurestore.session.observation import END, EVENT_ROW
from featurestore.session.state import IS_BOT, LIVE
from featurestore.session.visitors import NOBODY

_BEFORE_ALL_OFFSETS: Final = -(1 << 62)


class Scored(NamedTuple):
    """What was said after the events of a batch, in log order; events that a worker does not score are left out.

    Attributes:
        offsets: (n,) of the records.
        sessions: (n,) ids.
        t: (n,) epoch ms of the event.
        probabilities: (n, 4) of the stages.
        outputs: (n, k) of the other heads, NaN where a head has none.
        read: events in the batch, scored or not.
        bad: (offset, why) of the records that are no events.
    """

    offsets: NDArray[np.int64]
    sessions: list[str]
    t: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    outputs: NDArray[np.float64]
    read: int
    bad: list[tuple[int, str]]


class LogPass:
    """Scores a log batch by batch; not for more than one thread.

    Args:
        judge: folds, scores and decides.
        capacity: sessions to begin with; it grows.
    """

    def __init__(self, judge: Judge, capacity: int = 4_096) -> None:
        self._judge = judge
        self._states = empty_states(capacity)
        self._memories = np.zeros(capacity, MEMORY)
        self._place: dict[str, int] = {}
        self._names = [""] * capacity
        self._free = list(range(capacity))[::-1]
        self._profiles = VisitorProfiles()
        self._visits = OpenVisits(judge.config.session_gap_ms)
        self._passed = -1
        """Silences and ends have come up to here, epoch ms."""

    @property
    def open_sessions(self) -> int:
        """Sessions that are held now."""
        return len(self._place)

    def score(self, records: Records) -> Scored:
        """Judge the next records of the log. Silence is judged by the time of the records, as a worker does."""
        decoded = decode([records])
        bad = [(records.offsets[i], str(why)) for i, why in decoded.bad.get(records.partition, [])]
        if not decoded.rows.size:
            return _nothing(self._judge, bad)
        batch = plan(decoded, 1, lambda _: _BEFORE_ALL_OFFSETS)
        names = batch.sessions.strings()
        at, events = self._with_ends(self._slots(names), batch)
        judgement = self._judged(at, events)
        rows = judgement.observations.rows
        told = np.flatnonzero(judgement.scored & (rows["kind"] == EVENT_ROW))
        return Scored(
            events["offset"][rows["event"][told]].astype(np.int64),
            [names[i] for i in rows["session_index"][told].tolist()],
            rows["t"][told].astype(np.int64),
            judgement.probabilities[told],
            judgement.outputs[told],
            batch.events.size,
            bad,
        )

    def judge(self, batch: Plan) -> tuple[Judgement, list[str]]:
        """Judge a batch of the log, which has at least one event; the judgement, and the ids of its sessions.

        A visitor who comes back does not know visits whose ends nothing noticed: neither time nor their own sessions.
        """
        names = batch.sessions.strings()
        at = self._slots(names)
        self._states["session"][at] = batch.hashes
        return self._judged(at, batch.events), names

    def let_time_pass(self, t_ms: int) -> None:
        """Let silences and ends come that are due by ``t_ms``, epoch ms, and forget what is over."""
        due = deadlines(self._states, self._judge.config)
        at = np.flatnonzero((due > 0) & (due <= t_ms))
        at = at[np.argsort(self._states["arrival"][at], kind="stable")]  # in the order of their ends
        self._pass(at, t_ms)
        self._passed = max(self._passed, t_ms)
        empty = np.flatnonzero((self._states["flags"] & LIVE == 0) & (self._states["arrival"] == 0))
        over = [i for i in empty.tolist() if self._names[i]]
        self._states[over] = empty_states(1)
        self._memories[over] = np.zeros(1, MEMORY)
        for i in over:
            del self._place[self._names[i]]
            self._names[i] = ""
        self._free += over

    def _with_ends(self, at: NDArray[np.int64], batch: Plan) -> tuple[NDArray[np.int64], NDArray[np.void]]:
        """The events of a batch, and before a visitor's next visit ticks by which those that are over end, as live.

        Returns where the sessions stand, those that end behind those of the batch, and the events.
        """
        events = batch.events
        index = events["session_index"]
        self._states["session"][at] = batch.hashes
        clicks = Clicks(np.ascontiguousarray(events["visitor"]), batch.hashes[index], arrivals(events), at[index])
        ends = self._visits.ends(clicks, self._passed)
        ends = ends[self._states["session"][ends["place"]] == ends["session"]]  # the others were forgotten meanwhile
        if not ends.size:
            return at, events
        ends = ends[np.lexsort((ends["at_ms"], ends["event"]))]
        row = np.full(self._states.size, -1)
        row[at] = np.arange(at.size)
        others = np.unique(ends["place"][row[ends["place"]] < 0])
        row[others] = at.size + np.arange(others.size)
        passing = ticks(row[ends["place"]], 0)
        passing["t"] = ends["at_ms"]
        return np.concatenate([at, others]), np.insert(events, ends["event"], passing)

    def _judged(self, at: NDArray[np.int64], events: NDArray[np.void]) -> Judgement:
        """Judge events, whose sessions stand at ``at``."""
        states, memories = self._states[at], self._memories[at]
        wanted = visitors_wanted(events, states, self._judge.config.session_gap_ms)
        known = self._profiles.table(np.unique(events["visitor"][wanted]))
        judgement = self._judge.judge(states, memories, known, events, 0)
        self._keep(at, judgement)
        return judgement

    def _pass(self, at: NDArray[np.int64], t_ms: int) -> None:
        """Let time pass for sessions up to ``t_ms``; those that are over end in this order."""
        if not at.size:
            return
        passing = ticks(np.arange(at.size), t_ms)
        self._keep(at, self._judge.judge(self._states[at], self._memories[at], NOBODY, passing, 0))

    def _keep(self, at: NDArray[np.int64], judgement: Judgement) -> None:
        """Write sessions back, and count those that ended in their visitors' profiles."""
        self._states[at] = judgement.states
        self._memories[at] = judgement.memories
        ended, memories = judgement.ended
        if not ended.size:
            return
        ends = np.flatnonzero(judgement.observations.rows["kind"] == END)
        kinds = np.where(ended["flags"] & IS_BOT, 0, self._judge.kinds_of(judgement.observations, ends))
        self._profiles.remember(ended, np.ascontiguousarray(memories["persuasive"]), kinds.astype(np.uint8))

    def _slots(self, names: list[str]) -> NDArray[np.int64]:
        """Where the sessions stand; new ones get an empty place."""
        at = np.fromiter(map(self._place.get, names, repeat(-1)), np.int64, len(names))
        new = np.flatnonzero(at < 0)
        while len(self._free) < new.size:
            self._grow()
        for i in new.tolist():
            place = at[i] = self._free.pop()
            self._place[names[i]] = place
            self._names[place] = names[i]
        return at

    def _grow(self) -> None:
        before = self._states.size
        self._states = np.concatenate([self._states, empty_states(before)])
        self._memories = np.concatenate([self._memories, np.zeros(before, MEMORY)])
        self._names += [""] * before
        self._free += range(before, 2 * before)[::-1]


def _nothing(judge: Judge, bad: list[tuple[int, str]]) -> Scored:
    none = np.zeros(0, np.int64)
    outputs = 0 if judge.others is None else judge.others.n_others
    return Scored(none, [], none, np.zeros((0, 4)), np.zeros((0, outputs)), 0, bad)
