"""What the outside sees of the loop: that it turns, that it gets on, what it waits for; and the wish to stop."""

from worker.clock import Clock


class Stopping(Exception):
    """The worker is asked to stop while a step waits; nothing of the batch in flight was applied."""


class Pulse:
    """The loop's life signs. Read from other threads; written by the loop, but for `stop`.

    Attributes:
        beat: monotonic seconds at which the loop last turned.
        progress: monotonic seconds at which it last applied something, had nothing to apply, or waited on purpose.
        renewed: whether a new Kafka client was started since it last got on.
        stopping: whether it is asked to stop.
    """

    def __init__(self, clock: Clock, standing: str | None = None) -> None:
        self._clock = clock
        self.beat = clock.monotonic()
        self.progress = clock.monotonic()
        self.renewed = False
        self.stopping = False
        self._wait: str | None = None
        self._standing = standing

    @property
    def trouble(self) -> str | None:
        """Why the worker is not ready, None if it is."""
        return self._wait or self._standing

    def turned(self) -> None:
        """The loop has come round."""
        self.beat = self._clock.monotonic()

    def progressed(self, *, proven: bool = True) -> None:
        """Note that something was applied, or nothing is left to apply. ``proven=False``: the loop waits for others."""
        self.progress = self._clock.monotonic()
        if proven:
            self.renewed = False

    def waits(self, why: str) -> None:
        """A step waits, and why."""
        self._wait = why

    def works(self) -> None:
        """No step waits any more."""
        self._wait = None

    def stands(self, why: str | None) -> None:
        """Whether the partitions are well, None, or what is wrong with them."""
        self._standing = why

    def starts_over(self) -> None:
        """A new Kafka client takes the place of one that does nothing."""
        self.renewed = True

    def stop(self) -> None:
        """Ask the loop to stop; safe in a signal handler."""
        self.stopping = True
