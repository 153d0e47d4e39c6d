"""How much one turn of the loop takes, and whether a batch waits in flight for the one behind it. Pure."""

from typing import Final

CALM: Final = 8
"""A batch of at most this part of the largest shows that little waits."""


class Pace:
    """Follows how fast records come and how long turns take.

    Args:
        most: largest batch.
        target_ms: a batch is made smaller while it takes longer.

    Attributes:
        size: records to ask for in the next turn.
        deep: whether a batch waits in flight for the next one, so that the worker need not wait for Redis.
    """

    def __init__(self, most: int, target_ms: int) -> None:
        self._most = most
        self._target_s = target_ms / 1000
        self.size = most
        self.deep = False

    def deepen(self, read: int, *, full: bool) -> bool:
        """Set and return `deep` after a turn that read ``records``; ``full``: more may wait.

        A batch waits from when more waits in Kafka than a batch takes until what comes is little. In between nothing
        changes: a turn that ends the waiting decides two batches, and what comes meanwhile would mostly fill the next.
        """
        if full:
            self.deep = True
        elif read <= self._most // CALM:
            self.deep = False
        return self.deep

    def resize(self, seconds: float, *, full: bool) -> None:
        """Bound what a burst brings into one turn of the loop, so that the turn takes no longer than the target.

        A batch is as small as what came during the turn before it. The bound counts only where more waits; if more
        still waits after it, keeping up comes first: small batches cost more an event, and would keep all waiting.
        """
        if full:
            self.size = min(2 * self.size, self._most)
        elif seconds > self._target_s:
            self.size = max(self.size - self.size // 4, self._most // 4, 1)
