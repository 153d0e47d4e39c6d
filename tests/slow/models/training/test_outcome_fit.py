"""Calibration by Platt: it finds the pair that made the data, keeps the order, and follows a base rate that moved."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.heads.calibration import IDENTICAL, Calibration
from models.training.outcome_fit import fit_platt, probability, refit_intercept


def drawn(pair: Calibration, n: int = 60_000) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and outcomes that come as often as ``pair`` says."""
    rng = np.random.default_rng(5)
    z = rng.normal(-2.0, 1.5, n)
    return z, rng.random(n) < probability(pair, z)


@pytest.mark.parametrize("pair", [Calibration(1.0, 0.0), Calibration(0.6, -0.5), Calibration(1.7, 0.8)])
def test_the_pair_that_made_the_data_is_found(pair: Calibration) -> None:
    found = fit_platt(*drawn(pair))
    assert found.slope == pytest.approx(pair.slope, abs=0.06)
    assert found.intercept == pytest.approx(pair.intercept, abs=0.1)


def test_without_both_outcomes_nothing_is_changed() -> None:
    z = np.linspace(-2, 2, 50)
    assert fit_platt(z, np.zeros(50, np.bool_)) == IDENTICAL
    assert fit_platt(z, np.ones(50, np.bool_)) == IDENTICAL


def test_scores_that_tell_the_opposite_are_not_turned_round() -> None:
    """A negative slope would change the order of the served scores: a head must not flip in calibration."""
    z, y = drawn(Calibration(1.0, 0.0), 2_000)
    assert fit_platt(-z, y) == IDENTICAL


@given(st.floats(-3, 3), st.floats(0.3, 2))
def test_a_refit_intercept_expects_what_was_observed(shift: float, slope: float) -> None:
    z, y = drawn(Calibration(1.0, shift), 4_000)
    found = refit_intercept(z, y, Calibration(slope, 0.0))
    assert found.slope == slope
    assert probability(found, z).sum() == pytest.approx(np.clip(y.sum(), 0.5, y.size - 0.5), rel=1e-6)
