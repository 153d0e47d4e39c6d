"""Every stored record has a version: golden bytes of each, and nothing is read that is of neither."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from featurestore.errors import CorruptRecord
from featurestore.session import codec, visitors
from featurestore.session.layout_v1 import V1
from featurestore.store import outbox
from featurestore.store.cluster import cross_slot_outbox
from featurestore.store.packed import PackedDecisions
from featurestore.store.tombstones import erased_at
from featurestore.versions import RECORD_VERSION, VERSION_BEFORE
from tests import golden

VERSIONS = (VERSION_BEFORE, RECORD_VERSION)


def _state(record: bytes) -> Any:
    states, memory, corrupt = codec.unpack([record], [golden.SESSION_HASH])
    if corrupt.size:
        raise CorruptRecord("state")
    return states.tobytes(), memory.tobytes()


def _profile(record: bytes) -> Any:
    rows, corrupt = visitors.unpack([record])
    if corrupt:
        raise CorruptRecord("profile")
    rows["segment"] = 0  # version 1 knows none
    return rows.tobytes()


def _packed(record: bytes) -> Any:
    packed = PackedDecisions.unpacked(record)
    return list(packed.names), list(packed.documents())


def _outbox(record: bytes) -> Any:
    offset, outputs = outbox.decode(record)
    return offset, [(stream, list(keys), list(values)) for stream, keys, values, _ in outputs]


def _cross_slot(record: bytes) -> Any:
    field, _, value = record.partition(b" ")
    left = cross_slot_outbox.stored({field: value})
    if left.corrupt:
        raise CorruptRecord("field")
    return left


READ: dict[str, Callable[[bytes], Any]] = {
    "state": _state,
    "profile": _profile,
    "packed": _packed,
    "outbox": _outbox,
    "tombstone": erased_at,
    **{f"cross_slot_{i}": _cross_slot for i in range(4)},
}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_golden_bytes(version: int) -> None:
    """What is written is what was written: for an old version by the releases of its time."""
    assert golden.records(version) == golden.golden(version)


@pytest.mark.parametrize("name", sorted(READ.keys() - {"state"}))
def test_both_versions_of_a_record_say_the_same(name: str) -> None:
    old, new = (READ[name](golden.golden(version)[name]) for version in VERSIONS)
    assert old == new


def test_a_session_reads_as_it_was() -> None:
    """To the byte; of version 1, what it has a field for."""
    states, memory = golden.session()
    assert _state(golden.golden(RECORD_VERSION)["state"]) == (states.tobytes(), memory.tobytes())
    old = codec.unpack([golden.golden(VERSION_BEFORE)["state"]], [golden.SESSION_HASH])
    assert not old.corrupt.size
    for read, whole, layout in ((old.states, states, V1.state), (old.memory, memory, V1.memory)):
        for name in read.dtype.names or ():
            if name in (layout.names or ()) and not name.startswith("spare"):
                np.testing.assert_array_equal(read[name], whole[name], name)


@pytest.mark.parametrize("name", ["state", "profile", "packed", "outbox", "tombstone"])
def test_the_version_stands_first_and_a_later_one_is_not_read(name: str) -> None:
    record = golden.golden(RECORD_VERSION)[name]
    assert record[0] in {RECORD_VERSION, ord(str(RECORD_VERSION))}
    with pytest.raises(CorruptRecord):
        READ[name](bytes([record[0] + 1]) + record[1:])


@pytest.mark.parametrize("name", ["state", "outbox"])
def test_no_changed_byte_goes_unnoticed(name: str) -> None:
    """Both carry a checksum: whichever byte is changed, the record is refused."""
    record = golden.golden(RECORD_VERSION)[name]
    for at in range(len(record)):
        for flip in (1, 128):
            with pytest.raises(CorruptRecord):
                READ[name](record[:at] + bytes([record[at] ^ flip]) + record[at + 1 :])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["packed", "outbox", "state"])
def test_a_record_that_is_cut_is_refused(name: str, version: int) -> None:
    record = golden.golden(version)[name]
    for size in range(1, len(record)):
        with pytest.raises(CorruptRecord):
            READ[name](record[:size])


def test_packed_decisions_that_name_what_is_not_there_are_refused() -> None:
    """Compiled code would read whatever lies there in memory."""
    for name, value in (("words", 8), ("tail", 2), ("shares", 1_001), ("numbers", -1)):
        packed = golden.decisions()
        packed.rows[name] = value
        made = PackedDecisions(packed.names, packed.rows, packed._fixed, packed._words, packed._tails)
        with pytest.raises(CorruptRecord, match="not among them"):
            PackedDecisions.unpacked(_raw(made))


def test_a_program_that_names_what_is_not_there_is_refused() -> None:
    packed = golden.decisions()
    for kind, which in ((9, 0), (0, 3), (4, 0)):
        program = packed._program.copy()
        program[0] = kind, which
        made = PackedDecisions(packed.names, packed.rows, packed._fixed, packed._words, packed._tails, program)
        with pytest.raises(CorruptRecord, match="not among them"):
            PackedDecisions.unpacked(made.packed())


def test_documents_that_version_1_cannot_hold_packed_go_into_its_outbox_as_they_are() -> None:
    """Releases of that time know one order of values; they produce any document that is not packed."""
    plain = golden.decisions()
    program = plain._program.copy()
    later = PackedDecisions(plain.names, plain.rows, plain._fixed, plain._words, plain._tails, program)
    output = outbox.Output(0, later.names, later.logged(later.documents()), later)
    old = outbox.encode(golden.OFFSET, [output], VERSION_BEFORE)
    assert b"forest-1" in old
    assert _outbox(old) == _outbox(outbox.encode(golden.OFFSET, [output]))
    assert msgspec.msgpack.decode(old)[1] == []


def _raw(packed: PackedDecisions) -> bytes:
    """As `packed` writes them, without its look at the tails."""
    names = packed.names
    lengths = (names.ends - names.starts).astype("<u2").tobytes()
    parts = [list(part) for part in (packed._fixed, packed._words, packed._tails)]
    joined = b"".join(name.encode() for name in names)
    body = msgspec.msgpack.encode((lengths, joined, np.ascontiguousarray(packed.rows).tobytes(), *parts))
    return bytes([RECORD_VERSION]) + body
