"""The time that a partition's timers go by.

While a worker lags, wall-clock time would call every waiting shopper idle: an outage would end in a burst of false
Drop-Off Risks. The time of a record proves nothing either: it is its producer's clock, and one that is ahead would do
the same. So in ``live`` mode a partition's time is the moment up to which Kafka has proven that everything is read: it
was asked then where its log ends, and that end is read now (`Partition.proven_ms`). That holds under lag as well, with
the end as it was told earlier. Records only hold that time back: where they come in late, all of them a little, those
that are under way are waited for. ``event`` mode, for historical data, uses the time of the newest record only.
"""

from typing import Final

from worker.partitions.partition import Partition

GRACE_MS: Final = 200
"""How long an event may be under way before the silence it would have broken is acted on."""

RECENT_MS: Final = 1_000
"""A partition with a record this young does not go beyond its newest record."""

DUE_LIMIT: Final = 2_000
"""Most deadlines of one partition taken at once."""


def timer_now(partition: Partition, wall_ms: int, mode: str) -> int | None:
    """Epoch ms up to which the partition's deadlines have passed; None while that cannot be told.

    Args:
        partition: whose timers.
        wall_ms: wall clock.
        mode: ``live``, ``event`` (never the wall clock) or ``off``.
    """
    if mode == "off" or not partition.running:
        return None
    newest = partition.watermark
    known = newest if mode == "event" else partition.proven_ms
    if known is None:
        return None
    if newest is not None and newest >= wall_ms - RECENT_MS:
        known = min(known, newest)
    return min(known, wall_ms) - GRACE_MS
