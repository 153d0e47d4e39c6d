"""Visitors' open visits in a log of the past: which must have ended before their visitor's next visit is judged.

Live, a visit has ended long before its visitor comes back, and its end stands in the visitor's profile. A log is read
faster than time passes in it. So whoever reads one asks, of each event of a visitor: which of the visitor's visits are
over by now, and have not been ended? `worker.pipeline.past` cuts its batch there, since all partitions have to come so
far; `decisions.log_pass` lets time pass for these visits alone.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.hash_index import FREE, empty_index, fill, first_place, free_place, next_place, place_of
from featurestore.columns.jit import compiled, inlined

_FEW: Final = 1 << 11
"""Room for visits at first."""
_NO_EVENT: Final = -1
_VISIT: Final = np.dtype([("visitor", "<u8"), ("session", "<u8"), ("newest_ms", "<i8"), ("place", "<i8")])
"""Hashes of the visitor (0: the visit was ended) and the session, its newest arrival, and the place that was given."""

END_OF_VISIT: Final = np.dtype([("place", "<i8"), ("session", "<u8"), ("at_ms", "<i8"), ("event", "<i8")])
"""An end at ``at_ms`` of the session at ``place``, which comes before an event (its number)."""


class Clicks(NamedTuple):
    """Events, in log order.

    Attributes:
        visitors: (n,) hashes; 0 where an event names none.
        sessions: (n,) hashes.
        arrivals: (n,) epoch ms.
        places: (n,) what is noted of each event's session: its partition, or where its state stands.
    """

    visitors: NDArray[np.uint64]
    sessions: NDArray[np.uint64]
    arrivals: NDArray[np.int64]
    places: NDArray[np.int64]


class _Table(NamedTuple):
    visits: NDArray[np.void]
    by_visitor: NDArray[np.int32]
    by_session: NDArray[np.int32]


class OpenVisits:
    """The visits that are open; a visitor may have several. An event without a visitor belongs to its session's.

    Args:
        gap_ms: a session without a record for so long has ended.
    """

    def __init__(self, gap_ms: int) -> None:
        self._gap_ms = gap_ms
        self._table = _Table(np.zeros(_FEW, _VISIT), empty_index(_FEW), empty_index(_FEW))
        self._held = 0

    def first_return(
        self, clicks: Clicks, order: NDArray[np.int64], passed: NDArray[np.int64], done_ms: int
    ) -> int | None:
        """The first event, in ``order``, that has to wait for an end; None for none. Those before it are noted.

        Args:
            clicks: events; the place of a session is its partition.
            order: numbers of events.
            passed: of each partition: what ended before was ended, epoch ms.
            done_ms: what ended by then counts as ended everywhere.
        """
        if not self._make_room(clicks, passed, done_ms):
            return None
        event, self._held = _first_return(clicks, order, self._table, self._held, passed, done_ms, self._gap_ms)
        return None if event == _NO_EVENT else int(event)

    def ends(self, clicks: Clicks, passed_ms: int) -> NDArray[np.void]:
        """The visits that have to end before some event of their visitor, or of their session, `END_OF_VISIT`.

        Args:
            clicks: events; the place of a session is where its state stands.
            passed_ms: what ended by then was ended.
        """
        if not self._make_room(clicks, np.zeros(0, np.int64), passed_ms):
            return np.zeros(0, END_OF_VISIT)
        ends = np.zeros(self._held + clicks.visitors.size, END_OF_VISIT)
        count, self._held = _ends(clicks, self._table, self._held, passed_ms, self._gap_ms, ends)
        return ends[:count]

    def _make_room(self, clicks: Clicks, passed: NDArray[np.int64], done_ms: int) -> bool:
        """Room for a visit a click, those that were ended go first; False where there is nothing to note or to ask."""
        if not self._held and not clicks.visitors.any():
            return False
        more = clicks.visitors.size
        if self._held + more > self._table.visits.size:
            known = self._table.visits[: self._held]
            end_ms = known["newest_ms"] + self._gap_ms
            kept = (known["visitor"] != 0) & (end_ms > done_ms)
            if passed.size:
                kept &= end_ms >= passed[known["place"]]
            known = known[kept]
            room = max(_FEW, 2 * (known.size + more))
            visits = np.zeros(room, _VISIT)
            visits[: known.size] = known
            self._held = known.size
            self._table = _Table(visits, empty_index(room), empty_index(room))
            fill(self._table.by_visitor, visits["visitor"], known.size)
            fill(self._table.by_session, visits["session"], known.size)
        return True


def warm_up() -> None:
    """Compile, or load from the cache, what a worker runs."""
    visits, one = OpenVisits(0), np.zeros(1, np.int64)
    clicks = Clicks(np.ones(1, np.uint64), np.ones(1, np.uint64), one, one)
    visits.first_return(clicks, one, one, 0)
    fill(empty_index(1), np.zeros(0, _VISIT)["visitor"], 0)


@compiled
def _first_return(
    clicks: Clicks,
    order: NDArray[np.int64],
    table: _Table,
    held: int,
    passed: NDArray[np.int64],
    done_ms: int,
    gap_ms: int,
) -> tuple[int, int]:
    """The event or `_NO_EVENT`, and how many visits are held."""
    for i in order:
        visitor, session, arrival = clicks.visitors[i], clicks.sessions[i], clicks.arrivals[i]
        if visitor != 0:
            at = first_place(table.by_visitor, visitor)
            while table.by_visitor[at] != FREE:
                visit = table.visits[table.by_visitor[at]]
                end_ms = visit["newest_ms"] + gap_ms
                over = _is_other(visit, visitor, session) and end_ms <= arrival
                if over and end_ms > done_ms and end_ms >= passed[visit["place"]]:
                    return i, held
                at = next_place(table.by_visitor, at)
        held = _note(table, held, visitor, session, arrival, clicks.places[i], gap_ms)
    return _NO_EVENT, held


@compiled
def _ends(
    clicks: Clicks, table: _Table, held: int, passed_ms: int, gap_ms: int, ends: NDArray[np.void]
) -> tuple[int, int]:
    """Fills ``ends``; how many there are, and how many visits are held."""
    count = 0
    for i in range(clicks.visitors.size):
        visitor, session, arrival = clicks.visitors[i], clicks.sessions[i], clicks.arrivals[i]
        row = table.by_session[place_of(table.by_session, table.visits["session"], session)]
        whose = np.uint64(0)  # of the session's visit before, if this event begins the next
        if row != FREE and arrival >= table.visits[row]["newest_ms"] + gap_ms:
            whose = table.visits[row]["visitor"]
        for one in (visitor, whose if whose != visitor else np.uint64(0)):
            if one == 0:
                continue
            at = first_place(table.by_visitor, one)
            while table.by_visitor[at] != FREE:
                visit = table.visits[table.by_visitor[at]]
                end_ms = visit["newest_ms"] + gap_ms
                if visit["visitor"] == one and passed_ms < end_ms <= arrival:
                    visit["visitor"] = 0
                    end = ends[count]
                    end["place"], end["session"], end["at_ms"], end["event"] = (
                        visit["place"],
                        visit["session"],
                        end_ms,
                        i,
                    )
                    count += 1
                at = next_place(table.by_visitor, at)
        held = _note(table, held, visitor, session, arrival, clicks.places[i], gap_ms)
    return count, held


@inlined
def _is_other(visit: np.void, visitor: int, session: int) -> bool:
    """Whether it is another visit of the visitor, not ended yet."""
    return bool(visit["visitor"] == visitor and visit["session"] != session)


@inlined
def _note(table: _Table, held: int, visitor: int, session: int, arrival: int, place: int, gap_ms: int) -> int:
    """Note one event; how many visits are held then."""
    at = place_of(table.by_session, table.visits["session"], session)
    row = table.by_session[at]
    if row != FREE and table.visits[row]["visitor"] != 0:
        visit = table.visits[row]
        if arrival < visit["newest_ms"] + gap_ms:
            if visit["newest_ms"] < arrival:
                visit["newest_ms"], visit["place"] = arrival, place
            return held
        visit["visitor"] = 0  # the event ends this visit, and begins the session's next
    if visitor == 0:
        return held
    visit = table.visits[held]
    visit["visitor"], visit["session"], visit["newest_ms"], visit["place"] = visitor, session, arrival, place
    table.by_session[at] = held
    table.by_visitor[free_place(table.by_visitor, visitor)] = held
    return held + 1
