"""Notices a worker that is alive but gets nowhere.

librdkafka's heartbeats run in its own thread, so Kafka takes a stuck worker for a healthy one. The watchdog looks at
two clocks of the loop: its beat (it turns at all) and its progress (it applies events, or is proven to have none to
apply, or its group does not need it, or it waits for Redis or Kafka on purpose; see `liveness`). When either stands
still it dumps all stacks and ends the process: a supervisor's restart reads on from what is applied.

A process that was stopped and continued has its whole time again (`standstill`).
"""

import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Final, Protocol

from worker.clock import Clock
from worker.errors import ExitCode
from worker.pipeline.standstill import Standstill

log = logging.getLogger(__name__)

CHECK_EVERY_S: Final = 1.0


class Turning(Protocol):
    """What is watched; times are monotonic seconds."""

    beat: float
    progress: float
    renewed: bool


def leave(code: int) -> None:
    """End the process at once, stacks on standard error."""
    faulthandler.dump_traceback(sys.stderr)
    os._exit(code)


class Watchdog:
    """Watches from its own thread.

    Args:
        loop: whose clocks.
        clock: time.
        stuck_after_s: how long the loop may stand still.
        on_stuck: what to do then.
        leave_after_s: how long nothing may get on while the loop turns; None for the same time.
    """

    def __init__(
        self,
        loop: Turning,
        clock: Clock,
        stuck_after_s: float,
        on_stuck: Callable[[int], None] = leave,
        leave_after_s: float | None = None,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._stuck_after_s = stuck_after_s
        self._leave_after_s = stuck_after_s if leave_after_s is None else leave_after_s
        self._on_stuck = on_stuck
        self._standstill = Standstill(clock, stuck_after_s)
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        """Whether the loop has turned lately, and its Kafka client, once replaced, gets on."""
        return not self._loop.renewed and self._standstill.age_s(self._loop.beat) < self._stuck_after_s

    def stuck(self) -> str | None:
        """Why the worker is taken to be stuck, None if it is not."""
        if self._standstill.age_s(self._loop.beat) >= self._stuck_after_s:
            return "the loop stands still"
        if self._standstill.age_s(self._loop.progress) >= self._leave_after_s:
            return "the log grows and nothing is applied, or the group needs this worker and gives it no partition"
        return None

    def _watch(self) -> None:
        while True:
            self._clock.sleep(CHECK_EVERY_S)
            if stood := self._standstill.look():
                log.warning("this process did not run for %.0f s: it was stopped, or its machine stood", stood)
            if (why := self.stuck()) is not None:
                log.critical("stuck: %s; leaving so that a supervisor starts afresh", why)
                self._on_stuck(ExitCode.STUCK)
                return
