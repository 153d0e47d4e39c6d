"""What is known of a visitor: ten sessions, whether each bounced, what each was shown."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from featurestore.session.visitors import (
    ACTIONS_WINDOW_MS,
    ENTRY,
    N_SESSIONS,
    PROFILE,
    append_entry,
    bounce_rate,
    latest_segment,
    recent_actions,
    remember_session,
    session_key,
    unpack,
)
from featurestore.versions import RECORD_VERSION, VERSION_BEFORE

Visit = tuple[int, int, int, bool, int]
_visits = st.lists(
    st.tuples(st.integers(1, 15), st.integers(0, 10**6), st.integers(0, 9), st.booleans(), st.integers(0, 127)),
    max_size=25,
)


@given(_visits)
def test_what_is_remembered_in_a_batch_is_what_is_stored(visits: list[Visit]) -> None:
    """The compiled profile and the script's bytes agree, repeated sessions included."""
    profile = np.zeros(1, PROFILE)
    stored: bytes | None = None
    for visit in visits:
        remember_session(profile[0], *visit)
        stored = append_entry(stored, entry_of(*visit))
    assert unpack([stored]).rows.tobytes() == profile.tobytes()
    assert profile["n"][0] <= N_SESSIONS


def entry_of(key: int, ended: int, shown: int, bounced: bool, segment: int) -> bytes:
    return np.array([(key, ended, shown, bounced | segment << 1)], ENTRY).tobytes()


def test_an_unknown_visitor_has_no_bounce_rate() -> None:
    assert math.isnan(bounce_rate(unpack([None]).rows[0]))


def test_the_bounce_rate_is_the_share_of_single_page_sessions() -> None:
    profile = np.zeros(1, PROFILE)
    for key, bounced in enumerate([True, False, False, True, False], start=1):
        remember_session(profile[0], key, 0, 0, bounced, 0)
    assert bounce_rate(profile[0]) == 0.4


def test_the_segment_is_that_of_the_latest_session() -> None:
    """0 for a visitor without one."""
    profile = np.zeros(1, PROFILE)
    assert latest_segment(profile[0]) == 0
    for key in range(1, 14):
        remember_session(profile[0], key, 0, 0, False, key)
        assert latest_segment(profile[0]) == key


def test_actions_count_for_a_day() -> None:
    profile = np.zeros(1, PROFILE)
    remember_session(profile[0], 1, 1_000, 2, False, 4)
    remember_session(profile[0], 2, 5_000, 3, False, 5)
    assert recent_actions(profile[0], 6_000) == 5
    assert recent_actions(profile[0], 1_001 + ACTIONS_WINDOW_MS) == 3
    assert recent_actions(profile[0], 5_001 + ACTIONS_WINDOW_MS) == 0


def test_two_visits_under_one_session_id_have_two_keys() -> None:
    assert session_key(2**64 - 1, 5) != session_key(2**64 - 1, 6)
    assert 0 <= session_key(2**64 - 1, 2**62) < 2**64


def test_the_stored_bytes() -> None:
    """Version, size of an entry, two bytes of count, eighteen a session; version 1 has no more than the last two."""
    entry = np.array([(0x0102, 3, 4, 1)], ENTRY).tobytes()
    old = "0100" + "0201000000000000" + "0300000000000000" + "04" + "01"
    assert append_entry(None, entry).hex() == "0212" + old
    assert append_entry(None, entry, VERSION_BEFORE).hex() == old


@given(_visits, st.lists(st.sampled_from([VERSION_BEFORE, RECORD_VERSION]), min_size=25, max_size=25))
def test_a_profile_may_change_its_version_with_every_session(visits: list[Visit], versions: list[int]) -> None:
    """A fleet is rolled out and back: what is written last decides the version. Segments are all that is lost."""
    mixed: bytes | None = None
    plain: bytes | None = None
    for visit, version in zip(visits, versions, strict=False):
        mixed, plain = append_entry(mixed, entry_of(*visit), version), append_entry(plain, entry_of(*visit))
    found, expected = unpack([mixed]).rows, unpack([plain]).rows
    kept = found["segment"] != 0
    assert (found["segment"][kept] == expected["segment"][kept]).all()
    found["segment"] = expected["segment"] = 0
    assert found.tobytes() == expected.tobytes()


def test_what_is_no_profile_is_an_unknown_visitor_and_begins_anew() -> None:
    entry = np.array([(1, 3, 4, 1)], ENTRY).tobytes()
    for damaged in (b"\0", append_entry(None, entry)[:-1], b"\3" + append_entry(None, entry)[1:]):
        profiles = unpack([None, damaged])
        assert profiles.corrupt == [1]
        assert not profiles.rows.tobytes().strip(b"\0")
        assert append_entry(damaged, entry) == append_entry(None, entry)
