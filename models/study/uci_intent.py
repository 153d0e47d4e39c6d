"""The heads' estimator on real labels: `online_shoppers_intention` (UCI 468) with and without PageValues.

Rows are finished sessions, not prefixes; this compares the estimator with the published classifiers, not the heads.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from models.heads.ranking import auc
from models.study import outcome_figures as measure
from models.study.shoppers import CATEGORICAL, FOLDS, NUMERIC, Shoppers
from models.training.outcome_fit import fit_boosting, log_odds

_CALENDAR: Final = np.array([8, 12, 2, 7, 6, 3, 5, 11, 10, 9])
"""Month of each code; the codes are in the order of the months' names."""
_FIRST_TEST_MONTH: Final = 11


def judge_intent(shoppers: Shoppers, seed: int, folds: int = FOLDS) -> dict[str, dict[str, Any]]:
    """AUC and AP by folds (pooled) and on November and December after all months before them."""
    every = np.column_stack((shoppers.numeric, shoppers.categorical))
    bare = np.delete(every, NUMERIC.index("PageValues"), axis=1)
    month = _CALENDAR[shoppers.categorical[:, CATEGORICAL.index("Month")].astype(np.int64)]
    late = np.flatnonzero(month >= _FIRST_TEST_MONTH)
    early = np.flatnonzero(month < _FIRST_TEST_MONTH)
    splits = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(every, shoppers.bought))
    return {
        name: {
            "folds": _judged(X, shoppers.bought, splits, seed),
            "time": _judged(_without_month(X), shoppers.bought, [(early, late)], seed),
        }
        for name, X in (("with_page_values", every), ("without_page_values", bare))
    }


def _without_month(X: NDArray[np.float64]) -> NDArray[np.float64]:
    """The months to come were not there to learn from."""
    return np.delete(X, X.shape[1] - len(CATEGORICAL) + CATEGORICAL.index("Month"), axis=1)


def _judged(
    X: NDArray[np.float64],
    y: NDArray[np.bool_],
    splits: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    seed: int,
) -> dict[str, float]:
    z = np.concatenate([log_odds(fit_boosting(X[fit], y[fit], seed), X[held]) for fit, held in splits])
    truth = np.concatenate([y[held] for _, held in splits])
    return {"auc": auc(truth, z), "ap": measure.average_precision(truth, z), "rows": float(truth.size)}
