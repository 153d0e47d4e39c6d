"""Outcome heads for a bundle: fitted on earlier visits, calibrated on later ones, judged on the latest."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.bundle.baseline import Baseline
from models.heads.head import Head
from models.heads.outcomes import BUILT_IN, Outcome
from models.heads.views import WIDE
from models.study import outcome_figures as measure
from models.training.outcome_fit import FEWEST_POSITIVE_VISITS, fit_boosting, fit_platt, log_odds, probability
from models.training.outcomes import OutcomeRows, Parts, split_visits_by_time
from models.trees.ensemble import Ensemble

OUTPUT: Final = "yes"
_GOLDEN_ROWS: Final = 40


class Fitted(NamedTuple):
    """The heads, and why each of the others was left out."""

    heads: tuple[Head, ...]
    left_out: dict[str, str]


def train_heads(rows: OutcomeRows, seed: int, outcomes: Sequence[Outcome] = BUILT_IN) -> Fitted:
    """A head for each outcome that the log has enough of; the bundle does without the others.

    The first 60 % of the visits train, the next 15 % calibrate, the last 25 % judge.
    """
    parts = split_visits_by_time(rows)
    heads, left_out = [], {}
    for outcome in outcomes:
        found = _head(rows, parts, outcome, seed)
        if isinstance(found, Head):
            heads.append(found)
        else:
            left_out[outcome.name] = found
    return Fitted(tuple(heads), left_out)


def _head(rows: OutcomeRows, parts: Parts, outcome: Outcome, seed: int) -> Head | str:
    y, asked = rows.label(outcome.name), outcome.eligible(rows.wide)
    train, calibrate, test = (np.flatnonzero(part & asked) for part in parts)
    positive = int(np.unique(rows.visit[train][y[train]]).size)
    if positive < FEWEST_POSITIVE_VISITS:
        return (
            f"{positive} training visits have it ({', '.join(outcome.events[:3])}), {FEWEST_POSITIVE_VISITS} are needed"
        )
    if y[train].all():
        return "every training row has it"
    X = outcome.read(rows.wide[train])
    estimator = fit_boosting(X, y[train], seed)
    calibration = fit_platt(log_odds(estimator, outcome.read(rows.wide[calibrate])), y[calibrate])
    test = test[~rows.silent[test]]
    shown = outcome.read(rows.wide[test if test.size else train])
    z = log_odds(estimator, shown)
    truth = y[test if test.size else train]
    names = ("rows", "base_rate", "auc", "ap", "brier_skill", "ece", "lift_10", "lift_20")
    figures = measure.figures(truth, probability(calibration, z))
    sample = np.linspace(0, len(shown) - 1, min(_GOLDEN_ROWS, len(shown))).astype(np.int64)
    return Head.build(
        outcome.name,
        "binary",
        (OUTPUT,),
        WIDE,
        outcome.columns,
        Ensemble.from_sklearn(estimator, [True]),
        baseline=Baseline.from_training(X, y[train].astype(np.float64), outcome.columns, 0),
        golden=shown[sample],
        fill=np.full(len(outcome.columns), -1.0),
        calibration=calibration,
        training={
            "meaning": outcome.meaning,
            "events": list(outcome.events),
            "absent": outcome.absent,
            "visits": int(np.unique(rows.visit[train]).size),
            "visits_with_outcome": positive,
            "rows": int(train.size),
            "held_out": {name: _number(figures[name]) for name in names},
            "deciles": [*deciles(probability(calibration, z))],
        },
        before_cart=outcome.before_cart,
    )


def deciles(p: NDArray[np.float64]) -> list[float]:
    """The nine probabilities that cut the rows into tenths: with them "the top 20 %" is a threshold."""
    return [float(edge) for edge in np.quantile(p, np.arange(1, 10) / 10)]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
