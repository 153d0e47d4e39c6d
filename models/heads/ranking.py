"""How well scores rank, by numpy alone: for studies of heads, and for workers' checks of what heads said."""

import numpy as np
from numpy.typing import NDArray


def auc(y: NDArray[np.bool_], p: NDArray[np.float64], weight: NDArray[np.number] | None = None) -> float:
    """Chance that a row with the outcome has the higher score, ties count half; NaN without both kinds of rows."""
    w = np.ones(y.size) if weight is None else weight
    values, group = np.unique(p, return_inverse=True)
    ones = np.bincount(group, w * y, values.size)
    zeros = np.bincount(group, w * ~y, values.size)
    below = np.cumsum(zeros) - zeros
    total = ones.sum() * zeros.sum()
    return float((ones * (below + zeros / 2)).sum() / total) if total > 0 else float("nan")
