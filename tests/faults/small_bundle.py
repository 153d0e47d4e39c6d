"""A small model bundle, trained in a second: the fault tests need a model that varies, not one that is right."""

from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from featurestore.session.features import FEATURES
from featurestore.session.stages import STAGES
from models.bundle.baseline import Baseline
from models.bundle.bundle import write_bundle
from models.bundle.manifest import Training
from models.heads.stage import stage_head
from models.rules import StageRules
from models.trees.ensemble import Ensemble

SCALE = np.array([12.0, 24.0, 24.0, 4.0, 1.5, 1.0, 2.5, 0.4, 3.0])


def small_bundle(directory: Path) -> Path:
    """Write a bundle of ten shallow trees and return its path."""
    rng = np.random.default_rng(7)
    X = rng.random((1_500, len(FEATURES))) * SCALE
    X[:, 1:4] = np.rint(X[:, 1:4])
    rules = StageRules()
    score = X[:, 3] * 0.7 + X[:, 2] * 0.12 + X[:, 8] * 1.1 + rng.normal(0, 0.4, len(X))
    stages = np.searchsorted(np.quantile(score, [0.35, 0.6, 0.8]), score).astype(np.uint8)
    forest = RandomForestClassifier(10, max_depth=6, random_state=7, n_jobs=1).fit(X, stages)
    stage = stage_head(
        Ensemble.from_sklearn(forest, STAGES),
        baseline=Baseline.from_training(X, stages),
        golden=X[:5],
        fill=np.median(X, axis=0),
    )
    return write_bundle(
        directory,
        name="faults",
        version="1",
        created="for the fault tests",
        heads=[stage],
        rules=rules,
        seed=7,
        training=Training(sessions=0, rows=len(X), model="forest"),
        replace=True,
    )
