"""Which kind of visit a finished session was: the nearest of some typical visits. The fold asks when a session ends.

The kind is kept in the visitor's profile (`visitors`) and read by the next visit, so its code is persisted: it is a
place in `KINDS`, not in one bundle's list of segments, and another bundle understands it.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled
from featurestore.session.views import N_WIDE

KINDS: Final = ("buyers", "checkout leavers", "cart leavers", "comparers", "browsers", "glances")
"""What a visit can have been. Codes are stored (the place and 1; 0 is not known): append, never reorder."""

MOST_KINDS: Final = 127
"""A profile has seven bits for the code."""
MOST_SEGMENTS: Final = 16

CENTRES: Final = np.dtype(
    [
        ("segments", "<i8"),  # how many
        ("columns", "<i8"),  # how many
        ("column", "<i8", (N_WIDE,)),  # of the wide view
        ("mean", "<f8", (N_WIDE,)),
        ("scale", "<f8", (N_WIDE,)),
        ("code", "u1", (MOST_SEGMENTS,)),  # of each segment's kind
        ("centre", "<f8", (MOST_SEGMENTS, N_WIDE)),
    ]
)
"""Typical visits as one record, which compiled code takes as a pointer; see `models.heads.segments.Segments`."""

NO_CENTRES: Final = np.zeros(1, CENTRES)
"""Of a bundle without segments: nothing is known of a finished visit."""


def kind_of(name: str) -> str:
    """The kind of a segment, by its name.

    >>> kind_of("glances, 3 clicks"), kind_of("browsers (2)")
    ('glances', 'browsers')
    """
    return name.partition(",")[0].partition(" (")[0]


def code_of(kind: str) -> int:
    """The stored code of a kind; 0 for one that this release does not know.

    >>> code_of("buyers"), code_of("somebody else")
    (1, 0)
    """
    return KINDS.index(kind) + 1 if kind in KINDS else 0


def kind_name(code: int) -> str:
    """The kind with a stored code; "" for none, or one that this release does not know.

    >>> kind_name(1), kind_name(0), kind_name(99)
    ('buyers', '', '')
    """
    return KINDS[code - 1] if 0 < code <= len(KINDS) else ""


def centres_of(
    names: Sequence[str],
    columns: Sequence[int],
    mean: NDArray[np.float64],
    scale: NDArray[np.float64],
    centres: NDArray[np.float64],
) -> NDArray[np.void]:
    """Typical visits as one row of `CENTRES`, shape (1,).

    Args:
        names: of the k segments, at most `MOST_SEGMENTS`.
        columns: the m columns of a row that are compared.
        mean: (m,) of their logarithms.
        scale: (m,) deviations of these.
        centres: (k, m), in units of the deviations.
    """
    found = np.zeros(1, CENTRES)
    k, m = centres.shape
    found["segments"], found["columns"] = k, m
    found["code"][0, :k] = [code_of(kind_of(name)) for name in names]
    for name, values in (("column", columns), ("mean", mean), ("scale", scale)):
        found[name][0, :m] = values
    found["centre"][0, :k, :m] = centres
    return found


@compiled
def nearest(row: NDArray[np.float64], centres: np.void) -> int:
    """The segment of a row; of two that are as near, the first. -1 if there are none.

    The distance is Euclidean, of log(1 + value) less the mean, over the deviation; what is not known (-1) counts as 0.
    """
    found, least = -1, np.inf
    for k in range(centres["segments"]):  # without an array: the fold calls this (`columns.jit.inlined`)
        away = 0.0
        for j in range(centres["columns"]):
            value = (np.log1p(max(row[centres["column"][j]], 0.0)) - centres["mean"][j]) / centres["scale"][j]
            off = value - centres["centre"][k, j]
            away += off * off
        if found < 0 or away < least:
            found, least = k, away
    return found


@compiled
def kind_code(row: NDArray[np.float64], centres: np.void) -> int:
    """The code of a finished session's kind, by its row of the wide view; 0 if it is not known."""
    if row.size == 0 or centres["segments"] == 0:
        return 0
    return int(centres["code"][nearest(row, centres)])


@compiled
def nearest_rows(rows: NDArray[np.float64], centres: NDArray[np.void], out: NDArray[np.int64]) -> None:
    """`nearest` of each row."""
    for i in range(rows.shape[0]):
        out[i] = nearest(rows[i], centres[0])
