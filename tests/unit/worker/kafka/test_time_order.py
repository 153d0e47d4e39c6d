"""A log of the past comes in step, whatever partition its records lie in, and no partition's time is another's."""

from collections.abc import Sequence
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisions.intake import Records
from tests.unit.worker.pipeline.loop_fakes import FakeClock
from worker.kafka.polled import Polled
from worker.kafka.source import Bounds, Changes
from worker.kafka.time_order import ENDED_S, ENOUGH, PATIENCE_S, TimeOrdered

SPAN_MS = 1_000


class Given:
    """A consumer that gives what it was told to; its messages are (partition, offset)."""

    def __init__(self) -> None:
        self.next = Polled([], {}, {}, set())
        self.calls: list[tuple[str, object]] = []
        self.asked = 0

    def poll(self, most: int, wait_s: float) -> Polled:
        self.asked = most
        given, self.next = self.next, Polled([], {}, {}, set())
        return given

    def changes(self) -> Changes:
        return Changes()

    def start_at(self, partition: int, offset: int) -> None:
        self.calls.append(("start", (partition, offset)))

    def pause(self, partitions: Sequence[int]) -> None:
        self.calls.append(("pause", list(partitions)))

    def owns(self, partition: int) -> bool:
        return True

    def bounds(self, partition: int, *, fresh: bool = False, wait_s: float = 5.0) -> Bounds | None:
        return None

    def ends(self, partitions: Sequence[int]) -> Future[dict[int, int]]:
        return Future()

    def committed(self, partition: int) -> int | None:
        return None

    def offset_at(self, partition: int, epoch_ms: int) -> int | None:
        return None

    def will_commit(self, partition: int, offset: int) -> None:
        """Nothing."""

    def commit(self, *, wait: bool = False) -> bool:
        return True

    def renew(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Reader:
    """Partitions that are read in step, by the given clock."""

    def __init__(self, *partitions: int) -> None:
        self.inner, self.clock = Given(), FakeClock()
        self.order = TimeOrdered(self.inner, self.clock, SPAN_MS)
        for number in partitions:
            self.order.start_at(number, 0)
        self.inner.calls.clear()
        self._next: dict[int, int] = {}

    def poll(
        self, times: dict[int, list[int]] | None = None, ends: dict[int, int] | None = None, most: int = 99
    ) -> Polled:
        records, messages = [], {}
        for number, moments in (times or {}).items():
            first = self._next.get(number, 0)
            offsets = range(first, first + len(moments))
            self._next[number] = offsets.stop
            records.append(Records(number, [b"x"] * len(moments), offsets, moments))
            messages[number] = [(number, offset) for offset in offsets]
        self.inner.next = Polled(records, messages, ends or {}, set())
        return self.order.poll(most, 0.0)


def found(given: Polled) -> dict[int, list[int]]:
    return {records.partition: list(records.record_ms) for records in given.records}


def test_what_lies_a_span_later_waits_for_the_other_partitions() -> None:
    reader = Reader(0, 1)
    assert found(reader.poll({0: [10, 9_000]})) == {}
    one = reader.poll({1: [11, 9_001]})
    assert (found(one), one.waiting) == ({0: [10], 1: [11]}, {0, 1})
    assert found(reader.poll()) == {0: [9_000], 1: [9_001]}


def test_what_lies_in_the_span_waits_for_nobody() -> None:
    """A poll is handed on as it is: a log with many events a minute loses no speed."""
    reader = Reader(0, 1)
    reader.poll({0: [10], 1: [10]})
    more = reader.poll({0: [11, 500]})
    assert found(more) == {0: [11, 500]}
    assert not more.waiting


def test_what_waits_in_the_span_is_used_up_before_more_is_fetched() -> None:
    """Else as much would wait for ever, and each record would pass through lists of what waits."""
    reader = Reader(0, 1)
    reader.poll({0: [10, 11, 12, 9_000]})
    assert found(reader.poll({1: [10]}, most=3)) == {0: [10, 11, 12]}
    assert found(reader.poll({1: [11]}, most=3)) == {1: [10, 11]}
    assert reader.inner.asked == 2, "one of three waits already; what lies behind the span does not count"
    reader.poll(most=3)
    assert reader.inner.asked == 3


def test_a_log_with_few_events_a_day_comes_in_batches_that_are_worth_it() -> None:
    reader = Reader(0, 1)
    hours = [3_600_000 * n for n in range(200)]
    polls = [reader.poll({0: hours[::2], 1: hours[1::2]}, ends={0: 100, 1: 100})]
    reader.clock.sleep(ENDED_S)
    polls += [reader.poll() for _ in range(9)]
    sizes = [sum(map(len, found(given).values())) for given in polls]
    assert sum(sizes) == len(hours)
    assert max(sizes) > 50, f"at first, visits may be open of which nothing was read: {sizes}"


def test_a_partition_that_is_at_its_end_is_waited_for_until_nothing_more_comes() -> None:
    reader = Reader(0, 1)
    assert found(reader.poll({0: [10]}, ends={1: 0})) == {}
    reader.clock.sleep(ENDED_S)
    given = reader.poll()
    assert (found(given), given.in_step) == ({0: [10]}, {0, 1})


def test_a_partition_that_is_away_is_waited_for_longer_and_its_time_stands_still() -> None:
    """Its sessions are not silent because others go on."""
    reader = Reader(0, 1)
    reader.poll({0: [10]})
    reader.clock.sleep(PATIENCE_S / 2)
    assert found(reader.poll()) == {}
    reader.clock.sleep(PATIENCE_S / 2)
    given = reader.poll()
    assert (found(given), given.in_step) == ({0: [10]}, {0})


def test_the_end_is_told_behind_the_last_record() -> None:
    reader = Reader(0)
    assert not reader.poll({0: [10, 9_000]}, ends={0: 2}).at_end
    assert reader.poll().at_end == {0: 2}


def test_what_is_held_back_comes_again_once_time_has_passed() -> None:
    reader = Reader(0, 1)
    reader.poll({0: [0], 1: [0]})
    while reader.poll({0: [9_000 * 3], 1: [9_000 * 3]}).waiting:
        pass
    given = reader.poll({0: [60_000, 60_700], 1: [60_100]})
    [one, two] = given.records
    reader.order.hold_back([(one, given.messages[0]), (two, given.messages[1])], 60_000)
    again = reader.poll()
    assert (found(again), again.pass_ms, again.in_step) == (found(given), 60_000, {0, 1})
    assert again.messages == given.messages


def test_a_partition_that_is_far_ahead_is_not_fetched_on_until_the_others_come_up() -> None:
    reader = Reader(0, 1)
    reader.poll({0: [90_000] * ENOUGH, 1: [0] * 9})
    assert reader.inner.calls == [("pause", [0])]
    reader.poll({1: [90_000]})
    while reader.poll(most=ENOUGH).records:
        pass
    assert reader.inner.calls == [("pause", [0]), ("start", (0, ENOUGH))]


def test_what_is_read_again_is_not_given_twice() -> None:
    reader = Reader(0, 1)
    reader.poll({0: [10]})
    reader.order.start_at(0, 0)
    reader._next[0] = 0
    assert found(reader.poll({0: [10], 1: [11]})) == {0: [10], 1: [11]}


@pytest.mark.parametrize("most", [1, 3, 100])
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=40), st.integers(1, 5))
def test_each_record_comes_once_and_no_time_passes_in_a_partition_before_its_records(
    most: int, log: list[tuple[int, int]], size: int
) -> None:
    """A log in order of time, fetched in pieces."""
    ordered = sorted(log, key=lambda one: one[1])
    parts = {number: [t * SPAN_MS // 3 for n, t in ordered if n == number] for number in range(3)}
    reader, seen = Reader(*parts), {number: list[tuple[int, int]]() for number in parts}
    at = dict.fromkeys(parts, 0)
    for _ in range(150):
        pieces, ends = {}, {}
        for number, times in parts.items():
            if piece := times[at[number] : at[number] + size]:
                pieces[number] = piece
                at[number] += len(piece)
            elif at[number] == len(times):
                ends[number] = len(times)
                at[number] += 1
        reader.clock.sleep(0.01)
        given = reader.poll(pieces, ends, most)
        if given.pass_ms is not None:
            for number in given.in_step:
                assert all(t >= given.pass_ms for t in parts[number][len(seen[number]) :])
        for records in given.records:
            seen[records.partition] += zip(records.offsets, records.record_ms, strict=True)
    assert seen == {number: list(enumerate(times)) for number, times in parts.items()}
