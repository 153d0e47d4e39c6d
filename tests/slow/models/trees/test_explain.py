"""Contributions add up to the score, and belong to the features that were asked."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from featurestore.session.stages import STAGES
from models.trees.ensemble import Ensemble
from models.trees.explain import contributions, top_reasons
from tests.examples import examples


def drawn(seed: int, n: int = 300) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    X = rng.lognormal(0, 1, (n, 9)).round(2)
    y = (X[:, 0] > 1).astype(int) + 2 * (X[:, 1] > X[:, 2])
    return X, np.where(rng.random(n) < 0.1, 3, y)


def plainly(estimator: Any, row: NDArray[np.float64], stage: int) -> tuple[NDArray[np.float64], float]:
    """The definition, read off scikit-learn's own trees."""
    values, bias = np.zeros(9), 0.0
    for member in estimator.estimators_:
        tree = member.tree_
        path = np.flatnonzero(tree.decision_path(row.reshape(1, 9).astype(np.float32)).toarray()[0])
        bias += tree.value[0, 0, stage]
        for parent, child in pairwise(path):
            values[tree.feature[parent]] += tree.value[child, 0, stage] - tree.value[parent, 0, stage]
    return values / len(estimator.estimators_), bias / len(estimator.estimators_)


@settings(max_examples=examples(20))
@given(seed=st.integers(0, 2**32 - 1), depth=st.sampled_from([1, 4, None]))
def test_bias_and_contributions_add_up_to_the_probability(seed: int, depth: int | None) -> None:
    X, y = drawn(seed)
    forest = Ensemble.from_sklearn(RandomForestClassifier(6, max_depth=depth, random_state=seed).fit(X, y), STAGES)
    stages = np.random.default_rng(seed).integers(0, 4, len(X)).astype(np.uint8)
    values, bias = contributions(forest, X, stages)
    proba = forest.predict(X)[np.arange(len(X)), stages]
    np.testing.assert_allclose(bias + values.sum(axis=1), proba, rtol=0, atol=1e-12)


def test_contributions_follow_the_definition() -> None:
    """Read off scikit-learn's trees node by node."""
    X, y = drawn(1)
    estimator = RandomForestClassifier(8, random_state=0).fit(X, y)
    forest = Ensemble.from_sklearn(estimator, STAGES)
    stages = (np.arange(40) % 4).astype(np.uint8)
    values, bias = contributions(forest, X[:40], stages)
    for r in range(40):
        want, want_bias = plainly(estimator, X[r], int(stages[r]))
        np.testing.assert_allclose(values[r], want, rtol=0, atol=1e-12)
        assert bias[r] == pytest.approx(want_bias, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
def test_for_boosting_they_add_up_to_the_raw_score(classes: int) -> None:
    """The score before the softmax, that scikit-learn calls the decision function."""
    X, y = drawn(2)
    y %= classes
    estimator = GradientBoostingClassifier(n_estimators=8, max_depth=3, random_state=0).fit(X, y)
    forest = Ensemble.from_sklearn(estimator, STAGES)
    scores = estimator.decision_function(X)
    for stage in range(classes):
        values, bias = contributions(forest, X, np.full(len(X), stage, np.uint8))
        want = scores[:, stage] if classes > 2 else scores * stage
        np.testing.assert_allclose(bias + values.sum(axis=1), want, rtol=0, atol=1e-9)


def test_a_feature_that_no_tree_asks_for_contributes_nothing() -> None:
    X, y = drawn(3)
    X[:, 7] = 1.0
    forest = Ensemble.from_sklearn(RandomForestClassifier(10, random_state=0).fit(X, y), STAGES)
    assert not contributions(forest, X, np.zeros(len(X), np.uint8)).values[:, 7].any()


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    X, y = drawn(4)
    forest = Ensemble.from_sklearn(RandomForestClassifier(10, random_state=0).fit(X, y), STAGES)
    stages = y.astype(np.uint8)
    whole = contributions(forest, X, stages)
    for r in (0, 17, len(X) - 1):
        one = contributions(forest, X[r : r + 1], stages[r : r + 1])
        np.testing.assert_array_equal(one.values[0], whole.values[r])
        assert one.bias[0] == whole.bias[r]


def test_reasons_are_the_largest_positive_contributions() -> None:
    values = np.array([[0.1, -0.5, 0.3, 0.3, 0.0], [-1.0, 0.0, 0.2, -0.1, 0.0]])
    assert top_reasons(values).tolist() == [[2, 3, 0], [2, -1, -1]]
    assert top_reasons(values, k=1).tolist() == [[2], [2]]


def test_wrong_shapes_and_stages_are_refused() -> None:
    X, y = drawn(5)
    forest = Ensemble.from_sklearn(DecisionTreeClassifier(random_state=0).fit(X, y), STAGES)
    with pytest.raises(ValueError, match="need"):
        contributions(forest, X[:, :8], np.zeros(len(X), np.uint8))
    with pytest.raises(ValueError, match="need"):
        contributions(forest, X, np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="outputs go from 0 to 3"):
        contributions(forest, X, np.full(len(X), 4, np.uint8))
