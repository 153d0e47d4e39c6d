"""What was refused of a partition is counted across batches and owners, and says where reading stops."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.store.refusals import Note, Refused, encoded, refused_of
from worker.partitions.refusals import Refusals

NOTHING = Refused(None, 0)


def stored(refusals: Refusals, passes: int = 0) -> Refused:
    """What the next owner finds."""
    note = refusals.note()
    return refused_of((None if note is None else encoded(note), str(passes).encode() if passes else None))


def test_a_run_of_bad_records_stops_reading_right_behind_it_also_across_batches() -> None:
    refusals = Refusals(1.0, 5, NOTHING)
    assert refusals.count(range(10), [7, 8, 9], 1) == 10
    assert refusals.held_at() is None
    assert refusals.count(range(10, 20), [0, 1, 2, 3], 2) == 2
    assert refusals.held_at() == 12
    assert refusals.why() == "5 records in a row are no events (CLICKSTAGE_DLQ_MAX_CONSECUTIVE)"
    assert refusals.count(range(12, 20), [0, 1], 3) == 0, "nothing behind it is taken"
    note = refusals.note()
    assert note is not None
    assert note.since_ms == 2


def test_one_good_record_breaks_the_run() -> None:
    refusals = Refusals(1.0, 5, NOTHING)
    at = 0
    for places in ([0, 1, 2, 3], [6, 7, 8, 9], []) * 50:
        n = 10 if places else 1
        assert refusals.count(range(at, at + n), places, 1) == n
        at += n


def test_a_share_counts_once_there_are_a_thousand_records() -> None:
    refusals = Refusals(0.5, 10_000, NOTHING)
    assert refusals.count(range(999), list(range(999)), 1) == 999
    assert refusals.held_at() is None
    assert refusals.count(range(999, 1_000), [0], 1) == 1
    assert refusals.held_at() == 1_000
    assert refusals.why() == "1000 of the last 1000 records are no events (CLICKSTAGE_DLQ_MAX_SHARE)"


def test_old_batches_leave_the_window() -> None:
    refusals = Refusals(0.5, 10_000, NOTHING)
    sizes = [900, *[500] * 20, 500]
    at = 0
    for index, n in enumerate(sizes):
        places = list(range(0, n, 2)) if index in {0, len(sizes) - 1} else []
        assert refusals.count(range(at, at + n), places, 1) == n
        at += n
    assert refusals.held_at() is None


@pytest.mark.issue(20, line=12)
def test_the_next_owner_goes_on_counting_and_holds_what_was_held() -> None:
    """Restarts do not give each worker five hundred more."""
    first = Refusals(1.0, 5, NOTHING)
    first.count(range(3), [0, 1, 2], 1)
    second = Refusals(1.0, 5, stored(first))
    assert second.next == 3, "letters before it are written"
    assert second.count(range(3, 9), list(range(6)), 1) == 2
    third = Refusals(1.0, 5, stored(second))
    assert third.held_at() == 5
    assert Refusals(1.0, 6, stored(third)).held_at() is None, "a raised limit lets it go on"


def test_records_that_are_read_again_are_not_counted_again() -> None:
    first = Refusals(1.0, 5, NOTHING)
    first.count(range(4), [1, 2, 3], 1)
    again = Refusals(1.0, 5, stored(first))
    assert again.count(range(1, 5), [0, 1, 2], 1) == 4
    assert again.held_at() is None
    note = again.note()
    assert note is not None
    assert (note.in_a_row, note.next) == (0, 5)


@pytest.mark.issue(20, line=12, sibling=True)
def test_what_an_operator_lets_pass_is_not_counted_and_behind_it_counting_begins_anew() -> None:
    refusals = Refusals(1.0, 5, NOTHING)
    refusals.count(range(8), list(range(8)), 1)
    assert refusals.held_at() == 5
    assert refusals.let_pass(100)
    assert not refusals.let_pass(100), "no news"
    assert refusals.count(range(5, 104), list(range(99)), 1) == 99
    assert refusals.held_at() is None
    assert refusals.count(range(104, 110), list(range(6)), 1) == 1
    assert refusals.held_at() == 105
    assert Refusals(1.0, 5, stored(refusals, passes=100)).held_at() == 105, "an old word lets nothing new pass"
    assert Refusals(1.0, 5, stored(refusals, passes=106)).held_at() is None


def test_a_note_that_cannot_be_read_is_none() -> None:
    assert refused_of((b"{", None)) == NOTHING
    assert refused_of((b'{"next":1,"in_a_row":2,"records":3,"bad":2,"v":9}', b"x")) == NOTHING
    assert refused_of((encoded(Note(1, 2, 3, 2)), b"7")) == Refused(Note(1, 2, 3, 2), 7)


@given(
    bad=st.lists(st.booleans(), min_size=1, max_size=60),
    cuts=st.sets(st.integers(1, 59)),
    restarts=st.sets(st.integers(0, 59)),
    limit=st.integers(1, 6),
)
@pytest.mark.issue(20, line=12, sibling=True)
def test_reading_stops_at_the_same_record_however_batches_are_cut_and_workers_restart(
    bad: list[bool], cuts: set[int], restarts: set[int], limit: int
) -> None:
    """A record at a time without a restart is the readable twin."""
    run, expected = 0, len(bad)
    for at, is_bad in enumerate(bad):
        run = run + 1 if is_bad else 0
        if run == limit:
            expected = at + 1
            break
    refusals, read, letters = Refusals(1.0, limit, NOTHING), 0, 0
    for begin, end in pairwise([0, *sorted(cut for cut in cuts if cut < len(bad)), len(bad)]):
        if begin in restarts:
            refusals = Refusals(1.0, limit, stored(refusals))
        places = [at - begin for at in range(begin, end) if bad[at]]
        taken = refusals.count(range(begin, end), places, 1)
        letters += sum(1 for place in places if place < taken)
        read += taken
        if refusals.held_at() is not None:
            assert refusals.held_at() == expected
            break
    assert read == expected
    assert letters == sum(bad[:expected])
