"""How much anybody may send: token buckets, bounded in memory. Pure but for the time that is passed in."""

from collections import OrderedDict
from typing import Final

MOST_BUCKETS: Final = 100_000


class Limit:
    """One bucket a name: ``rate`` units a second, ``burst`` at once. A rate of 0 is no limit.

    The `most` names that were used last are kept; a forgotten name that comes back begins with a full bucket.
    """

    def __init__(self, rate: float, burst: float, most: int = MOST_BUCKETS) -> None:
        self._rate = rate
        self._burst = burst
        self._most = most
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, units: float, now_s: float) -> float:
        """Take units; 0.0 if they were there, else after how many seconds they will be, and nothing was taken.

        More than ``burst`` at once passes a full bucket, which then owes the rest: else it would never pass.
        """
        if self._rate <= 0:
            return 0.0
        left, at = self._buckets.pop(name, (self._burst, now_s))
        left = min(self._burst, left + (now_s - at) * self._rate)
        needed = min(units, self._burst)
        wait_s = 0.0 if left >= needed else (needed - left) / self._rate
        self._buckets[name] = (left if wait_s else left - units, now_s)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return wait_s
