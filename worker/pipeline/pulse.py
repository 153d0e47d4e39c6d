"""What the outside sees of the loop: that it turns, that it gets on, what it waits for; and the wish to stop."""

from worker.clock import Clock


class Stopping(Exception):
    """The worker is asked to stop while a step waits; nothing of the batch in flight was applied."""


class Pulse:
    """The loop's life signs. Read from other threads; written by the loop, but for `stop`.

    Attributes:
        beat: monotonic seconds at which the loop last turned.
        progress: monotonic seconds at which it last applied something, had nothing to apply, or waited on purpose.
        trouble: why the worker is not ready, None if it is.
        stopping: whether it is asked to stop.
    """

    def __init__(self, clock: Clock, trouble: str | None = None) -> None:
        self._clock = clock
        self.beat = clock.monotonic()
        self.progress = clock.monotonic()
        self.trouble = trouble
        self.stopping = False

    def turned(self) -> None:
        """The loop has come round."""
        self.beat = self._clock.monotonic()

    def progressed(self) -> None:
        """Something was applied, or there is nothing to apply."""
        self.progress = self._clock.monotonic()

    def waits(self, why: str) -> None:
        """The worker does not work, and why."""
        self.trouble = why

    def works(self) -> None:
        """Nothing is in the way."""
        self.trouble = None

    def stop(self) -> None:
        """Ask the loop to stop; safe in a signal handler."""
        self.stopping = True
