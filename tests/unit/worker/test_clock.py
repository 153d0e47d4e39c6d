"""A clock that does not run ahead of another machine's."""

import pytest

from worker.clock import LOOK_EVERY_S, HeldBack


class Clocks:
    """This machine's clock, and Redis's as `theirs`; None while it does not answer."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.set_by_ms = 0
        self.theirs_by_ms: int | None = 0
        self.asked = 0

    def now_ms(self) -> int:
        return round(self.seconds * 1000) + self.set_by_ms

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def theirs(self) -> int | None:
        self.asked += 1
        return None if self.theirs_by_ms is None else round(self.seconds * 1000) + self.theirs_by_ms

    @property
    def right_ms(self) -> int:
        return round(self.seconds * 1000)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_a_fast_clock_is_held_back_from_the_start(clocks: Clocks) -> None:
    clocks.set_by_ms = 600_000
    assert HeldBack(clocks, clocks.theirs).now_ms() == clocks.right_ms


def test_a_slow_clock_stays_as_it_is(clocks: Clocks) -> None:
    """Time that is late makes nobody silent too early; nobody knows which of two clocks is right."""
    clocks.set_by_ms = -600_000
    assert HeldBack(clocks, clocks.theirs).now_ms() == clocks.right_ms - 600_000


def test_a_clock_that_is_set_is_noticed_at_once(clocks: Clocks) -> None:
    held = HeldBack(clocks, clocks.theirs)
    clocks.sleep(0.1)
    clocks.set_by_ms = 600_000
    held.poll()
    assert held.now_ms() == clocks.right_ms
    clocks.set_by_ms = 0
    held.poll()
    assert held.now_ms() == clocks.right_ms


def test_clocks_are_compared_now_and_then(clocks: Clocks) -> None:
    """A clock may drift slowly, and Redis may fail over to a machine with another one."""
    held = HeldBack(clocks, clocks.theirs)
    for _ in range(10):
        clocks.sleep(LOOK_EVERY_S / 100)
        held.poll()
    assert clocks.asked == 1
    clocks.theirs_by_ms = -5_000
    clocks.sleep(LOOK_EVERY_S)
    held.poll()
    assert held.now_ms() == clocks.right_ms - 5_000


def test_small_differences_do_not_count(clocks: Clocks) -> None:
    clocks.set_by_ms = 300
    assert HeldBack(clocks, clocks.theirs).now_ms() == clocks.right_ms + 300


def test_a_redis_that_does_not_answer_is_asked_again(clocks: Clocks) -> None:
    clocks.set_by_ms = 600_000
    clocks.theirs_by_ms = None
    held = HeldBack(clocks, clocks.theirs)
    clocks.theirs_by_ms = 0
    held.poll()
    assert held.now_ms() == clocks.right_ms
