"""Fit one outcome head: gradient boosting on prefixes, then a Platt pair on visits that neither trained nor test.

60 rounds of trees with 8 leaves, a rate of 0.1 and at least 40 rows a leaf: on four data sets nothing larger did
better, and the compiled trees serve it in a quarter of a microsecond (docs/outcomes.md).
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # has no stubs

from models.heads.calibration import IDENTICAL, Calibration

ROUNDS: Final = 60
LEAVES: Final = 8
RATE: Final = 0.1
ROWS_PER_LEAF: Final = 40
FEWEST_POSITIVE_VISITS: Final = 100
"""A head learned from fewer visits with its outcome is left out."""


def new_boosting(seed: int) -> Any:
    """The estimator, not fitted."""
    return HistGradientBoostingClassifier(
        max_iter=ROUNDS,
        max_leaf_nodes=LEAVES,
        learning_rate=RATE,
        min_samples_leaf=ROWS_PER_LEAF,
        early_stopping=False,
        random_state=seed,
    )


def fit_boosting(X: NDArray[np.float64], y: NDArray[np.bool_], seed: int) -> Any:
    """The fitted estimator, on one thread; the same rows and seed give the same trees."""
    with threadpool_limits(limits=1):
        return new_boosting(seed).fit(X.astype(np.float32).astype(np.float64), y)


def log_odds(estimator: Any, X: NDArray[np.float64]) -> NDArray[np.float64]:
    """The raw score (n,)."""
    with threadpool_limits(limits=1):
        return np.asarray(estimator.decision_function(X), np.float64)


def probability(calibration: Calibration, z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (n,) of raw scores (n,)."""
    return np.asarray(1.0 / (1.0 + np.exp(-(calibration.slope * z + calibration.intercept))), np.float64)


def fit_platt(z: NDArray[np.float64], y: NDArray[np.bool_]) -> Calibration:
    """The pair that makes ``y`` (n,) most likely given the log-odds ``z`` (n,), by Newton's method (Platt, 1999).

    Platt's targets, (positives + 1) / (positives + 2) and 1 / (negatives + 2), keep the pair finite. Without both
    outcomes, or if the slope would turn the order round, nothing is changed.
    """
    positives, negatives = int(y.sum()), int((~y).sum())
    if positives == 0 or negatives == 0:
        return IDENTICAL
    target = np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    A = np.stack([z, np.ones_like(z)], axis=1)
    at = np.array([1.0, 0.0])
    loss = _loss(A @ at, target)
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-(A @ at)))
        hessian = (A * (p * (1 - p))[:, None]).T @ A + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, A.T @ (p - target))
        while (tried := _loss(A @ (at - step), target)) > loss and np.abs(step).max() > 1e-12:
            step /= 2  # a full step can overshoot where the curve is flat
        at, gained, loss = at - step, loss - tried, tried
        if gained <= 1e-13 * loss:
            break
    slope, intercept = at.tolist()
    return Calibration(slope, intercept) if slope > 0 and np.isfinite(at).all() else IDENTICAL


def _loss(z: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Cross-entropy of the log-odds ``z``."""
    return float(np.sum(np.logaddexp(0.0, z) - target * z))


def refit_intercept(z: NDArray[np.float64], y: NDArray[np.bool_], calibration: Calibration) -> Calibration:
    """The calibration for a base rate that moved: its intercept is such that as many outcomes are expected as came.

    Found by bisection; with no outcome, or nothing else, it is moved as far as half a case would move it.
    """
    observed = min(max(float(y.sum()), 0.5), y.size - 0.5)
    low, high = -30.0, 30.0
    for _ in range(80):
        middle = (low + high) / 2
        expected = probability(calibration._replace(intercept=middle), z).sum()
        low, high = (middle, high) if expected < observed else (low, middle)
    return calibration._replace(intercept=(low + high) / 2)
