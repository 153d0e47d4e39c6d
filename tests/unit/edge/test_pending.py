"""What was sent and may not be applied yet."""

import time

from edge.pending import LIFE_MS, Pending
from edge.publisher import Record


def _record(session: str, offset: int, age_ms: int = 0) -> Record:
    record = Record("clicks", session.encode(), b"{}", time.time_ns() // 1_000_000 - age_ms)
    record.partition, record.offset = (3, offset) if offset >= 0 else (-1, -1)
    return record


def test_events_wait_until_their_partition_is_applied() -> None:
    pending = Pending()
    first, second, unknown = _record("a", 5), _record("a", 7), _record("a", -1)
    pending.sent([first, second, unknown])
    assert pending.partition("a") == 3
    pending.applied("a", 5)
    assert pending.of("a") == [second, unknown]
    pending.applied("a", 7)
    assert pending.of("a") == [unknown]


def test_sessions_do_not_share() -> None:
    pending = Pending()
    pending.sent([_record("a", 1), _record("b", 2)])
    pending.applied("a", 9)
    assert pending.of("a") == []
    assert len(pending.of("b")) == 1
    assert pending.partition("c") == -1


def test_old_ones_are_dropped_and_memory_is_bounded() -> None:
    pending = Pending(most=3)
    pending.sent([_record("old", 1, LIFE_MS + 1)])
    assert pending.of("old") == []
    pending.sent([_record("a", 1), _record("a", 2)])
    pending.sent([_record("b", 3)])
    pending.sent([_record("c", 3)])
    assert [len(pending.of(session)) for session in "abc"] == [0, 1, 1]


def test_large_events_are_bounded_by_their_bytes() -> None:
    """Fifty thousand events of 64 KiB would be three gigabytes."""
    pending = Pending(most_bytes=2 * len(b"{}"))
    for session in "abc":
        pending.sent([_record(session, 1)])
    assert [len(pending.of(session)) for session in "abc"] == [0, 1, 1]
    pending.applied("b", 1)
    pending.sent([_record("d", 2)])
    assert [len(pending.of(session)) for session in "bcd"] == [0, 1, 1]


def test_sessions_that_nobody_asks_about_are_dropped_by_age() -> None:
    pending = Pending()
    pending.sent([_record("old", 1, LIFE_MS + 1), _record("new", 2)])
    assert pending.partition("old") == -1
    assert pending.partition("new") == 3


def test_what_nobody_kept_is_not_waited_for() -> None:
    pending = Pending()
    record = _record("a", -1)
    pending.sent([record])
    record.failed = True
    assert pending.of("a") == []
