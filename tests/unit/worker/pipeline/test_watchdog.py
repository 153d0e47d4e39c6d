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
    """Time stands still; the watchdog's own thread sleeps for good unless a test wakes it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.wake = threading.Semaphore(0)

    def now_ms(self) -> int:
        return round(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds == CHECK_EVERY_S
        self.wake.acquire()


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


def test_a_loop_that_turns_and_applies_is_well(clock: StoppedClock) -> None:
    watchdog = Watchdog(Turning(), clock, 10)
    clock.now = 9.9
    assert watchdog.alive()
    assert watchdog.stuck() is None


def test_a_loop_that_stands_still_is_stuck(clock: StoppedClock) -> None:
    watchdog = Watchdog(Turning(progress=100), clock, 10)
    clock.now = 10
    assert not watchdog.alive()
    assert watchdog.stuck() == "the loop stands still"


def test_a_loop_that_turns_while_the_log_grows_and_nothing_is_applied_is_stuck(clock: StoppedClock) -> None:
    watchdog = Watchdog(Turning(beat=100), clock, 10)
    clock.now = 100
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
    clock.wake.release()  # a look at a healthy loop
    clock.now = 11
    clock.wake.release()
    assert ended.wait(5)
    assert codes == [ExitCode.STUCK]
