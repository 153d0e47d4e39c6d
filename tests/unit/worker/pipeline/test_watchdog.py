"""A worker that is alive but gets nowhere is noticed, and one that waits on purpose is not."""

import threading
from dataclasses import dataclass

import pytest

from worker.errors import ExitCode
from worker.pipeline.watchdog import CHECK_EVERY_S, Watchdog


@dataclass
class Turning:
    beat: float = 0.0
    progress: float = 0.0
    renewed: bool = False


class StoppedClock:
    """Time stands still; the watchdog's own thread sleeps for good unless a test lets time pass."""

    def __init__(self) -> None:
        self.now = 0.0
        self.wake = threading.Semaphore(0)
        self.asleep = threading.Semaphore(0)

    def now_ms(self) -> int:
        return round(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds == CHECK_EVERY_S
        self.asleep.release()
        self.wake.acquire()

    def passes(self, seconds: int, *, stopped: bool = False) -> None:
        """Let time pass, nap by nap; ``stopped``: the process stands for all of it, and the watchdog naps on."""
        for _ in range(1 if stopped else seconds):
            assert self.asleep.acquire(timeout=5)
            self.now += seconds if stopped else 1
            self.wake.release()
        assert self.asleep.acquire(timeout=5)
        self.asleep.release()


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


def test_a_loop_that_turns_and_applies_is_well(clock: StoppedClock) -> None:
    watchdog = Watchdog(Turning(), clock, 10)
    clock.passes(9)
    clock.now += 0.9
    assert watchdog.alive()
    assert watchdog.stuck() is None


def test_a_loop_that_stands_still_is_stuck(clock: StoppedClock) -> None:
    watchdog = Watchdog(Turning(progress=100), clock, 10, lambda _: None)
    clock.passes(9)
    clock.now += 1
    assert not watchdog.alive()
    assert watchdog.stuck() == "the loop stands still"


def test_a_loop_that_turns_while_the_log_grows_and_nothing_is_applied_is_stuck(clock: StoppedClock) -> None:
    watchdog = Watchdog(Turning(beat=100), clock, 10, lambda _: None)
    clock.passes(9)
    clock.now += 1
    assert watchdog.alive()
    assert (watchdog.stuck() or "").startswith("the log grows and nothing is applied")


def test_a_client_that_was_replaced_is_not_alive_before_it_gets_on(clock: StoppedClock) -> None:
    turning = Turning(renewed=True)
    watchdog = Watchdog(turning, clock, 10)
    assert not watchdog.alive()
    turning.renewed = False
    assert watchdog.alive()


def test_the_process_is_ended_with_the_documented_code(clock: StoppedClock) -> None:
    codes: list[int] = []
    ended = threading.Event()

    def leave(code: int) -> None:
        codes.append(code)
        ended.set()

    Watchdog(Turning(), clock, 10, leave)
    clock.passes(9)  # looks at a healthy loop
    assert not codes
    clock.now = 10
    clock.wake.release()
    assert ended.wait(5)
    assert codes == [ExitCode.STUCK]


def test_a_process_that_was_stopped_and_continued_has_its_whole_time_again(clock: StoppedClock) -> None:
    """Its clocks are old, but its loop had no chance to turn; one that does not turn then is stuck all the same."""
    codes: list[int] = []
    watchdog = Watchdog(Turning(), clock, 10, codes.append)
    clock.passes(5)
    clock.now += 70
    assert watchdog.alive(), "a probe that comes before the watchdog has woken"
    assert watchdog.stuck() is None
    clock.now -= 70
    clock.passes(70, stopped=True)
    assert watchdog.alive()
    clock.passes(9)
    assert not codes
    clock.now += 1
    assert not watchdog.alive()
    assert watchdog.stuck() == "the loop stands still"


@pytest.mark.parametrize("nap", [1, 2])
def test_naps_of_a_busy_machine_excuse_no_loop(clock: StoppedClock, nap: int) -> None:
    watchdog = Watchdog(Turning(), clock, 10, lambda _: None)
    for _ in range(0, 8, nap):
        clock.passes(nap, stopped=True)
    clock.now += 2
    assert watchdog.stuck() == "the loop stands still"
