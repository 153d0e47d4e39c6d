"""The table of classifiers: laws that every entry keeps, one that is added later too."""

import numpy as np
import pytest
from numpy.typing import NDArray

from featurestore.session.features import N_FEATURES
from featurestore.session.stages import STAGES
from models.training.classifiers import GROWN, KINDS, Limits, new_growth
from models.trees.ensemble import Ensemble
from models.trees.flatten import servable

LIMITS = Limits(seed=3, trees=10, depth=6, leaves=16, features_tried=5, jobs=1)


def rows() -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Four stages, told apart by the first two columns."""
    rng = np.random.default_rng(0)
    stages = np.repeat(np.arange(4, dtype=np.uint8), 60)
    X = rng.random((stages.size, N_FEATURES))
    X[:, 0] += stages % 2
    X[:, 1] += stages // 2
    return X, stages


@pytest.mark.parametrize("name", KINDS)
def test_what_is_compared_learns_and_repeats_itself(name: str) -> None:
    """The same seed gives the same probabilities."""
    X, stages = rows()
    first, again = (KINDS[name].compared(3, 10, 6).fit(X, stages).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first.argmax(axis=1) == stages).mean() > 0.9


@pytest.mark.parametrize("name", GROWN)
def test_what_grows_can_be_served(name: str) -> None:
    """Grown in two steps to its size, and the fast scorer gives what scikit-learn gives."""
    X, stages = rows()
    growth = new_growth(name, LIMITS)
    assert servable(growth.estimator)
    for size in (1, growth.size):
        growth.estimator.set_params(n_estimators=size).fit(X, stages, sample_weight=np.ones(stages.size))
        growth.tame(growth.estimator)
    assert len(growth.estimator.estimators_) == growth.size
    forest = Ensemble.from_sklearn(growth.estimator, STAGES)
    np.testing.assert_allclose(forest.predict(X), growth.estimator.predict_proba(X), rtol=0, atol=1e-6)


def test_a_linear_model_cannot_be_served() -> None:
    assert not servable(KINDS["logistic_regression"].compared(3, 10, 6))
    assert "logistic_regression" not in GROWN


def test_what_cannot_grow_is_refused_with_what_can() -> None:
    for name in ("logistic_regression", "svm"):
        with pytest.raises(ValueError, match=f"'{name}' cannot be trained; there are random_forest, gradient_boosting"):
            new_growth(name, LIMITS)


def test_titles_tell_them_apart() -> None:
    assert len({kind.title for kind in KINDS.values()}) == len(KINDS)
