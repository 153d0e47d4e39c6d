"""The bytes of a session at rest: exact, short, and refused when they are not ours."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from featurestore.contract.event import Event
from featurestore.errors import StoreUnavailable
from featurestore.session import codec
from featurestore.session.codec import pack, unpack
from featurestore.session.fold import LIVE, MEMORY, STATE, STATE_VERSION, FoldConfig
from tests.unit.featurestore.session.fold_cases import SESSIONS, START_MS, Folded, Step, logs

GOLDEN = Path(__file__).parents[3] / "golden" / "session.hex"
CONFIG = FoldConfig()


def _golden_session() -> tuple[np.ndarray, np.ndarray]:
    """A session that uses every field of the record."""
    kinds = ("page_view", "view_item", "add_to_cart", "remove_from_cart", "begin_checkout", "purchase", "add_to_cart")
    log = [
        Step(
            "a",
            START_MS + 7_500 * i - (9_000 if i == 4 else 0),
            Event(
                session_id="a",
                type=kind,
                ts=0,
                event_id=f"event-{i}",
                visitor_id="visitor",
                page=f"/page/{i % 5}",
                category="shoes",
                price=19.25 + i,
                quantity=1 + i % 3,
                value=80.5,
                device="mobile",
                source="email",
                country="DE",
                scroll_depth=70,
            ),
        )
        for i, kind in enumerate(kinds)
    ]
    states = Folded(CONFIG).run(log).states[:1]
    states["silences"] = 2
    states["visitor_actions"] = 3
    states["visitor_sessions"] = 4
    states["bounce"] = 0.25
    states["session"] = 0
    memory = np.zeros(1, MEMORY)
    for name, value in (("shown", 3), ("candidate", 2), ("candidate_n", 1), ("flips", 4), ("persuasive", 1)):
        memory[name] = value
    memory["n_actions"] = 2
    memory["stage_since"] = START_MS + 100
    memory["offer_until"] = START_MS + 900_000
    memory["stage_ms"] = [1, 2_000, 300_000, 4]
    memory["action"] = 7
    memory["action_id"][0, :2] = 7, 9
    memory["action_count"][0, :2] = 1, 2
    memory["action_at"][0, :2] = START_MS + 1, START_MS + 2
    return states, memory


def test_the_golden_bytes() -> None:
    """What last year's worker stored is what this one reads; a change of the format must raise STATE_VERSION."""
    states, memory = _golden_session()
    stored = bytes.fromhex(GOLDEN.read_text())
    assert list(pack(states, memory)) == [stored]
    read_states, read_memory = unpack([stored])
    assert read_states.tobytes() == states.tobytes()
    assert read_memory.tobytes() == memory.tobytes()
    assert stored[0] == STATE_VERSION == 1


@given(logs(), st.integers(0, 4))
@settings(max_examples=60, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_unpack_undoes_pack(log: list[Step], n_actions: int) -> None:
    states = Folded(CONFIG).run(log).states
    states = states[states["flags"] & LIVE != 0]
    states["session"] = 0
    memory = np.zeros(states.size, MEMORY)
    memory["n_actions"] = n_actions
    for j in range(n_actions):
        memory["action_at"][:, j] = states["t_max"] + j
    memory["stage_since"] = states["t_min"]
    read_states, read_memory = unpack(pack(states, memory))
    assert read_states.tobytes() == states.tobytes()
    assert read_memory.tobytes() == memory.tobytes()


@given(st.lists(st.binary(min_size=STATE.itemsize, max_size=STATE.itemsize), min_size=1, max_size=3))
@settings(max_examples=60)
def test_any_record_survives(records: list[bytes]) -> None:
    """Whatever stands in the fields, as long as the counts are true and times lie after t_min."""
    states = np.frombuffer(b"".join(records), STATE).copy()
    states["pages"] %= 65
    states["ids"] %= 65
    states["t_min"] = 1_000
    for name in ("t_max", "last_int", "armed"):
        states[name] = np.abs(states[name] // 2) + 1_000
    states["session"] = 0
    for row in states:
        row["page_hashes"][row["pages"] :] = 0
        row["id_hashes"][row["ids"] :] = 0
        row["id_hashes"] &= codec.ID_MASK
    memory = np.zeros(states.size, MEMORY)
    read_states, read_memory = unpack(pack(states, memory))
    assert read_states.tobytes() == states.tobytes()
    assert read_memory.tobytes() == memory.tobytes()


def test_an_absent_session_is_an_empty_row() -> None:
    states, memory = unpack([None, *pack(*_golden_session()), None])
    assert (states["flags"] & LIVE).tolist() == [0, LIVE, 0]
    assert not memory[0].tobytes().strip(b"\0")
    assert unpack([])[0].size == 0
    assert not pack(*unpack([]))


def test_a_typical_session_takes_less_than_256_bytes_and_none_more_than_the_bound() -> None:
    """Seven clicks with ids on five pages; and the fullest record there can be."""
    assert len(pack(*_golden_session())[0]) < 256
    full = np.frombuffer(b"\xff" * STATE.itemsize, STATE).copy()
    full["pages"] = full["ids"] = 64
    assert len(pack(full, np.frombuffer(b"\xff" * MEMORY.itemsize, MEMORY).copy())[0]) <= codec._MAX


def test_bytes_of_another_version_stop_the_worker() -> None:
    [stored] = pack(*_golden_session())
    with pytest.raises(StoreUnavailable, match="state version 1"):
        unpack([bytes([STATE_VERSION + 1]) + stored[1:]])


@given(st.data())
@settings(max_examples=150)
def test_damaged_bytes_are_refused_and_read_no_memory_that_is_not_theirs(data: st.DataObject) -> None:
    """Cut short, grown, or with one byte changed: an error or a row, never a crash."""
    [stored] = pack(*_golden_session())
    how = data.draw(st.sampled_from(["cut", "grown", "changed"]))
    at = data.draw(st.integers(0, len(stored) - 1))
    if how == "cut":
        with pytest.raises(StoreUnavailable):
            unpack([stored[: max(at, 1)]])
    elif how == "grown":
        with pytest.raises(StoreUnavailable):
            unpack([stored + bytes(at + 1)])
    else:
        damaged = stored[:at] + bytes([data.draw(st.integers(0, 255))]) + stored[at + 1 :]
        try:
            states, _ = unpack([damaged])
        except StoreUnavailable:
            return
        assert states["pages"][0] <= 64
        assert states["ids"][0] <= 64


def test_sessions_of_a_batch_do_not_touch_each_other() -> None:
    log = [
        Step(s, START_MS + i, Event(session_id=s, type="click", ts=0, page=f"/{i}")) for i, s in enumerate("abcabca")
    ]
    states = Folded(CONFIG).run(log).states
    states["session"] = 0
    memory = np.zeros(3, MEMORY)
    one_by_one = [pack(states[[i]], memory[[i]])[0] for i in range(len(SESSIONS))]
    assert list(pack(states, memory)) == one_by_one
