"""The time that a partition's timers go by.

While a worker lags, wall-clock time would call every waiting shopper idle: an outage would end in a burst of false
Drop-Off Risks. So a partition's time is that of its newest record until it has been read to its end, and the wall clock
only from then on, and only while Kafka confirms that there is nothing left: a broker that is away is no silence.
"""

from typing import Final

from worker.partitions.partition import Partition

GRACE_MS: Final = 200
"""How long an event may be under way before the silence it would have broken is acted on."""

RECENT_MS: Final = 1_000
"""A partition with a record this young goes by its records, also at its end: nobody needs to be asked."""

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
    newest = None if partition.watermark is None else min(partition.watermark, wall_ms) - GRACE_MS
    if newest is not None and newest >= wall_ms - RECENT_MS:
        return newest
    if mode == "live" and partition.at_end and partition.read_to >= partition.high:
        return wall_ms - GRACE_MS
    return newest
