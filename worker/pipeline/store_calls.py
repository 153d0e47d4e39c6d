"""Calls to the store, repeated until it answers.

A call whose outcome is unknown is made again: reads change nothing, and a write applies once.
"""

import logging
import random
from collections.abc import Callable
from typing import Final, TypeVar

from featurestore.errors import StoreUnavailable
from worker.clock import Clock
from worker.metrics.metrics import Metrics
from worker.pipeline.flow import Flow

log = logging.getLogger(__name__)

T = TypeVar("T")

BACKOFF_FIRST_S: Final = 0.05
BACKOFF_MOST_S: Final = 2.0


class StoreCalls:
    """Sends questions early, reads answers late, and asks again what was not answered.

    Args:
        flow: pauses reading, and keeps the membership, while the store is away.
        metrics: counts retries and pauses.
        clock: time.
    """

    def __init__(self, flow: Flow, metrics: Metrics, clock: Clock) -> None:
        self._flow = flow
        self._metrics = metrics
        self._clock = clock

    def asked(self, op: str, begin: Callable[[], Callable[[], T]]) -> Callable[[], T]:
        """Send a question; whoever reads the answer waits until the store has one."""
        begun = self.begun(begin)
        return lambda: self.answered(op, begun, lambda: begin()())  # noqa: PLW0108 - each time sent anew

    def begun(self, begin: Callable[[], Callable[[], T]]) -> Callable[[], T] | None:
        """Send now, read later; None if it could not be sent, so that reading asks again."""
        try:
            return begin()
        except StoreUnavailable:
            return None

    def answered(self, op: str, begun: Callable[[], T] | None, again: Callable[[], T]) -> T:
        """The answer under way, if there is one; a new question whenever that fails.

        Raises:
            Stopping: the worker is asked to stop while the store is away.
        """

        def read() -> T:
            nonlocal begun
            if begun is None:
                return again()
            answer, begun = begun, None
            return answer()

        return self.call(op, read)

    def call(self, op: str, call: Callable[[], T]) -> T:
        """Call the store until it answers: pause, keep polling, back off with jitter.

        Raises:
            Stopping: the worker is asked to stop meanwhile.
        """
        wait = BACKOFF_FIRST_S
        paused_at = None
        while True:
            try:
                answer = call()
            except StoreUnavailable as error:
                self._metrics.store_retries.inc(op)
                if paused_at is None:
                    paused_at = self._clock.monotonic()
                    self._flow.pause(str(error))
                    log.warning("%s", error)
                until = self._clock.monotonic() + wait * (0.5 + random.random() / 2)
                while self._clock.monotonic() < until:
                    self._flow.keep_alive()
                wait = min(wait * 2, BACKOFF_MOST_S)
            else:
                if paused_at is not None:
                    seconds = self._clock.monotonic() - paused_at
                    self._metrics.store_paused_seconds.inc(by=seconds)
                    log.info("Redis answers again after %.1f s", seconds)
                    self._flow.resume()
                return answer
