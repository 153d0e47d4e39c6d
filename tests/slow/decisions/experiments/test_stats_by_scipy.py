"""The statistics agree with SciPy, which takes seconds to load."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from decisions.experiments import stats
from tests.unit.decisions.experiments.test_stats import alone


@pytest.mark.parametrize("df", [1, 2, 3, 4, 9, 30])
@pytest.mark.parametrize("x", [0.01, 1.0, 7.5, 60.0])
def test_chi_square_tails_are_those_of_scipy(df: int, x: float) -> None:
    assert stats.chi_square_p(x, df) == pytest.approx(float(scipy_stats.chi2.sf(x, df)), rel=1e-9)


def test_sample_ratio_is_scipys_chi_square() -> None:
    chi_square, p = stats.sample_ratio([4_900, 5_100, 1_010], [0.45, 0.45, 0.1])
    expected = scipy_stats.chisquare([4_900, 5_100, 1_010], np.array([0.45, 0.45, 0.1]) * 11_010)
    assert (chi_square, p) == pytest.approx((expected.statistic, expected.pvalue))


def test_the_interval_of_a_ratio_is_scipys() -> None:
    x = stats.ratio(48, 80, 56, 70)
    katz = scipy_stats.contingency.relative_risk(56, 70, 48, 80).confidence_interval(0.95)
    assert (x.low, x.high) == pytest.approx((katz.low, katz.high))


def test_mean_differences_are_welchs() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.gamma(1, 20, 5_000), rng.gamma(1, 22, 4_000)
    x = stats.mean_difference(alone(a), alone(b))
    welch = scipy_stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    assert (x.low, x.high) == pytest.approx((welch.low, welch.high), rel=1e-2)
