"""Segments of finished visits: each belongs to the nearest of some typical visits, and is told by its name.

A visit is compared with the centres in the space of some columns of the wide view, each as log(1 + value), less its
mean, over its deviation. A segment is what a visit *was*: early in a visit its guess is mostly another one, so it is
never asked of a live session.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from featurestore.session.segments import MOST_SEGMENTS, centres_of, code_of, kind_of, nearest_rows
from featurestore.session.views import WIDE

Floats = NDArray[np.float64]
ARRAYS: Final = ("mean", "scale", "centres", "rows", "expected")
"""What `Segments.arrays` holds."""


@dataclass(frozen=True)
class Segments:
    """Typical visits.

    Attributes:
        names: of the k segments.
        columns: of the wide view, m of them.
        mean: (m,) of the columns as logarithms.
        scale: (m,) their deviations, positive.
        centres: (k, m), in units of the deviations.
        rows: golden rows (n, m), values of the columns.
        expected: (n,) the segment of each golden row.
        training: facts and figures; must be JSON.

    Raises:
        ValueError: the parts do not fit together, or a column is unknown to this release.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    mean: Floats
    scale: Floats
    centres: Floats
    rows: Floats
    expected: NDArray[np.int64]
    training: Mapping[str, JsonValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        k, m, n = len(self.names), len(self.columns), len(self.expected)
        if unknown := [column for column in self.columns if column not in WIDE]:
            raise ValueError(f"segments: the wide view has no column {', '.join(unknown)}")
        if k > MOST_SEGMENTS:
            raise ValueError(f"segments: there are {k}, and a fold compares with {MOST_SEGMENTS} at most")
        if len(set(self.names)) != k or len(set(self.columns)) != m or not k or not m or not n:
            raise ValueError("segments: names, columns and golden rows are needed, each name and column once")
        shapes = (self.mean.shape, self.scale.shape, self.centres.shape, self.rows.shape, self.expected.shape)
        if shapes != ((m,), (m,), (k, m), (n, m), (n,)):
            raise ValueError(f"segments: the arrays do not fit {k} names and {m} columns")
        if not all(np.isfinite(part).all() for part in (self.mean, self.scale, self.centres)) or self.scale.min() <= 0:
            raise ValueError("segments: centres must be finite, and deviations positive")

    @cached_property
    def record(self) -> NDArray[np.void]:
        """The same for the fold, which tells a visitor's next visit: one row of `CENTRES`."""
        return self._record([WIDE.index(column) for column in self.columns])

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """What visits can have been, each once: names of segments without what tells two of a kind apart."""
        return tuple(dict.fromkeys(map(kind_of, self.names)))

    @cached_property
    def codes(self) -> NDArray[np.uint8]:
        """The stored code of each segment's kind, shape (k,)."""
        return np.array([code_of(kind_of(name)) for name in self.names], np.uint8)

    def of(self, wide: Floats) -> NDArray[np.int64]:
        """The segment (n,) of each finished visit, from rows of the wide view after its last event."""
        return _nearest(wide, self.record)

    def nearest(self, X: Floats) -> NDArray[np.int64]:
        """The same of rows (n, m) of the columns; of two that are as near, the first."""
        return _nearest(X, self._record(range(len(self.columns))))

    def _record(self, places: Sequence[int]) -> NDArray[np.void]:
        return centres_of(self.names, places, self.mean, self.scale, self.centres)

    def check(self) -> None:
        """Refuse to be used where the golden rows fall into other segments than they did.

        Raises:
            ValueError: so it is.
        """
        if not np.array_equal(self.nearest(self.rows), self.expected):
            raise ValueError(
                "this machine puts the golden rows of the segments elsewhere, so its segments would differ"
            )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What is stored beside names, columns and facts; see `ARRAYS`."""
        return {name: getattr(self, name) for name in ARRAYS}


def _nearest(rows: Floats, record: NDArray[np.void]) -> NDArray[np.int64]:
    found = np.empty(len(rows), np.int64)
    nearest_rows(np.ascontiguousarray(rows), record, found)
    return found


def logs(X: Floats) -> Floats:
    """log(1 + value) of each cell; what is not known (-1) counts as 0."""
    return np.log1p(np.maximum(X, 0.0))


def scaled(X: Floats, mean: Floats, scale: Floats) -> Floats:
    """Rows (n, m) in the space of the centres."""
    return (logs(X) - mean) / scale
