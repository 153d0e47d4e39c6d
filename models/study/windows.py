"""The published way of L: a model on the last N actions, each a type and a gap, instead of on a session's state.

Rows that have fewer actions are filled with -1. `by_window` judges the same estimator as the heads' on each N.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.session.views import WIDE
from models.study import outcome_figures as measure
from models.training.outcome_fit import fit_boosting, log_odds
from models.training.outcomes import OutcomeRows, Parts

WINDOWS: Final = (4, 8, 14, 20, 30)
_TYPE, _GAP = WIDE.index("type_1"), WIDE.index("gap_1_s")


def windows(rows: OutcomeRows, size: int) -> NDArray[np.float64]:
    """Type and gap of the last ``size`` actions, newest first, of rows at events: (n, 2 * size)."""
    n = rows.visit.size
    out = np.full((n, 2 * size), -1.0)
    for back in range(size):
        same = np.zeros(n, np.bool_)
        same[back:] = rows.visit[back:] == rows.visit[: n - back]
        out[same, 2 * back] = rows.wide[:, _TYPE][: n - back][same[back:]]
        out[same, 2 * back + 1] = rows.wide[:, _GAP][: n - back][same[back:]]
    return out


def by_window(
    rows: OutcomeRows, parts: Parts, names: tuple[str, ...], seed: int, sizes: tuple[int, ...] = WINDOWS
) -> dict[str, dict[int, dict[str, float]]]:
    """AUC, AP and accuracy of each outcome by window; visits of ``parts`` as they are."""
    found: dict[str, dict[int, dict[str, float]]] = {name: {} for name in names}
    for size in sizes:
        X = windows(rows, size)
        for name in names:
            y = rows.label(name)
            z = log_odds(fit_boosting(X[parts.train], y[parts.train], seed), X[parts.test])
            truth = y[parts.test]
            found[name][size] = {
                "accuracy": float(np.mean((z >= 0) == truth)),
                "auc": measure.auc(truth, z),
                "ap": measure.average_precision(truth, z),
            }
    return found
