"""The classifiers, one entry each: what the evaluation compares, and what ``clickstage train`` can grow and serve.

The study, the latency table, the ``--model`` option and the training read this table; docs/extending.md adds an entry.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

_LARGEST_STEP: Final = 10.0
"""Of a boosting leaf, before the learning rate: two units of log-odds a round are plenty."""


class Limits(NamedTuple):
    """What `models.training.train.TrainConfig` says about the size of a model."""

    seed: int
    trees: int
    depth: int
    leaves: int
    features_tried: int
    jobs: int


@dataclass(frozen=True)
class Growth:
    """How a served model grows.

    Attributes:
        estimator: unfitted, with ``n_estimators`` and ``warm_start=True``; of a kind that `models.trees.flatten` knows.
        size: ``n_estimators`` in the end.
        unit: what is counted, for the progress report.
        tame: called with the estimator after each step.
    """

    estimator: Any
    size: int
    unit: str = "trees"
    tame: Callable[[Any], None] = lambda _: None


@dataclass(frozen=True)
class Classifier:
    """One kind of classifier.

    Attributes:
        title: in the report.
        compared: the unfitted estimator of the published study for a seed, a number of trees and a depth (None for
            unlimited), with scikit-learn's defaults except where P names a setting. One thread.
        grown: how training grows it; None where the scorer cannot serve it.
    """

    title: str
    compared: Callable[[int, int, int | None], Any]
    grown: Callable[[Limits], Growth] | None = None


def _grown_forest(limits: Limits) -> Growth:
    estimator = RandomForestClassifier(
        max_depth=limits.depth,
        max_leaf_nodes=limits.leaves,
        max_features=limits.features_tried,
        min_samples_leaf=5,
        max_samples=0.5,
        random_state=limits.seed,
        n_jobs=limits.jobs,
        warm_start=True,
    )
    return Growth(estimator, limits.trees)


def _grown_boosting(limits: Limits) -> Growth:
    estimator = GradientBoostingClassifier(
        learning_rate=0.2,
        max_depth=limits.depth,
        max_leaf_nodes=min(limits.leaves, 16),
        subsample=0.5,
        min_samples_leaf=5,
        random_state=limits.seed,
        warm_start=True,
    )
    return Growth(estimator, max(1, limits.trees // 5), "rounds", _tame)


def _tame(boosting: Any) -> None:
    """Cut leaf values that a Newton step on a few saturated rows made astronomic; the next rounds build on the rest."""
    for member in boosting.estimators_.ravel():
        np.clip(member.tree_.value, -_LARGEST_STEP, _LARGEST_STEP, out=member.tree_.value)


KINDS: Final[dict[str, Classifier]] = {
    "logistic_regression": Classifier(
        "logistic regression",
        lambda seed, trees, depth: LogisticRegression(max_iter=1000),
    ),
    "decision_tree": Classifier(
        "decision tree",
        lambda seed, trees, depth: DecisionTreeClassifier(random_state=seed),
    ),
    "random_forest": Classifier(
        "random forest",
        lambda seed, trees, depth: RandomForestClassifier(n_estimators=trees, max_depth=depth, random_state=seed),
        _grown_forest,
    ),
    "gradient_boosting": Classifier(
        "gradient boosting",
        lambda seed, trees, depth: GradientBoostingClassifier(n_estimators=trees // 2, random_state=seed),
        _grown_boosting,
    ),
}
"""In the order of the report's tables."""

GROWN: Final = tuple(name for name, kind in KINDS.items() if kind.grown is not None)
"""What ``clickstage train --model`` takes."""


def new_growth(name: str, limits: Limits) -> Growth:
    """The growth of a served model.

    Raises:
        ValueError: if ``name`` is none of `GROWN`.
    """
    grown = KINDS[name].grown if name in KINDS else None
    if grown is None:
        raise ValueError(f"{name!r} cannot be trained; there are {', '.join(GROWN)}")
    return grown(limits)
