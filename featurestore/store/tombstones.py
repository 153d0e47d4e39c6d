"""Tombstones of erased sessions and visitors: what a worker must not bring back when it reads the log again.

A hash of the deployment: ``s:<hash of the session id>`` or ``v:<hash of the visitor id>`` → ``2:`` and the epoch ms of
the erasure in decimal; version 1 had the decimal alone. A worker reads them whenever it takes a partition, and an
erasure takes every partition that it touches away for a moment (`erasure`), so no worker writes without having seen the
tombstones.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from featurestore.errors import CorruptRecord
from featurestore.versions import RECORD_VERSION, VERSION_BEFORE

_MARK: Final = f"{RECORD_VERSION}:"
_DIGITS: Final = len("9007199254740991")


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


def tombstone(at_ms: int, version: int = RECORD_VERSION) -> str:
    """What is stored for an erasure.

    >>> tombstone(5), tombstone(5, 1)
    ('2:5', '5')
    """
    return str(at_ms) if version == VERSION_BEFORE else f"{_MARK}{at_ms}"


def erased_at(stored: bytes) -> int:
    """When the erasure was, epoch ms.

    Raises:
        CorruptRecord: the bytes are no tombstone.
    """
    text = stored.decode("ascii", "replace").removeprefix(_MARK)
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise CorruptRecord("a tombstone is not of a version that this release reads")
    return int(text)


class Erased(NamedTuple):
    """Hash → epoch ms of the erasure.

    Attributes:
        sessions: by the hash of the session id.
        visitors: by the hash of the visitor id.
        corrupt: how many entries could not be read.
    """

    sessions: Mapping[int, int]
    visitors: Mapping[int, int]
    corrupt: int = 0

    @classmethod
    def of(cls, stored: Mapping[bytes, bytes], now_ms: int) -> Self:
        """From the fields of the hash. Where the time cannot be read, everything up to now counts as erased.

        Args:
            stored: the hash.
            now_ms: epoch ms.

        >>> Erased.of({b"s:00000000000000ff": b"2:5", b"v:0000000000000001": b"6", b"v:0000000000000002": b"?"}, 9)
        Erased(sessions={255: 5}, visitors={1: 6, 2: 9}, corrupt=1)
        """
        tables: dict[bytes, dict[int, int]] = {b"s": {}, b"v": {}}
        corrupt = 0
        for field, value in stored.items():
            kind, _, text = field.partition(b":")
            try:
                table, of = tables[kind], int(text, 16)
            except (KeyError, ValueError):
                corrupt += 1  # nobody can tell whose it is
                continue
            try:
                table[of] = erased_at(value)
            except CorruptRecord:
                corrupt += 1
                table[of] = now_ms
        return cls(tables[b"s"], tables[b"v"], corrupt)

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
