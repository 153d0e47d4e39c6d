"""Exact contributions are those of the package `shap`, where it is installed: `pip install "clickstage[shap]"`."""

import importlib.util

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from models.heads.outcomes import BUILT_IN
from models.rules import StageRules
from models.simulator.simulator import SimConfig, simulate
from models.training.dataset import observe_log
from models.training.outcome_fit import fit_boosting
from models.training.outcomes import OutcomeRows, outcome_rows
from models.trees.ensemble import Ensemble
from models.trees.shapley import shapley

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        importlib.util.find_spec("shap") is None, reason="shap is not installed; it is an extra of its own"
    ),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning", "ignore::DeprecationWarning"),  # of shap's pictures
]
ROWS, BACKGROUND = slice(0, 4_000, 200), slice(1, 4_000, 100)


@pytest.fixture(scope="module")
def rows() -> OutcomeRows:
    """Of a simulated shop."""
    rules = StageRules()
    log = [event for chunk in simulate(SimConfig(sessions=1_500, seed=5, sessions_per_s=0.2)) for event in chunk]
    return outcome_rows(observe_log([log], rules, wide=True), rules)


def by_shap(fitted: object, X: NDArray[np.float64], background: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interventional values of the raw score: (n, m), or (n, m, outputs) of a forest."""
    import shap

    explainer = shap.TreeExplainer(fitted, background, feature_perturbation="interventional", model_output="raw")
    return np.asarray(explainer.shap_values(X, check_additivity=False), np.float64)


@pytest.mark.parametrize("outcome", BUILT_IN, ids=lambda outcome: outcome.name)
def test_of_a_head(rows: OutcomeRows, outcome: object) -> None:
    """Each head that every shop has, fitted as training fits it; rows and background as a worker sees them."""
    [asked] = [one for one in BUILT_IN if one is outcome]
    chosen = asked.eligible(rows.wide)
    X = asked.read(rows.wide[chosen]).astype(np.float32).astype(np.float64)
    fitted = fit_boosting(X, rows.label(asked.name)[chosen], 0)
    found, _ = shapley(Ensemble.from_sklearn(fitted, (True,)), X[ROWS], X[BACKGROUND], np.zeros(20, np.uint8))
    np.testing.assert_allclose(found, by_shap(fitted, X[ROWS], X[BACKGROUND]), rtol=0, atol=1e-6)
    assert np.abs(found).max() > 0.1


def test_of_the_stage(rows: OutcomeRows) -> None:
    """A forest of four classes, each stage's share."""
    X = np.nan_to_num(rows.features).astype(np.float32).astype(np.float64)
    fitted = RandomForestClassifier(20, max_leaf_nodes=32, random_state=0).fit(X, rows.stages)
    theirs = by_shap(fitted, X[ROWS], X[BACKGROUND])
    ensemble = Ensemble.from_sklearn(fitted, range(4))
    for stage in range(4):
        found, _ = shapley(ensemble, X[ROWS], X[BACKGROUND], np.full(20, stage, np.uint8))
        np.testing.assert_allclose(found, theirs[:, :, stage], rtol=0, atol=1e-6)
