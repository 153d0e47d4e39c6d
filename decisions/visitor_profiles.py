"""Visitors' profiles in memory, for one pass over a log: what a store's profile script does, for many at once."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.hash_index import FREE, empty_index, fill, free_place, place_of
from featurestore.columns.jit import compiled
from featurestore.session.state import remember
from featurestore.session.visitors import PROFILE

_FEW: Final = 1 << 10
"""Room for visitors at first."""


class VisitorProfiles:
    """Profiles by the hash of the visitor."""

    def __init__(self) -> None:
        self._held = 0
        self._visitors = np.zeros(_FEW, np.uint64)
        self._profiles = np.zeros(_FEW, PROFILE)
        self._index = empty_index(_FEW)

    def table(self, visitors: NDArray[np.uint64]) -> NDArray[np.void]:
        """The profiles of visitors, who ascend, for all sessions of a batch; those of unknown ones are empty."""
        table = np.zeros(visitors.size, PROFILE)
        _read(self._index, self._visitors, self._profiles, visitors, table)
        table["visitor"], table["end"] = visitors, np.iinfo(np.int32).max
        return table

    def remember(self, ended: NDArray[np.void], shown: NDArray[np.uint8], segments: NDArray[np.uint8]) -> None:
        """Count sessions that ended, in this order: their states, what they were shown, and what they were."""
        if self._held + ended.size > self._visitors.size:
            room = 2 * (self._held + ended.size)
            visitors, profiles = np.zeros(room, np.uint64), np.zeros(room, PROFILE)
            visitors[: self._held] = self._visitors[: self._held]
            profiles[: self._held] = self._profiles[: self._held]
            self._visitors, self._profiles, self._index = visitors, profiles, empty_index(room)
            fill(self._index, visitors, self._held)
        self._held = _remember(self._index, self._visitors, self._profiles, self._held, ended, shown, segments)


@compiled
def _read(
    index: NDArray[np.int32],
    visitors: NDArray[np.uint64],
    profiles: NDArray[np.void],
    wanted: NDArray[np.uint64],
    out: NDArray[np.void],
) -> None:
    for i in range(wanted.size):
        row = index[place_of(index, visitors, wanted[i])]
        if row != FREE:
            out[i] = profiles[row]


@compiled
def _remember(
    index: NDArray[np.int32],
    visitors: NDArray[np.uint64],
    profiles: NDArray[np.void],
    held: int,
    ended: NDArray[np.void],
    shown: NDArray[np.uint8],
    segments: NDArray[np.uint8],
) -> int:
    for i in range(ended.size):
        state = ended[i]
        if state["visitor"] == 0:
            continue
        row = index[place_of(index, visitors, state["visitor"])]
        if row == FREE:
            row = held
            held += 1
            visitors[row] = state["visitor"]
            index[free_place(index, state["visitor"])] = row
        remember(profiles[row], state, shown[i], segments[i])
    return held
