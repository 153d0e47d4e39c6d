"""Time, injected: monotonic seconds for durations, epoch milliseconds for event time."""

import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 5.0
TOLERANCE_MS: Final = 1_000
"""How far clocks may differ, or one may have been set, before anything is done about it."""


class Clock(Protocol):
    """What the worker may ask about time."""

    def now_ms(self) -> int:
        """Wall clock, epoch milliseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """See `Clock`."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        time.sleep(seconds)


class HeldBack:
    """A clock that follows another machine's clock where its own is ahead.

    A worker whose clock is fast would call every shopper silent who has not clicked in that time to come. A slow one is
    only late. So of this machine's clock and Redis's the slower one counts.

    Args:
        clock: this machine's.
        ask: the other machine's time, epoch milliseconds; None where it does not answer.
    """

    def __init__(self, clock: Clock, ask: Callable[[], int | None]) -> None:
        self._clock = clock
        self._ask = ask
        self._ahead_ms = 0
        self._look_at = 0.0
        self._offset_ms = self._offset()
        self.poll()

    def now_ms(self) -> int:
        """See `Clock`."""
        return self._clock.now_ms() - self._ahead_ms

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._clock.monotonic()

    def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        self._clock.sleep(seconds)

    def poll(self) -> None:
        """Compare the clocks every few seconds, and at once after this machine's has been set."""
        offset = self._offset()
        now = self._clock.monotonic()
        if now < self._look_at and abs(offset - self._offset_ms) < TOLERANCE_MS:
            return
        own = self._clock.now_ms()
        theirs = self._ask()
        if theirs is None:
            return
        self._offset_ms = offset
        self._look_at = now + LOOK_EVERY_S
        ahead = own - theirs if own - theirs > TOLERANCE_MS else 0
        if bool(ahead) != bool(self._ahead_ms):
            log.warning("this machine's clock is %.1f s ahead of Redis's; the earlier one counts", ahead / 1000)
        self._ahead_ms = ahead

    def _offset(self) -> int:
        return self._clock.now_ms() - round(self._clock.monotonic() * 1000)
