"""Tombstones of erased sessions and visitors: what a worker must not bring back when it reads the log again.

A hash of the deployment: ``s:<hash of the session id>`` or ``v:<hash of the visitor id>`` → epoch ms of the erasure, in
decimal. A worker reads them whenever it takes a partition, and an erasure takes every partition that it touches away
for a moment (`erasure`), so no worker writes without having seen the tombstones.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray


def session_field(session: int) -> str:
    """The field of a session, by the hash of its id."""
    return f"s:{session:016x}"


def visitor_field(visitor: int) -> str:
    """The field of a visitor, by the hash of its id."""
    return f"v:{visitor:016x}"


def visitors_in(fields: Iterable[str]) -> list[int]:
    """The hashes of the visitors among fields.

    >>> visitors_in(["s:00000000000000ff", "v:0000000000000001"])
    [1]
    """
    found = (field.partition(":") for field in fields)
    return [int(text, 16) for kind, _, text in found if kind == "v"]


class Erased(NamedTuple):
    """Hash → epoch ms of the erasure."""

    sessions: Mapping[int, int]
    visitors: Mapping[int, int]

    @classmethod
    def of(cls, stored: Mapping[str, int]) -> Self:
        """From the fields of the hash.

        >>> Erased.of({"s:00000000000000ff": 5, "v:0000000000000001": 6})
        Erased(sessions={255: 5}, visitors={1: 6})
        """
        tables: dict[str, dict[int, int]] = {"s": {}, "v": {}}
        for field, at in stored.items():
            kind, _, text = field.partition(":")
            tables[kind][int(text, 16)] = at
        return cls(tables["s"], tables["v"])

    def any(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self.sessions or self.visitors)

    def covers(
        self, sessions: NDArray[np.uint64], visitors: NDArray[np.uint64], t: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which events happened before the erasure of their session or visitor; arguments and result of shape (n,)."""
        return _before(self.sessions, sessions, t) | _before(self.visitors, visitors, t)


def _before(table: Mapping[int, int], hashes: NDArray[np.uint64], t: NDArray[np.int64]) -> NDArray[np.bool_]:
    if not table:
        return np.zeros(t.size, np.bool_)
    until = np.fromiter((table.get(h, -1) for h in hashes.tolist()), np.int64, hashes.size)
    covered: NDArray[np.bool_] = t <= until
    return covered
