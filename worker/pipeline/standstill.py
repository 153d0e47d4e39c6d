"""Tells a process that was stopped and continued, or whose machine was suspended, from a loop that does nothing.

Such a process finds all its life signs old, though nothing in it had a chance to give one. Whoever judges by their age
looks here at short intervals: after a break between two looks that is far too long, age counts anew.
"""

from typing import Final

from worker.clock import Clock

SHARE: Final = 0.25
"""A break longer than this share of the time that a sign may be old: the whole process stood."""
SHORTEST_S: Final = 2.0
"""No shorter break counts: a busy machine wakes a thread late."""


class Standstill:
    """For one thread that looks; `age_s` may be asked from any.

    Args:
        clock: time.
        patience_s: how old a life sign may be.
    """

    def __init__(self, clock: Clock, patience_s: float) -> None:
        self._clock = clock
        self._longest_s = max(SHARE * patience_s, SHORTEST_S)
        self._looked = self._since = clock.monotonic()

    def look(self) -> float:
        """How many seconds the process stood since the last look; 0 if it ran."""
        now = self._clock.monotonic()
        stood, self._looked = now - self._looked, now
        if stood <= self._longest_s:
            return 0.0
        self._since = now
        return stood

    def age_s(self, sign: float) -> float:
        """How old a life sign is, in seconds in which this process ran; ``sign`` is in monotonic seconds."""
        now = self._clock.monotonic()
        if now - self._looked > self._longest_s:  # continued a moment ago; the thread that looks comes later
            now = self._looked
        return now - max(sign, self._since)
