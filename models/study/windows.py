"""The published way of L: a model on the last N actions, each a type and a gap, instead of on a session's state.

Rows that have fewer actions are filled with -1. `by_window` judges the same estimator as the heads' on each N, and
`on_both_sides` what becomes of the accuracy when windows of one visit train and test.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # has no stubs

from featurestore.session.views import WIDE
from models.heads.ranking import auc
from models.study import outcome_figures as measure
from models.training.outcome_fit import fit_boosting, log_odds
from models.training.outcomes import OutcomeRows, Parts

WINDOWS: Final = (4, 8, 11, 14, 20, 25, 30)
MEMORY_VISITS: Final = 8_000
"""Visits that `on_both_sides` takes: its trees grow until they know every row."""
_MEMORY_TREES: Final = 40
_TRAIN: Final = 0.75
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
    """AUC, AP and accuracy of each outcome by window; visits of ``parts`` as they are.

    ``ahead`` is by how much more often the state's columns are right with the same estimator, trained and tested on the
    same rows; ``ahead_low`` and ``ahead_high`` are its 95 % interval, which draws whole visits.
    """
    found: dict[str, dict[int, dict[str, float]]] = {name: {} for name in names}
    whose, right = rows.visit[parts.test], {}
    for name in names:
        columns = next(outcome for outcome in rows.outcomes if outcome.name == name).read(rows.wide)
        y = rows.label(name)
        z = log_odds(fit_boosting(columns[parts.train], y[parts.train], seed), columns[parts.test])
        right[name] = (z >= 0) == y[parts.test]
    for size in sizes:
        X = windows(rows, size)
        for name in names:
            y = rows.label(name)
            z = log_odds(fit_boosting(X[parts.train], y[parts.train], seed), X[parts.test])
            truth = y[parts.test]
            ahead, (low, high) = measure.mean_interval(1.0 * right[name] - ((z >= 0) == truth), whose, seed)
            found[name][size] = {
                "accuracy": float(np.mean((z >= 0) == truth)),
                "auc": auc(truth, z),
                "ap": measure.average_precision(truth, z),
                "ahead": ahead,
                "ahead_low": low,
                "ahead_high": high,
            }
    return found


def oldest_first(X: NDArray[np.float64]) -> NDArray[np.float64]:
    """`windows` as a recurrent model reads them: the oldest action in the first columns, what is missing at the end.

    In a visit that is shorter than the window all rows then begin alike, and differ from those of other visits.
    """
    size = X.shape[1] // 2
    held = (X[:, 0::2] >= 0).sum(axis=1)
    at = held[:, None] - 1 - np.arange(size)
    there, row = at >= 0, np.arange(len(X))[:, None]
    out = np.full_like(X, -1.0)
    for part in (0, 1):
        out[:, part::2] = np.where(there, X[:, part::2][row, np.maximum(at, 0)], -1.0)
    return out


def on_both_sides(
    rows: OutcomeRows, names: tuple[str, str], seed: int, sizes: tuple[int, ...] = WINDOWS
) -> dict[str, dict[int, dict[str, float]]]:
    """Accuracy by window with visits kept whole, and with windows of one visit on both sides of the split.

    The same forest, grown until it knows every training row, as large recurrent models come to do. ``whole`` splits
    visits 75:25, ``cut`` splits rows 75:25. Of each: the accuracy of both outcomes ``names`` (an order, an addition),
    and ``abandoned``, the share of rows with both right among visits that had an addition and no order.
    """
    rows = rows.take(~rows.silent & (rows.visit < MEMORY_VISITS))
    rng = np.random.default_rng([seed, 35])
    masks = {"whole": rng.random(rows.started.size)[rows.visit] < _TRAIN, "cut": rng.random(rows.visit.size) < _TRAIN}
    y = np.stack([rows.label(name) for name in names], axis=1)
    abandoned = _ever(rows, "cart_additions") & ~_ever(rows, "purchases")
    found: dict[str, dict[int, dict[str, float]]] = {name: {} for name in masks}
    for size in sizes:
        X = oldest_first(windows(rows, size)).astype(np.float32)
        for split, train in masks.items():
            forest = RandomForestClassifier(_MEMORY_TREES, n_jobs=1, random_state=seed)
            with threadpool_limits(limits=1):
                right = forest.fit(X[train], y[train]).predict(X[~train]) == y[~train]
            found[split][size] = {
                **{name: float(right[:, i].mean()) for i, name in enumerate(names)},
                "abandoned": float(right[abandoned[~train]].all(axis=1).mean()),
                "always_no": float(1 - y[~train, 0].mean()),
            }
    return found


def _ever(rows: OutcomeRows, column: str) -> NDArray[np.bool_]:
    """Which rows (n,) are of a visit in which the count ``column`` ever rose."""
    most = np.zeros(rows.started.size)
    np.maximum.at(most, rows.visit, rows.wide[:, WIDE.index(column)])
    return np.asarray(most[rows.visit] > 0, np.bool_)
