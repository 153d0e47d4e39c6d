"""Labels that say how sure they are.

Twenty clicks are a convention: a shopper with 22 is hardly surer an Evaluator than one with 18. So near the
Evaluator's thresholds a training row counts for both stages: for its own by the rules, and for its neighbour as much
as the rules would be overturned if each threshold were only known up to a relative deviation of ``doubt`` (log-normal,
independent). The rules' stage keeps the majority, so the model's answer stays that of the rules and only its confidence
falls: a forest trained so is 0.65 sure of the published case E (22 clicks, 14 pages, 290 s), where P reports 0.58.

Cart additions are deliberate and idle time is measured, so these two thresholds are taken as they are.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from featurestore.session.features import FEATURES
from featurestore.session.stages import EVALUATOR, EXPLORER
from models.rules import StageRules

DOUBT: Final = 0.2
"""The relative deviation that the shipped model is trained with."""
LEAST_MAJORITY: Final = 0.58
"""The rules' own stage keeps at least this weight, or the model would learn another border than theirs."""
_NEGLIGIBLE: Final = 0.01


class Weighted(NamedTuple):
    """Training rows, some twice: X (n, 9), stages (n,), weights (n,); ``row`` (n,) is the row each was made of."""

    X: NDArray[np.float64]
    stages: NDArray[np.uint8]
    weights: NDArray[np.float64]
    row: NDArray[np.int64]


def evaluator_chance(X: NDArray[np.float64], rules: StageRules, doubt: float) -> NDArray[np.float64]:
    """Probability that a row meets the Evaluator's conditions if their thresholds are doubtful; shape (n,)."""
    chance = np.ones(X.shape[0])
    for feature, threshold in (
        ("pages_viewed", rules.evaluator_pages),
        ("num_clicks", rules.evaluator_clicks),
        ("session_duration", rules.evaluator_duration_s),
    ):
        value = np.maximum(X[:, FEATURES.index(feature)], 1e-9)
        chance *= ndtr(np.log(value / threshold) / doubt)
    return chance


def weighted(X: NDArray[np.float64], stages: NDArray[np.uint8], rules: StageRules, doubt: float) -> Weighted:
    """``stages`` with the doubt that ``rules`` cast on them; ``doubt`` 0 leaves every weight at 1."""
    row = np.arange(X.shape[0])
    if doubt <= 0:
        return Weighted(X, stages, np.ones(row.size), row)
    chance = evaluator_chance(X, rules, doubt)
    other = np.select([stages == EVALUATOR, stages == EXPLORER], [1 - chance, chance], 0.0)
    other = np.minimum(other, 1 - LEAST_MAJORITY)
    other[other < _NEGLIGIBLE] = 0.0
    twice = np.flatnonzero(other > 0)
    neighbour = np.where(stages[twice] == EVALUATOR, EXPLORER, EVALUATOR).astype(np.uint8)
    return Weighted(
        np.concatenate([X, X[twice]]),
        np.concatenate([stages, neighbour]),
        np.concatenate([1 - other, other[twice]]),
        np.concatenate([row, twice]),
    )
