"""The spool: what is told to be on disk comes back, in order, whatever was killed meanwhile."""

import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.spool import Place, Spool, Spooled, SpoolFull
from tests.examples import examples

START = Place(0, 0)


def _records(*values: bytes) -> list[Spooled]:
    return [Spooled("clicks", b"session", value, 1_780_000_000_000) for value in values]


def _values(spool: Spool, place: Place = START, most: int = 10_000, *, alone: bool = True) -> list[bytes]:
    return [record.value for record in spool.read(place, most, alone=alone)[0]]


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    spool.append(_records(b"1", b"2"))
    spool.append([Spooled("exposures", b"\xff\x00", b'{"a":1}', 7)])
    records, _ = spool.read(START, 10)
    assert records == [*_records(b"1", b"2"), Spooled("exposures", b"\xff\x00", b'{"a":1}', 7)]


def test_segments_follow_one_another_and_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20, segment_bytes=200)
    values = [b"%d" % i for i in range(50)]
    for value in values:
        spool.append(_records(value))
    assert len(list(tmp_path.glob("*.spool"))) > 5
    place, read = START, []
    while some := spool.read(place, 7)[0]:
        read += [record.value for record in some]
        place = spool.read(place, 7)[1]
    assert read == values


def test_events_wait_from_the_first_append_until_the_replay_has_finished(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    assert not spool.waiting()
    spool.append(_records(b"1"))
    assert spool.waiting()
    with spool.replaying() as mine, spool.ending():
        assert mine
        spool.finish()
    assert not spool.waiting()
    assert spool.size_bytes() == 0


def test_a_full_spool_refuses_the_whole_and_keeps_what_it_has(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 300)
    spool.append(_records(b"1"))
    with pytest.raises(SpoolFull):
        spool.append(_records(b"2" * 300))
    assert _values(spool) == [b"1"]


def test_the_cursor_outlives_the_process_and_older_segments_go(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20, segment_bytes=100)
    for value in (b"1", b"2", b"3", b"4"):
        spool.append(_records(value))
    _, place = spool.read(spool.cursor(), 3)
    spool.advance(place)
    again = Spool(tmp_path, 1 << 20)
    assert _values(again, again.cursor()) == [b"4"]
    assert again.waiting()


def test_only_one_process_replays(tmp_path: Path) -> None:
    with Spool(tmp_path, 1).replaying() as first, Spool(tmp_path, 1).replaying() as second:
        assert (first, second) == (True, False)


def test_segments_without_the_mark_wait_again_after_a_start(tmp_path: Path) -> None:
    """A machine that crashed may have kept the one and lost the other."""
    Spool(tmp_path, 1 << 20).append(_records(b"1"))
    (tmp_path / "waiting").unlink()
    assert Spool(tmp_path, 1 << 20).waiting()


@settings(max_examples=examples(20))
@given(cut=st.integers(1, 60), junk=st.binary(max_size=40))
def test_half_a_record_is_passed_and_what_follows_is_read(
    tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes
) -> None:
    """A process was killed while it wrote; another one went on behind it."""
    spool = Spool(tmp_path_factory.mktemp("spool"), 1 << 20)
    spool.append(_records(b"before"))
    [segment] = spool.directory.glob("*.spool")
    whole = segment.read_bytes()
    segment.write_bytes(whole + whole[: min(cut, len(whole) - 1)] + junk)
    spool.append(_records(b"after"))
    assert _values(spool, alone=False) == [b"before", b"after"]


@settings(max_examples=examples(20))
@given(cut=st.integers(0, 60))
def test_a_torn_end_is_left_while_somebody_may_be_writing_it(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool"), 1 << 20)
    spool.append(_records(b"whole"))
    [segment] = spool.directory.glob("*.spool")
    whole = segment.read_bytes()
    segment.write_bytes(whole + whole[: min(cut, len(whole) - 1)])
    records, place = spool.read(START, 10)
    assert [record.value for record in records] == [b"whole"]
    assert place == Place(1, len(whole))
    assert spool.read(place, 10, alone=True)[0] == []


@settings(max_examples=examples(20))
@given(st.binary(max_size=400))
def test_junk_is_no_record_and_raises_nothing(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool"), 1 << 20)
    (spool.directory / "0000000000000001.spool").write_bytes(junk)
    assert _values(spool) == []


def _append_and_die(directory: Path, ready: str) -> None:
    spool = Spool(directory, 1 << 24)
    for i in range(1_000_000):
        spool.append(_records(b"%d" % i))
        with Path(ready).open("a") as told:
            told.write(f"{i}\n")


def test_what_was_told_to_be_safe_outlives_kill_9(tmp_path: Path) -> None:
    ready = tmp_path / "told"
    ready.touch()
    process = multiprocessing.get_context("spawn").Process(target=_append_and_die, args=(tmp_path / "s", str(ready)))
    process.start()
    while ready.stat().st_size < 100 and process.is_alive():
        process.join(0.01)
    os.kill(process.pid or 0, 9)
    process.join()
    told = [int(line) for line in ready.read_text().splitlines()]
    read = [int(value) for value in _values(Spool(tmp_path / "s", 1 << 24))]
    assert read[: len(told)] == told
    assert len(read) - len(told) <= 1
