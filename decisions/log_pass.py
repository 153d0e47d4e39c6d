"""One pass over a log in memory, as a worker would judge it: what the heads say after every event.

The pass holds what a worker's store would hold: the sessions that are open and the profiles of visitors. A session
leaves when it is over and forgotten, so memory follows the open sessions and not the length of the log.
"""

from collections.abc import Iterator
from itertools import repeat
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from decisions.core import Judge, Judgement
from decisions.intake import Decoded, Plan, Records, arrivals, decode, plan
from decisions.outcome import visitors_wanted
from featurestore.columns.jit import compiled
from featurestore.session.fold import deadlines, empty_states, ticks
from featurestore.session.layout import MEMORY
from featurestore.session.observation import END, EVENT_ROW
from featurestore.session.state import IS_BOT, LIVE, bounced
from featurestore.session.visitors import NOBODY, PROFILE, remember_session

SURE: Final = 256
"""Time is taken to have come as far as the earliest of so many events that follow: some clocks are wrong."""


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
        self._names: list[str] = [""] * capacity
        self._free = list(range(capacity))[::-1]
        self._profiles: dict[int, NDArray[np.void]] = {}
        self._visits: dict[int, dict[str, int]] = {}
        """Of visitors: their sessions, and when the newest event of each arrived."""
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
        parts = [self._score(part) for part in self._cut(decoded)]
        if not parts:
            return _nothing(self._judge, bad)
        return Scored(
            np.concatenate([part.offsets for part in parts]),
            [name for part in parts for name in part.sessions],
            np.concatenate([part.t for part in parts]),
            np.concatenate([part.probabilities for part in parts]),
            np.concatenate([part.outputs for part in parts]),
            sum(part.read for part in parts),
            bad,
        )

    def _cut(self, decoded: Decoded) -> Iterator[Decoded]:
        """The batch in pieces: before a visitor's next visit, those that are over end, as they have live.

        Their ends are in the profile then, with whether they were bounces.
        """
        gap_ms = self._judge.config.session_gap_ms
        rows, names = decoded.rows, decoded.sessions.strings()
        visitors = rows["visitor"].tolist()
        times = arrivals(rows)
        arrived = times.tolist()
        first = 0
        for i in np.flatnonzero(rows["visitor"]).tolist():
            name, at = names[i], arrived[i]
            known = self._visits.setdefault(visitors[i], {})
            if len(known) > (name in known) and any(
                other != name and self._passed < newest + gap_ms <= at for other, newest in known.items()
            ):
                yield from _piece(decoded, first, i)
                first = i
                # All that are over by now: a piece for each visitor that comes back would be a piece of few events.
                self._pass_to(int(times[i : i + SURE].min()))
                over = [other for other, newest in known.items() if other != name and newest + gap_ms <= at]
                for other in sorted(over, key=known.__getitem__):
                    self._end(other, at)
                    del known[other]
            known[name] = max(at, known.get(name, at))
        yield from _piece(decoded, first, rows.size)

    def _score(self, decoded: Decoded) -> Scored:
        batch = plan(decoded, 1, lambda _: -(1 << 62))
        judgement, names = self.judge(batch)
        rows = judgement.observations.rows
        told = np.flatnonzero(judgement.scored & (rows["kind"] == EVENT_ROW))
        return Scored(
            batch.events["offset"][rows["event"][told]].astype(np.int64),
            [names[i] for i in rows["session_index"][told].tolist()],
            rows["t"][told].astype(np.int64),
            judgement.probabilities[told],
            judgement.outputs[told],
            batch.events.size,
            [],
        )

    def _end(self, name: str, t_ms: int) -> None:
        """Let time pass for one session, which may be over already."""
        if (place := self._place.get(name)) is not None:
            self._pass(np.array([place]), t_ms)

    def let_time_pass(self, t_ms: int) -> None:
        """Let silences and ends come that are due by ``t_ms``, epoch ms, and forget what is over."""
        self._pass_to(t_ms)
        for visitor, known in list(self._visits.items()):
            for name in [name for name in known if name not in self._place]:
                del known[name]
            if not known:
                del self._visits[visitor]

    def _pass_to(self, t_ms: int) -> None:
        due = deadlines(self._states, self._judge.config)
        at = np.flatnonzero((due > 0) & (due <= t_ms))
        if at.size:
            self._pass(at, t_ms)
        self._passed = max(self._passed, t_ms)

    def _pass(self, at: NDArray[np.int64], t_ms: int) -> None:
        states, memories = self._states[at], self._memories[at]
        passing = ticks(np.arange(at.size), t_ms)
        self._keep(at, self._judge.judge(states, memories, NOBODY, passing, t_ms), passing)
        over = at[(states["flags"] & LIVE == 0) & (states["arrival"] == 0)]
        self._states[over] = empty_states(1)
        self._memories[over] = np.zeros(1, MEMORY)
        for i in over.tolist():
            del self._place[self._names[i]]
        self._free += over.tolist()

    def judge(self, batch: Plan) -> tuple[Judgement, list[str]]:
        """Judge a batch of the log, which has at least one event; the judgement, and the ids of its sessions."""
        names = list(batch.sessions)
        at = self._slots(names)
        states, memories = self._states[at], self._memories[at]
        states["session"] = batch.hashes
        wanted = visitors_wanted(batch.events, states, self._judge.config.session_gap_ms)
        judgement = self._judge.judge(states, memories, self._known(batch.events["visitor"][wanted]), batch.events, 0)
        self._keep(at, judgement, batch.events)
        return judgement, names

    def _known(self, visitors: NDArray[np.uint64]) -> NDArray[np.void]:
        """The profiles of some visitors as a table, for all sessions of the batch."""
        names = np.unique(visitors)
        table = np.zeros(names.size, PROFILE)
        for i, name in enumerate(names.tolist()):
            if (known := self._profiles.get(name)) is not None:
                table[i] = known[0]
        table["visitor"], table["end"] = names, np.iinfo(np.int32).max
        return table

    def _keep(self, at: NDArray[np.int64], judgement: Judgement, events: NDArray[np.void]) -> None:
        """Write sessions back, and count those that ended in their visitors' profiles."""
        self._states[at] = judgement.states
        self._memories[at] = judgement.memories
        ended, memories = judgement.ended
        if not ended.size:
            return
        ends = np.flatnonzero(judgement.observations.rows["kind"] == END)
        kinds = np.where(ended["flags"] & IS_BOT, 0, self._judge.kinds_of(judgement.observations, ends))
        for i in judgement.in_order(events).tolist():
            if not ended["visitor"][i]:
                continue
            profile = self._profiles.setdefault(int(ended["visitor"][i]), np.zeros(1, PROFILE))
            _remember(profile, ended[i : i + 1], memories["persuasive"][i], kinds[i])

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


def _piece(decoded: Decoded, first: int, end: int) -> Iterator[Decoded]:
    """Some of the events of one partition, if there are any; mostly all of them, and then nothing is copied."""
    if first == 0 and end == decoded.rows.size:
        if end:
            yield decoded
    elif first < end:
        mask = np.zeros(decoded.rows.size, np.bool_)
        mask[first:end] = True
        yield decoded.kept(mask)


@compiled
def _remember(profile: NDArray[np.void], ended: NDArray[np.void], shown: int, segment: int) -> None:
    state = ended[0]
    key = state["session"] ^ np.uint64(state["t_min"])
    remember_session(profile[0], key, state["t_max"], shown, bounced(state), segment)
