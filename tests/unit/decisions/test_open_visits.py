"""Visitors' open visits: which have to end before an event is judged, asked by the worker and by a pass over a file."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from decisions.open_visits import Clicks, OpenVisits

GAP_MS = 1_800_000
MINUTE_MS = 60_000
NOTHING_PASSED = np.full(1, -1)

Click = tuple[int, int, int]
"""Session, visitor (0: none is named), minutes."""


def clicks_of(log: list[Click]) -> Clicks:
    sessions, visitors, minutes = (np.array(column, np.int64) for column in zip(*log, strict=True))
    places = np.zeros(sessions.size, np.int64)
    return Clicks(visitors.astype(np.uint64), sessions.astype(np.uint64), minutes * MINUTE_MS, places)


def first_return(log: list[Click]) -> int | None:
    return OpenVisits(GAP_MS).first_return(clicks_of(log), np.arange(len(log)), NOTHING_PASSED, -1)


def test_a_visitor_s_next_visit_waits_for_the_one_that_is_over() -> None:
    assert first_return([(1, 9, 0), (2, 9, 29)]) is None, "the first is still open"
    assert first_return([(1, 9, 0), (1, 9, 31), (2, 8, 31)]) is None, "a session ends its own visit"
    assert first_return([(1, 9, 0), (2, 8, 31), (2, 9, 40), (3, 9, 80)]) == 2


def test_an_event_that_names_nobody_keeps_its_visitor_s_visit_open() -> None:
    assert first_return([(1, 9, 0), (1, 0, 20), (2, 9, 45)]) is None
    assert first_return([(1, 9, 0), (1, 0, 20), (2, 9, 50)]) == 2


def test_what_has_been_ended_is_not_waited_for() -> None:
    visits, log = OpenVisits(GAP_MS), clicks_of([(1, 9, 0), (2, 9, 40)])
    assert visits.first_return(log, np.arange(2), NOTHING_PASSED, 30 * MINUTE_MS) is None
    assert OpenVisits(GAP_MS).ends(log, 30 * MINUTE_MS).size == 0


def test_the_table_keeps_every_open_visit_when_it_grows() -> None:
    visits = OpenVisits(GAP_MS)
    many = clicks_of([(n, n, 0) for n in range(1, 5_000)])
    assert visits.first_return(many, np.arange(4_999), NOTHING_PASSED, -1) is None
    later = clicks_of([(10_000 + n, n, 60) for n in range(1, 5_000)])
    for n in range(4_999):
        assert visits.first_return(later, np.array([n]), NOTHING_PASSED, -1) == n


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3), st.integers(0, 40)), min_size=1, max_size=60))
def test_ends_are_those_of_the_definition(steps: list[Click]) -> None:
    """An open visit's end comes before the first event of its visitor, or of its session, that is a gap later."""
    minutes = np.cumsum([step for *_, step in steps]).tolist()
    log = [(session, visitor, minute) for (session, visitor, _), minute in zip(steps, minutes, strict=True)]
    opened: dict[int, tuple[int, int]] = {}
    expected = []
    for i, (session, visitor, minute) in enumerate(log):
        whose = {visitor}
        if session in opened and opened[session][1] + 30 <= minute:
            whose.add(opened[session][0])
        for other, (its, newest) in list(opened.items()):
            if its in whose and newest + 30 <= minute:
                expected.append((i, other, newest + 30))
                del opened[other]
        if session in opened or visitor:
            opened[session] = opened.get(session, (visitor, 0))[0], minute
    ends = OpenVisits(GAP_MS).ends(clicks_of(log), -1)
    found = zip(ends["event"].tolist(), ends["session"].tolist(), (ends["at_ms"] // MINUTE_MS).tolist(), strict=True)
    assert sorted(found) == sorted(expected)
