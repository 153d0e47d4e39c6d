"""Exact contributions: the Shapley values of the definition, over every coalition of features."""

from itertools import combinations
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from decisions.shipped import load_bundle
from models.trees.ensemble import Ensemble
from models.trees.kernels import IDENTITY
from models.trees.shapley import shapley
from tests.examples import examples

M = 5


def raw(ensemble: Ensemble, X: NDArray[np.float64], output: int) -> NDArray[np.float64]:
    """The score before the link."""
    plain = Ensemble(ensemble.trees, ensemble.n_features, ensemble.unit, ensemble.bias, IDENTITY)
    return plain.predict_plain(X)[:, output]


def by_coalitions(
    ensemble: Ensemble, row: NDArray[np.float64], background: NDArray[np.float64], output: int
) -> NDArray[np.float64]:
    """L. Shapley's formula (1953): what a feature adds, averaged over all orders of joining."""
    worth = {}
    for size in range(M + 1):
        for coalition in combinations(range(M), size):
            mixed = background.copy()
            mixed[:, coalition] = row[list(coalition)]
            worth[coalition] = raw(ensemble, mixed, output).mean()
    values = np.zeros(M)
    for coalition, before in worth.items():
        for j in set(range(M)) - set(coalition):
            weight = factorial(len(coalition)) * factorial(M - len(coalition) - 1) / factorial(M)
            values[j] += weight * (worth[tuple(sorted((*coalition, j)))] - before)
    return values


@settings(max_examples=examples(8))
@given(seed=st.integers(0, 2**32 - 1), boosted=st.booleans())
def test_the_values_are_those_of_the_definition(seed: int, boosted: bool) -> None:
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 4, (120, M)).astype(np.float64)  # ties between rows, thresholds and the background
    y = (X[:, 0] + X[:, 1] * X[:, 2] + rng.integers(0, 3, 120)).astype(int) % 3
    if boosted:
        fitted = HistGradientBoostingClassifier(max_iter=4, max_leaf_nodes=6, min_samples_leaf=5).fit(X, y > 0)
        ensemble, k = Ensemble.from_sklearn(fitted, (True,)), 1
    else:
        ensemble, k = (
            Ensemble.from_sklearn(RandomForestClassifier(4, max_depth=4, random_state=0).fit(X, y), range(3)),
            3,
        )
    rows, background = X[:6], X[60:67]
    outputs = rng.integers(0, k, len(rows)).astype(np.uint8)
    values, bias = shapley(ensemble, rows, background, outputs)
    for i, output in enumerate(outputs.tolist()):
        np.testing.assert_allclose(values[i], by_coalitions(ensemble, rows[i], background, output), rtol=0, atol=1e-9)
        assert bias[i] == pytest.approx(raw(ensemble, background, output).mean(), abs=1e-9)


def test_every_head_that_ships_is_explained_whole() -> None:
    """Values and bias add up to the raw score; a feature that the row shares with the background has none."""
    for head in load_bundle(None).heads:
        rows = head.filled(head.golden.rows[:3])
        outputs = np.zeros(len(rows), np.uint8)
        values, bias = shapley(head.model, rows, rows, outputs)
        np.testing.assert_allclose(bias + values.sum(axis=1), raw(head.model, rows, 0), rtol=0, atol=1e-9)
        same = (rows == rows[0]).all(axis=0)
        assert not values[:, same].any()


def test_what_does_not_fit_is_refused() -> None:
    head = load_bundle(None).heads["order_rest"]
    rows = head.filled(head.golden.rows[:2])
    for X, background, outputs in (
        (rows[:, 1:], rows, [0, 0]),
        (rows, rows[:0], [0, 0]),
        (rows, rows, [0]),
        (rows, rows, [0, 1]),
    ):
        with pytest.raises(ValueError, match="need"):
            shapley(head.model, X, background, np.array(outputs, np.uint8))
