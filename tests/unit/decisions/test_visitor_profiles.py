"""Profiles in memory count the sessions that end as the store's script does."""

import numpy as np

from decisions.visitor_profiles import VisitorProfiles
from featurestore.session.fold import empty_states
from featurestore.session.visitors import ENTRY, append_entry, session_key, unpack, visit_byte

ENTRIES = ("sessions", "n", "bounced", "segment", "shown", "ended", "key")


def test_profiles_in_memory_are_those_of_the_store() -> None:
    """A thousand ends of forty visitors, some of them twice; visitor 0 is nobody."""
    dice = np.random.default_rng(4)
    ended = empty_states(1_000)
    ended["visitor"], ended["session"] = dice.integers(0, 40, 1_000), dice.integers(1, 300, 1_000)
    ended["t_min"], ended["t_max"] = 5, np.arange(1_000)
    shown, segments = dice.integers(0, 9, 1_000).astype(np.uint8), dice.integers(0, 7, 1_000).astype(np.uint8)
    profiles, stored = VisitorProfiles(), dict[int, bytes]()
    for part in np.array_split(np.arange(1_000), 7):
        profiles.remember(ended[part], shown[part], segments[part])
    for state, actions, segment in zip(ended, shown, segments, strict=True):
        if state["visitor"]:
            entry = np.zeros(1, ENTRY)
            entry["key"], entry["ended"] = session_key(int(state["session"]), 5), state["t_max"]
            entry["shown"], entry["visit"] = actions, visit_byte(np.zeros(1, np.bool_), np.array([segment]))
            stored[int(state["visitor"])] = append_entry(stored.get(int(state["visitor"])), entry.tobytes())
    wanted = np.arange(45, dtype=np.uint64)
    expected = unpack([stored.get(int(visitor)) for visitor in wanted]).rows
    found = profiles.table(wanted)
    assert found["visitor"].tolist() == list(range(45))
    assert all(np.array_equal(found[name], expected[name]) for name in ENTRIES)
