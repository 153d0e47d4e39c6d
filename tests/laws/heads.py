"""Heads of every task and kind of model, fitted in a moment, and those of the bundles that ship."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)

import models
from featurestore.session.features import FEATURES
from models.bundle.baseline import Baseline
from models.bundle.bundle import Bundle
from models.heads import IDENTICAL, PUBLISHED, VIEWS, Calibration, Head, Task
from models.heads.stage import stage_head
from models.trees.ensemble import Ensemble

BUNDLES = Path(models.__file__).parent / "bundles"


def rows(n: int, m: int, seed: int = 0) -> NDArray[np.float64]:
    """Rows with ties, zeros and missing values, as float32 holds them."""
    rng = np.random.default_rng(seed)
    X = rng.lognormal(0, 2, (n, m))
    X[:, ::3] = np.round(X[:, ::3])
    X[rng.random((n, m)) < 0.1] = np.nan
    return X.astype(np.float32).astype(np.float64)


def made(
    name: str,
    task: Task,
    outputs: Sequence[str],
    estimator: Any,
    classes: Sequence[int] = (),
    *,
    columns: Sequence[str] = FEATURES,
    calibration: Calibration = IDENTICAL,
) -> Head:
    """A head of a fitted estimator over columns of the published view."""
    places = [VIEWS[PUBLISHED].index(column) for column in columns]
    X = rows(600, len(FEATURES), seed=len(name))[:, places]
    fill = np.nanmedian(X, axis=0)
    filled = np.where(np.isnan(X), fill, X)
    score = filled[:, 0] + filled[:, -1] ** 0.5
    cut = np.quantile(score, np.arange(1, max(len(classes), 2)) / max(len(classes), 2))
    y = np.searchsorted(cut, score) if task in ("multiclass", "binary") else score
    model = Ensemble.from_sklearn(estimator.fit(filled, y), classes)
    baseline = Baseline.from_training(X, y, columns, len(outputs) if task == "multiclass" else 0)
    return Head.build(
        name, task, outputs, PUBLISHED, columns, model,
        baseline=baseline, golden=X[:20], fill=fill, calibration=calibration,
    )  # fmt: skip


@cache
def heads() -> tuple[Head, ...]:
    """One of each; the first is a stage, so that they make a bundle."""
    few = FEATURES[2:6]
    kind = (0, 1, 2, 3)
    stage = made("stage", "multiclass", [f"s{i}" for i in kind], RandomForestClassifier(6, max_depth=5), kind)
    platt = Calibration(0.7, -0.4)
    boosted = HistGradientBoostingClassifier(max_iter=20, max_leaf_nodes=8, random_state=0)
    shallow = GradientBoostingClassifier(n_estimators=9, max_depth=3, random_state=0)
    forest = RandomForestClassifier(7, max_depth=4, random_state=0)
    return (
        stage_head(stage.model, baseline=stage.baseline, golden=stage.golden.rows, fill=stage.fill),
        made("order_rest", "binary", ["yes"], boosted, (1,), calibration=platt),
        made("add_rest", "binary", ["yes"], shallow, (1,), columns=few),
        made("leaves", "binary", ["soon"], forest, (1,)),
        made("kind", "multiclass", ["one", "two", "three"], boosted, (0, 1, 2), columns=few),
        made("revenue", "regression", ["euro"], GradientBoostingRegressor(n_estimators=8, random_state=0)),
        made("price", "regression", ["euro"], HistGradientBoostingRegressor(max_iter=8, random_state=0), columns=few),
        made("pages", "regression", ["more"], RandomForestRegressor(5, max_depth=6, random_state=0)),
    )


@cache
def shipped() -> tuple[Head, ...]:
    """The heads of all bundles in the repository."""
    return tuple(head for folder in sorted(BUNDLES.glob("*/")) for head in Bundle.load(folder).heads)
