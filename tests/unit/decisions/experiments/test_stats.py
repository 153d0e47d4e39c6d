"""The statistics agree with published tables, and cover the truth as often as they say."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from decisions.experiments import stats


def test_the_published_case_needs_about_64_000_sessions_per_arm() -> None:
    """2.5 % baseline, 10 % relative lift, alpha .05, power .80; the publication says about 200,000."""
    assert stats.sample_size(0.025, 0.1).per_arm == 64_199


def test_the_size_finds_the_lift_as_often_as_it_says() -> None:
    size = stats.sample_size(0.1, 0.2)
    rng = np.random.default_rng(4)
    a = rng.binomial(size.per_arm, 0.1, 4_000)
    b = rng.binomial(size.per_arm, 0.12, 4_000)
    found = [abs(stats.z_of_rates(x, size.per_arm, y, size.per_arm)) > 1.96 for x, y in zip(a, b, strict=True)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("values", [(0, 0.1), (0.5, 1.5), (0.1, 0), (1.2, 0.1)])
def test_sizes_that_describe_no_test_are_refused(values: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1|cannot be found"):
        stats.sample_size(*values)


@pytest.mark.parametrize(
    ("looks", "bounds"),
    [(2, [2.9626, 1.9686]), (5, [4.8769, 3.3570, 2.6803, 2.2898, 2.0310])],
)
def test_sequential_bounds_are_the_published_ones(looks: int, bounds: list[float]) -> None:
    """Lan and DeMets, O'Brien-Fleming-type spending, two-sided .05."""
    assert stats.obrien_fleming(looks) == pytest.approx(bounds, abs=2e-3)


def test_sequential_looks_keep_alpha_and_power() -> None:
    rng = np.random.default_rng(1)
    plan = stats.sequential_size(stats.sample_size(0.025, 0.1), 5)
    steps = rng.normal(size=(20_000, 5)) / math.sqrt(5)
    drift = math.sqrt(plan.inflation) * (stats.quantile(0.975) + stats.quantile(0.8))
    for shift, share in ((0.0, 0.05), (drift, 0.8)):
        walk = np.cumsum(steps + shift / 5, axis=1)
        z = walk / np.sqrt(np.arange(1, 6) / 5)
        assert (np.abs(z) >= plan.bounds).any(axis=1).mean() == pytest.approx(share, abs=0.01)
    assert 1 < plan.inflation < 1.05
    assert plan.expected_lift < plan.expected_null < plan.per_arm


def test_looks_must_make_sense() -> None:
    size = stats.sample_size(0.1, 0.2)
    for looks in (1, 21):
        with pytest.raises(ValueError, match="looks"):
            stats.sequential_size(size, looks)


def test_the_interval_of_a_difference_is_newcombes() -> None:
    """Newcombe 1998, table II, case (a): 56/70 against 48/80, method 10."""
    x = stats.difference(48, 80, 56, 70)
    assert (x.value, x.low, x.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.binomial(2_000, 0.05, 2_000).tolist(), rng.binomial(2_000, 0.06, 2_000).tolist()
    differences = [stats.difference(x, 2_000, y, 2_000) for x, y in zip(a, b, strict=True)]
    ratios = [stats.ratio(x, 2_000, y, 2_000) for x, y in zip(a, b, strict=True)]
    assert np.mean([d.low <= 0.01 <= d.high for d in differences]) == pytest.approx(0.95, abs=0.015)
    assert np.mean([r.low <= 1.2 <= r.high for r in ratios]) == pytest.approx(0.95, abs=0.015)


def alone(values: NDArray[np.float64]) -> stats.Clusters:
    return stats.Clusters(values, np.ones(values.size))


def test_clusters_of_one_are_plain_sessions() -> None:
    hits = (np.random.default_rng(6).random(3_000) < 0.1).astype(np.float64)
    assert alone(hits).variance == pytest.approx(hits.var(ddof=1) / hits.size)
    assert alone(hits).design_effect() == pytest.approx(1, abs=0.001)


def test_clustered_intervals_cover_the_truth_where_plain_ones_do_not() -> None:
    """Visitors with their own rates and about ten sessions each: the plain interval of an A/A test is too narrow."""
    rng = np.random.default_rng(7)
    plain, clustered = [], []
    for _ in range(400):
        arms = []
        for _ in range(2):
            sizes = rng.integers(1, 20, 300)
            arms.append((rng.binomial(sizes, rng.beta(0.5, 4.5, 300)).astype(np.float64), sizes.astype(np.float64)))
        counts = [(float(hits.sum()), float(sizes.sum())) for hits, sizes in arms]
        effects = [stats.Clusters(*arm).design_effect() for arm in arms]
        (a, n), (b, m) = counts
        plain.append(abs(stats.z_of_rates(a, n, b, m)) > 1.96)
        clustered.append(abs(stats.z_of_rates(a / effects[0], n / effects[0], b / effects[1], m / effects[1])) > 1.96)
    assert np.mean(plain) > 0.1
    assert np.mean(clustered) == pytest.approx(0.05, abs=0.03)


def test_empty_counts_give_no_figures() -> None:
    assert math.isnan(stats.difference(0, 0, 1, 10).value)
    assert math.isnan(stats.ratio(0, 10, 1, 10).value)
    assert math.isnan(stats.mean_difference(alone(np.zeros(0)), alone(np.zeros(5))).value)
    assert stats.z_of_rates(0, 0, 1, 2) == stats.z_of_rates(0, 5, 0, 5) == 0.0


def treated(bought: NDArray[np.bool_], shown: NDArray[np.bool_]) -> stats.Treated:
    columns = (np.ones(bought.size), bought, shown, bought & shown)
    return stats.Treated(*(column.astype(np.float64) for column in columns))


def test_where_all_are_shown_and_none_of_the_control_it_is_the_plain_comparison() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.random(4_000) < 0.1, rng.random(4_000) < 0.13
    lift, difference = stats.effect_of_showing(treated(a, a & False), treated(b, b | True))
    counts = float(a.sum()), 4_000.0, float(b.sum()), 4_000.0
    ratio = stats.ratio(*counts)
    assert (lift.value, lift.low, lift.high) == pytest.approx(
        (ratio.value - 1, ratio.low - 1, ratio.high - 1), rel=1e-2
    )
    assert difference.value == pytest.approx(stats.difference(*counts).value)


def test_intervals_by_shown_cover_the_truth_although_the_shown_differ_from_the_others() -> None:
    """Half scroll down, buy twice as often anyway, and one and a half times that for being shown it."""
    rng = np.random.default_rng(9)
    lifts, differences, naive = [], [], []
    for _ in range(300):
        arms = []
        for showing in (False, True):
            scrolls = rng.random(4_000) < 0.5
            rate = np.where(scrolls, 0.10 * (1.5 if showing else 1), 0.05)
            arms.append(treated(rng.random(4_000) < rate, scrolls & showing))
        a, b = arms
        lift, difference = stats.effect_of_showing(a, b)
        lifts.append(lift.low <= 0.5 <= lift.high)
        differences.append(difference.low <= 0.05 <= difference.high)
        naive.append(b.bought_shown.sum() / b.shown.sum() / a.bought.mean() - 1)
    assert np.mean(lifts) == pytest.approx(0.95, abs=0.03)
    assert np.mean(differences) == pytest.approx(0.95, abs=0.03)
    assert np.mean(naive) > 0.9, "who compares the shown with all of the control finds nearly twice as much"


def test_hardly_anybody_shown_says_nothing() -> None:
    rng = np.random.default_rng(10)
    a, b = rng.random(2_000) < 0.1, rng.random(2_000) < 0.1
    few = np.arange(2_000) < 8
    for shown in (few, a & False):
        lift, difference = stats.effect_of_showing(treated(a, a & False), treated(b, shown))
        assert np.isnan([lift.value, difference.value]).all()
    one = treated(a[:1], a[:1])
    assert np.isnan(stats.effect_of_showing(one, one)[1].value)
