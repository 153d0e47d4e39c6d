"""Outcome heads judged on one log: trained on some visits, calibrated on others, tested on the rest.

Beside each head stand what costs nothing (always no, the stage alone) and a logistic regression on the same columns.
Figures are over rows at events; silences are trained on, since a worker scores them, but they are not counted.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # has no stubs

from featurestore.session.stages import STAGES
from featurestore.session.views import WIDE
from models.heads.calibration import IDENTICAL, Calibration
from models.heads.outcomes import Outcome
from models.heads.ranking import auc
from models.study import outcome_figures as measure
from models.training.outcome_fit import FEWEST_POSITIVE_VISITS, fit_boosting, fit_platt, log_odds, probability
from models.training.outcomes import OutcomeRows, Parts, split_visits_by_time

_LOGISTIC_ROWS: Final = 60_000
_NAMED: Final = 3
DRAWS: Final = 200
"""Of visits, for the intervals."""


class Scored(NamedTuple):
    """Test rows of one head (numbers of rows of the log) and what each way of telling gives them."""

    rows: NDArray[np.int64]
    raw: NDArray[np.float64]
    probability: NDArray[np.float64]
    stage: NDArray[np.float64]
    logistic: NDArray[np.float64]


class _Fitted(NamedTuple):
    """A head of one fold: rows to train and to judge on, its Platt pair, and its raw scores of the rows to judge on."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    platt: Calibration
    scores: NDArray[np.float64]


def visits_with(rows: OutcomeRows, part: NDArray[np.bool_], outcome: Outcome) -> int:
    """In how many visits of a ``part`` of the rows the outcome is still ahead at some row."""
    chosen = part & outcome.eligible(rows.wide) & rows.label(outcome.name)
    return int(np.unique(rows.visit[chosen]).size)


def judge_outcome(
    rows: OutcomeRows, folds: Sequence[Parts], outcome: Outcome, seed: int, draws: int = DRAWS
) -> dict[str, Any] | str:
    """Train, calibrate and judge one head, over the test rows of all folds together.

    A text says why there are no figures: a fold has fewer than `FEWEST_POSITIVE_VISITS` training visits with the
    outcome, or its rows to train or to judge on all have the same answer.
    """
    fewest = min(visits_with(rows, parts.train, outcome) for parts in folds)
    if fewest < FEWEST_POSITIVE_VISITS:
        every = visits_with(rows, np.ones(rows.visit.size, np.bool_), outcome)
        return (
            f"{every:,} visits have it ({_asked(outcome)}), of which {fewest:,} are there to train; "
            f"{FEWEST_POSITIVE_VISITS} are needed: take a longer log"
        )
    found = [_fold(rows, parts, outcome, seed) for parts in folds]
    if any(part is None for part in found):
        return "every row to train on has it"
    test = Scored(*(np.concatenate(parts) for parts in zip(*filter(None, found), strict=True)))
    truth, visit, click = rows.label(outcome.name)[test.rows], rows.visit[test.rows], clicks(rows)[test.rows]
    if truth.all() or not truth.any():
        return f"{'every' if truth.any() else 'no'} row to judge on has it: take a longer log"
    p = test.probability
    figures = {
        **measure.figures(truth, p),
        "meaning": outcome.meaning,
        "visits": int(np.unique(visit).size),
        "visits_with_outcome": int(np.unique(visit[truth]).size),
        "ece_uncalibrated": measure.ece(truth, test.raw),
        "interval": measure.intervals(truth, p, visit, seed, draws),
        "by_position": measure.by_position(truth, p, click),
        "lift_by_click": measure.lift_by_click(truth, p, click, seed, draws),
        "reliability": measure.reliability(truth, p),
        "stage_alone": _ranking(truth, test.stage),
        "logistic": _ranking(truth, test.logistic),
    }
    before = _before_first_addition(rows.wide[test.rows])
    if not outcome.before_cart and truth[before].any():
        figures["before_first_addition"] = _ranking(truth[before], p[before]) | {"rows": int(before.sum())}
    return figures


def rank_later(rows: OutcomeRows, outcome: Outcome, seed: int, train: float, draws: int = DRAWS) -> dict[str, Any]:
    """AUC, and its 95 % interval, in the visits that began after the first ``train`` share of them, which train."""
    parts = split_visits_by_time(rows, train, 0.0)
    y, asked = rows.label(outcome.name), outcome.eligible(rows.wide)
    early, late = np.flatnonzero(parts.train & asked), np.flatnonzero(parts.test & asked & ~rows.silent)
    z = log_odds(fit_boosting(outcome.read(rows.wide[early]), y[early], seed), outcome.read(rows.wide[late]))
    interval = measure.intervals(y[late], z, rows.visit[late], seed, draws)["auc"]
    return {"auc": auc(y[late], z), "interval": interval, "visits": int(np.unique(rows.visit[late]).size)}


def auc_by_folds(rows: OutcomeRows, folds: Sequence[Parts], outcome: Outcome, seed: int) -> float:
    """AUC over the test rows of all folds together, as `judge_outcome` has it; each fold has its own Platt pair."""
    y = rows.label(outcome.name)
    tests, told = [], []
    for parts in folds:
        _, test, platt, z = _fitted(rows, parts, outcome, seed)
        tests.append(test)
        told.append(probability(platt, z))
    return auc(y[np.concatenate(tests)], np.concatenate(told))


def _fold(rows: OutcomeRows, parts: Parts, outcome: Outcome, seed: int) -> Scored | None:
    y = rows.label(outcome.name)
    if y[parts.train & outcome.eligible(rows.wide)].all():
        return None
    train, test, platt, z = _fitted(rows, parts, outcome, seed)
    stage = stage_rates(rows, y, train)[rows.stages[test]]
    logistic = _logistic(outcome.read(rows.wide), y, train, test, seed)
    return Scored(test, probability(IDENTICAL, z), probability(platt, z), stage, logistic)


def _fitted(rows: OutcomeRows, parts: Parts, outcome: Outcome, seed: int) -> _Fitted:
    """Train and calibrate on the rows that a head is asked at; judge what is no silence."""
    y, asked = rows.label(outcome.name), outcome.eligible(rows.wide)
    train, calibrate = (np.flatnonzero(part & asked) for part in (parts.train, parts.calibrate))
    test = np.flatnonzero(parts.test & asked & ~rows.silent)
    model = fit_boosting(outcome.read(rows.wide[train]), y[train], seed)
    platt = fit_platt(log_odds(model, outcome.read(rows.wide[calibrate])), y[calibrate])
    return _Fitted(train, test, platt, log_odds(model, outcome.read(rows.wide[test])))


def _asked(outcome: Outcome) -> str:
    told = outcome.meaning if len(outcome.events) > _NAMED else ", ".join(outcome.events)
    return f"none of {told}" if outcome.absent and len(outcome.events) <= _NAMED else told


def clicks(rows: OutcomeRows) -> NDArray[np.int64]:
    """Which click of its visit each row (n,) is; 0 for a row that is none.

    A session's start, a scroll or a ping is no click, and says little: nobody leaves between the start and the first
    click, so rows of both together would tell who leaves next by whether the visit has begun.
    """
    so_far = rows.wide[:, WIDE.index("clicks")].astype(np.int64)
    before = np.zeros_like(so_far)
    before[1:] = np.where(rows.visit[1:] == rows.visit[:-1], so_far[:-1], 0)
    return np.where(so_far > before, so_far, 0)


def stage_rates(rows: OutcomeRows, y: NDArray[np.bool_], train: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rate of the outcome in each stage over the training rows: what the stage alone says."""
    seen = np.bincount(rows.stages[train], minlength=len(STAGES))
    hits = np.bincount(rows.stages[train], y[train], minlength=len(STAGES))
    return np.asarray(hits / np.maximum(seen, 1), np.float64)


def _logistic(
    X: NDArray[np.float64], y: NDArray[np.bool_], train: NDArray[np.int64], test: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Logistic regression on the logarithms of the same columns."""
    if train.size > _LOGISTIC_ROWS:
        train = np.random.default_rng([seed, 34]).choice(train, _LOGISTIC_ROWS, replace=False)
    scaled = np.sign(X) * np.log1p(np.abs(X))
    with threadpool_limits(limits=1):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(scaled[train], y[train])
        return np.asarray(model.predict_proba(scaled[test])[:, 1], np.float64)


def _ranking(y: NDArray[np.bool_], p: NDArray[np.float64]) -> dict[str, float]:
    return {
        "accuracy": float(np.mean((p >= 0.5) == y)),
        "auc": auc(y, p),
        "ap": measure.average_precision(y, p),
        "lift_10": measure.lift(y, p, 0.1),
    }


def _before_first_addition(wide: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(wide[:, WIDE.index("cart_additions")] == 0, np.bool_)
