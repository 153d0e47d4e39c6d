"""The bytes of a stored session: exact, short, and refused when they are damaged or another session's."""

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from featurestore.contract.event import Event
from featurestore.session import codec
from featurestore.session.codec import pack, unpack
from featurestore.session.fold import FoldConfig
from featurestore.session.layout import (
    ALIKE,
    MEMORY,
    MEMORY_BYTES,
    MEMORY_FIELDS,
    NEWEST,
    STATE,
    STATE_BYTES,
    STATE_FIELDS,
    USUAL,
    Field,
    Layout,
)
from featurestore.session.layout_v1 import V1, downgraded, plausible, upgraded
from featurestore.session.residuals import MONEY
from featurestore.session.state import LIVE
from featurestore.versions import RECORD_VERSION, VERSION_BEFORE
from tests.examples import examples
from tests.golden import session as golden_session
from tests.unit.featurestore.session.fold_cases import SESSIONS, START_MS, Folded, Step, logs

CONFIG = FoldConfig()
VERSIONS = (VERSION_BEFORE, RECORD_VERSION)


def _same(found: codec.Unpacked, states: "np.ndarray[Any, Any]", memory: "np.ndarray[Any, Any]") -> bool:
    return (found.states.tobytes(), found.memory.tobytes(), found.corrupt.size) == (
        states.tobytes(),
        memory.tobytes(),
        0,
    )


def _kept(
    states: NDArray[np.void], memory: NDArray[np.void], version: int
) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """What a version keeps of a session: the newest everything, the one before one time and single precision."""
    if version == RECORD_VERSION:
        return states, memory
    kept, mind = upgraded(*downgraded(states, memory))
    kept["session"] = states["session"]
    return kept, mind


@given(logs(), st.integers(0, 4), st.sampled_from(VERSIONS))
@settings(max_examples=examples(20), phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_unpack_undoes_pack(log: list[Step], n_actions: int, version: int) -> None:
    states = Folded(CONFIG).run(log).states
    states = states[states["flags"] & LIVE != 0]
    memory = np.zeros(states.size, MEMORY)
    memory["n_actions"] = n_actions
    for j in range(n_actions):
        memory["action_at"][:, j] = states["t_max"] + j
    memory["stage_since"] = states["t_min"]
    assert _same(unpack(pack(states, memory, version=version), states["session"]), *_kept(states, memory, version))


@given(st.lists(st.binary(min_size=STATE.itemsize, max_size=STATE.itemsize), min_size=1, max_size=3), st.binary())
@settings(max_examples=examples(20))
def test_any_record_survives(records: list[bytes], mind: bytes) -> None:
    """Whatever stands in the fields, as long as codes are known, times lie after t_min and no amount is negative."""
    states = np.frombuffer(b"".join(records), STATE).copy()
    memory = np.zeros(states.size, MEMORY)
    raw = np.frombuffer(mind.ljust(MEMORY.itemsize, b"\0")[: MEMORY.itemsize], MEMORY)
    memory[0] = raw[0]
    states["t_min"] = 1_000
    for rows, fields in ((states, STATE_FIELDS), (memory, MEMORY_FIELDS)):
        for one in fields:
            if one.most is not None:
                rows[one.name] %= one.most + 1
            if one.time:
                rows[one.name] = np.abs(rows[one.name] // 2) + 1_000
    for name, _ in MONEY:
        states[name] = np.abs(states[name])
    for row in states:
        row["page_hashes"][row["pages"] :] = 0
        row["id_hashes"][row["ids"] :] = 0
        row["id_hashes"] &= codec.ID_MASK
    assert _same(unpack(pack(states, memory), states["session"]), states, memory)


def test_an_absent_session_is_an_empty_row() -> None:
    states, memory = golden_session()
    found = unpack([None, *pack(states, memory), None], [1, int(states["session"][0]), 2])
    assert (found.states["flags"] & LIVE).tolist() == [0, LIVE, 0]
    assert not found.memory[0].tobytes().strip(b"\0")
    assert not found.corrupt.size
    empty = unpack([], [])
    assert empty.states.size == 0
    assert not pack(empty.states, empty.memory)


def test_a_typical_session_takes_less_than_256_bytes_and_none_more_than_the_bound() -> None:
    """Seven clicks with ids on five pages; and the fullest record there can be."""
    assert len(pack(*golden_session())[0]) < 256
    full = np.frombuffer(b"\xff" * STATE.itemsize, STATE).copy()
    full["pages"] = full["ids"] = 64
    mind = np.frombuffer(b"\xff" * MEMORY.itemsize, MEMORY).copy()
    assert len(pack(full, mind)[0]) <= NEWEST.largest
    assert len(pack(full, mind, version=VERSION_BEFORE)[0]) <= V1.largest


def test_bytes_of_an_unknown_version_are_corrupt() -> None:
    states, memory = golden_session()
    [stored] = pack(states, memory)
    assert unpack([bytes([RECORD_VERSION + 1]) + stored[1:]], states["session"]).corrupt.tolist() == [0]


def test_a_record_under_another_name_is_corrupt() -> None:
    """Swapped records: each is whole, and neither is of its session."""
    states, memory = golden_session()
    stored = pack(states, memory)
    assert unpack(stored, states["session"] + np.uint64(1)).corrupt.tolist() == [0]


def test_both_versions_may_stand_in_one_batch() -> None:
    """A fleet is being rolled: what the one worker wrote and what the other wrote are read in one pass."""
    states, memory = golden_session()
    records = [pack(states, memory, version=version)[0] for version in (1, 2, 2, 1)]
    found = unpack(records, np.repeat(states["session"], 4))
    kept = [_kept(states, memory, version) for version in (1, 2, 2, 1)]
    assert _same(found, *(np.concatenate(parts) for parts in zip(*kept, strict=True)))


@given(st.data(), st.sampled_from(VERSIONS))
@settings(max_examples=examples(80))
def test_damaged_bytes_are_refused_and_read_no_memory_that_is_not_theirs(data: st.DataObject, version: int) -> None:
    """Cut short, grown, or with one byte changed: a corrupt row between two whole ones, which stay as they are."""
    states, memory = golden_session()
    [stored] = pack(states, memory, version=version)
    how = data.draw(st.sampled_from(["cut", "grown", "changed"]))
    at = data.draw(st.integers(0, len(stored) - 1))
    if how == "cut":
        damaged = stored[: max(at, 1)]
    elif how == "grown":
        damaged = stored + bytes(at + 1)
    else:
        damaged = stored[:at] + bytes([data.draw(st.integers(0, 255))]) + stored[at + 1 :]
    found = unpack([stored, damaged, stored], np.repeat(states["session"], 3))
    if version == RECORD_VERSION or how != "changed":
        assert found.corrupt.tolist() == ([] if damaged == stored else [1])
    states, memory = _kept(states, memory, version)
    assert found.states[[0, 2]].tobytes() == np.repeat(states, 2).tobytes()
    assert found.memory[[0, 2]].tobytes() == np.repeat(memory, 2).tobytes()
    if found.corrupt.size:
        assert found.states["flags"][1] == 0
    assert found.states["pages"][1] <= 64
    assert found.states["ids"][1] <= 64


def test_version_1_has_no_checksum_and_is_refused_where_a_value_cannot_be() -> None:
    states, _ = golden_session()
    old = np.zeros(1, V1.state)
    for name in old.dtype.names or ():
        value = states[name]
        old[name] = value if value.ndim == 1 else value[:, : old[name].shape[1]]
    assert plausible(old).tolist() == [True]
    wrong: dict[str, float] = {
        "flags": 6,
        "cart_value": np.nan,
        "price_sum": -1.0,
        "bounce": 1.5,
        "t_max": 0,
        "offset": -1,
    }
    for name, amount in wrong.items():
        changed = old.copy()
        changed[name] = amount
        assert plausible(changed).tolist() == [False], name


def test_version_1_counts_types_that_it_does_not_know_as_clicks() -> None:
    """What a release of that time would have made of the events; and its counts stop at 255."""
    states, memory = golden_session()
    states["counts"][0, [24, 25, 40]] = [10, 200, 100]
    states["counts"][0, 3] = 700
    states["recent"][0, :2] = [41, 3]
    memory["shown"] = 6
    read = unpack(pack(states, memory, version=VERSION_BEFORE), states["session"])
    assert read.states["counts"][0, [3, 24, 25, 40]].tolist() == [255, 255, 0, 0]
    assert read.states["recent"][0, :2].tolist() == [25, 3]
    assert read.memory["shown"].tolist() == [0]


def _grown(state: tuple[Field, ...] = (), memory: tuple[Field, ...] = ()) -> Layout:
    fields = ((*STATE_FIELDS, *state), (*MEMORY_FIELDS, *memory))
    return Layout(RECORD_VERSION, fields, (STATE_BYTES, MEMORY_BYTES), USUAL, ALIKE, check=3, dense=True)


def test_a_field_that_is_appended_moves_no_byte() -> None:
    """A toy feature and a toy head's memory: the records of before read the same, and so do those of after, before."""
    later = _grown((Field("toy", "<u4"), Field("toys", "<u2", 3)), (Field("toy_head", "<f4", 2),))
    states, memory = golden_session()
    [before] = pack(states, memory)
    grown, mind = states.view(later.state), memory.view(later.memory)
    assert not grown["toy"].any()
    assert list(codec._packed(grown, mind, np.arange(1), later)) == [before]
    grown, mind = grown.copy(), mind.copy()
    grown["toy"], grown["toys"], mind["toy_head"] = 7, [1, 2, 3], [0.5, 0.25]
    after = codec._packed(grown, mind, np.arange(1), later)
    read = unpack(after, states["session"])
    assert not read.corrupt.size
    for name in (one.name for one in STATE_FIELDS):
        np.testing.assert_array_equal(read.states[name], states[name])
    assert list(pack(read.states, read.memory)) == list(after), "a worker from before carries the new bytes along"


def test_an_event_type_that_is_appended_moves_no_byte() -> None:
    states, memory = golden_session()
    more = states.copy()
    more["counts"][0, 25] = 3
    read = unpack(pack(more, memory), states["session"])
    assert read.states["counts"][0, 25] == 3
    more["counts"][0, 25] = 0
    assert more.tobytes() == states.tobytes()


def test_too_many_fields_are_refused() -> None:
    with pytest.raises(ValueError, match="a new state version must make room"):
        _grown((Field("huge", "<u8", 64),))


def test_every_field_lies_within_its_alignment() -> None:
    """So that no field crosses a word, and a word of the head is one step for the processor."""
    for layout in (STATE, MEMORY):
        assert layout.fields is not None
        for name, (kind, at, *_) in layout.fields.items():
            assert at % kind.base.itemsize == 0, name


def test_sessions_of_a_batch_do_not_touch_each_other() -> None:
    log = [
        Step(s, START_MS + i, Event(session_id=s, type="click", ts=0, page=f"/{i}")) for i, s in enumerate("abcabca")
    ]
    states = Folded(CONFIG).run(log).states
    memory = np.zeros(3, MEMORY)
    one_by_one = [pack(states[[i]], memory[[i]])[0] for i in range(len(SESSIONS))]
    assert list(pack(states, memory)) == one_by_one
