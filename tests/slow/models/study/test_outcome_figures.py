"""Figures of outcome heads against scikit-learn's, and the intervals that visits, not rows, give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from models.heads.ranking import auc
from models.study import outcome_figures as measure

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=4, max_size=60)


@given(ROWS)
def test_auc_and_average_precision_are_scikit_learn_s_ties_too(rows: list[tuple[bool, int]]) -> None:
    y, p = np.array([r[0] for r in rows]), np.array([r[1] / 8 for r in rows])
    if y.any():
        assert measure.average_precision(y, p) == pytest.approx(average_precision_score(y, p))
    if y.any() and not y.all():
        assert auc(y, p) == pytest.approx(roc_auc_score(y, p))


@given(ROWS)
def test_weights_count_rows_as_often(rows: list[tuple[bool, int]]) -> None:
    y, p = np.array([r[0] for r in rows]), np.array([r[1] / 8 for r in rows])
    weight = np.arange(y.size) % 3
    if y[weight > 0].any() and not y[weight > 0].all():
        twice = np.repeat(np.arange(y.size), weight)
        assert auc(y, p, weight.astype(np.float64)) == pytest.approx(auc(y[twice], p[twice]))


def test_lift_is_the_rate_at_the_top_over_the_rate_of_all() -> None:
    y = np.zeros(100, np.bool_)
    y[[0, 1, 50, 99]] = True
    p = np.linspace(1, 0, 100)
    assert measure.lift(y, p, 0.1) == pytest.approx((2 / 10) / (4 / 100))


def test_a_perfect_probability_has_a_skill_of_one_and_the_base_rate_of_zero() -> None:
    y = np.arange(200) % 4 == 0
    assert measure.brier_skill(y, y.astype(np.float64)) == 1
    assert measure.brier_skill(y, np.full(200, 0.25)) == pytest.approx(0)


def test_calibration_error_sees_a_probability_that_is_too_high() -> None:
    y = np.random.default_rng(0).random(20_000) < 0.1
    assert measure.ece(y, np.full(20_000, 0.1)) < 0.02
    assert measure.ece(y, np.full(20_000, 0.3)) == pytest.approx(0.2, abs=0.02)


def test_intervals_are_wider_where_visits_are_long() -> None:
    """A hundred rows of one visit are one observation: drawing rows would call the figure surer than it is."""
    rng = np.random.default_rng(1)
    outcome = rng.random(200) < 0.4
    score = outcome + rng.normal(0, 1.0, 200)
    y, p = np.repeat(outcome, 20), np.repeat(score, 20)
    by_visit = measure.intervals(y, p, np.repeat(np.arange(200), 20), 1)["auc"]
    by_row = measure.intervals(y, p, np.arange(4_000), 1)["auc"]
    assert by_visit[1] - by_visit[0] > 3 * (by_row[1] - by_row[0])


def test_lift_by_click_looks_at_visits_that_got_so_far() -> None:
    position = np.tile([1, 2], 300)
    y = np.arange(600) % 6 < 2
    found = measure.lift_by_click(y, y + position / 100.0, position)
    assert [(row["click"], row["rows"], row["lift"]) for row in found] == [(1, 300, 3.0), (2, 300, 3.0)]
    assert all(row["low"] <= row["lift"] <= row["high"] for row in found)
    rare = y & (np.arange(600) < 120)
    assert measure.lift_by_click(rare, y + position / 100.0, position) == [], "20 visits with the outcome are too few"


def test_the_interval_of_a_mean_counts_visits_and_not_their_rows() -> None:
    """A hundred rows of each of forty visits, all alike in a visit: as uncertain as forty numbers."""
    of_visit = np.random.default_rng(1).random(40)
    mean, (low, high) = measure.mean_interval(np.repeat(of_visit, 100), np.repeat(np.arange(40), 100), 42)
    assert mean == pytest.approx(of_visit.mean())
    assert high - low == pytest.approx(2 * 1.96 * of_visit.std() / 40**0.5, rel=0.1)
