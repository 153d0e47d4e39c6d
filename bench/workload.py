"""The events that are measured with: simulated shoppers, the same bytes every time."""

from functools import cache
from typing import Final

from decisions.intake import Records
from models.simulator.simulator import SimConfig, SimEvent, simulate

SEED: Final = 6
SESSIONS_PER_S: Final = 100.0
"""About 10,000 shoppers at a time in the shop, 950 events a second of its own time."""


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
