"""The events that are measured with: simulated shoppers, the same bytes every time."""

from functools import cache
from typing import Final

import numpy as np

from decisions.intake import Records
from models.simulator.simulator import SimConfig, SimEvent, simulate

SEED: Final = 6
SESSIONS_PER_S: Final = 100.0
"""About 10,000 shoppers at a time in the shop, 950 events a second of its own time."""
MURMUR_SEED: Final = 0x9747B28C


@cache
def shoppers(events: int, skip: int = 0) -> list[SimEvent]:
    """The first ``events`` events after ``skip`` of a shop, in the order of arrival."""
    out: list[SimEvent] = []
    for chunk in simulate(SimConfig(sessions=(events + skip) // 8 + 2_000, seed=SEED, sessions_per_s=SESSIONS_PER_S)):
        out += chunk
        if len(out) >= events + skip:
            break
    return out[skip : skip + events]


def batches(events: list[SimEvent], size: int) -> list[Records]:
    """The events as one partition's batches."""
    return [
        Records(
            0,
            [value for _, value, _ in part],
            list(range(first, first + len(part))),
            [at for _, _, at in part],
        )
        for first in range(0, len(events), size)
        if (part := events[first : first + size])
    ]


def partition_of(key: bytes, partitions: int) -> int:
    """Where ``murmur2_random`` puts a key.

    >>> partition_of(b"s6-1", 4) in range(4)
    True
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """The hash of Kafka's Java client, as an unsigned number (Austin Appleby's MurmurHash2, seed of Kafka).

    >>> murmur2(b"21") - 2**32
    -973932308
    """
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = MURMUR_SEED ^ len(data)
    whole = len(data) & ~3
    for word in np.frombuffer(data[:whole], "<u4").tolist():
        k = word * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    tail = data[whole:]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15
