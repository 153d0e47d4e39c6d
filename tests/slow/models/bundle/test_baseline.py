"""The drift baseline: bins that are frozen, shares that add up, figures that are always numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from featurestore.session.features import FEATURES, N_FEATURES
from models.bundle.baseline import FLOOR, MAX_BINS, Baseline, kl, psi

# Up to 24 rows: enough for every bin that ten tenths can have, with ties in some; each value drawn costs time.
ROWS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 24), st.just(N_FEATURES)),
    elements=st.one_of(st.just(math.nan), st.integers(0, 3).map(float), st.floats(-1e9, 1e9)),
)
SHARES = st.lists(st.integers(0, 50), min_size=2, max_size=12).map(lambda counts: np.array(counts, np.float64))


def trained(X: NDArray[np.float64]) -> Baseline:
    return Baseline.from_training(X, np.arange(len(X)).astype(np.uint8) % 4)


def usual(n: int = 5_000, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    X = rng.lognormal(1, 1, (n, N_FEATURES))
    X[:, 3] = rng.poisson(0.3, n)
    X[:, 4] = 7.0
    X[rng.random(n) < 0.4, 5] = np.nan
    return X


@given(X=ROWS)
def test_every_row_has_one_bin_and_shares_add_up(X: NDArray[np.float64]) -> None:
    baseline = trained(X)
    for edges, shares, counts in zip(baseline.edges, baseline.shares, baseline.counts(X), strict=True):
        assert len(edges) + 1 <= MAX_BINS
        assert counts.sum() == len(X)
        np.testing.assert_allclose(shares, counts / len(X))
        assert (counts[:-1] > 0).all() or counts[-1] == len(X)


@given(X=ROWS)
def test_training_rows_show_no_drift(X: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(trained(X).psi_of(X), 0, atol=1e-12)


@given(X=ROWS)
def test_json_keeps_every_bit(X: NDArray[np.float64]) -> None:
    baseline = trained(X)
    assert Baseline.from_json(baseline.to_json()) == baseline


@given(X=ROWS, later=ROWS)
def test_the_padded_table_says_the_same(X: NDArray[np.float64], later: NDArray[np.float64]) -> None:
    """Counting with padded edges, as the worker does, gives the counts and shares of the ragged lists."""
    baseline = trained(X)
    edges, shares = baseline.table()
    assert shares.shape == (N_FEATURES, baseline.width)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    for j, counts in enumerate(baseline.counts(later)):
        known = later[~np.isnan(later[:, j]), j]
        bins = (known[:, None] > edges[j]).sum(axis=1)
        np.testing.assert_array_equal(np.bincount(bins, minlength=baseline.width)[: len(counts) - 1], counts[:-1])


def test_an_edge_belongs_to_the_bin_below() -> None:
    X = np.tile(np.arange(1.0, 11)[:, None], N_FEATURES)
    baseline = trained(X)
    assert baseline.edges[0] == tuple(range(1, 10))
    on_edge = np.full((1, N_FEATURES), 3.0)
    assert baseline.counts(on_edge)[0].tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert baseline.counts(np.nextafter(on_edge, 4))[0][3] == 1


def test_a_constant_feature_has_one_bin_and_never_alarms() -> None:
    baseline = trained(usual())
    assert baseline.edges[4] == ()
    assert (baseline.means[4], baseline.sds[4]) == (7.0, 0.0)
    moved = usual(seed=1)
    moved[:, 4] = 1e6
    assert baseline.psi_of(moved)[4] == 0


def test_a_feature_that_was_never_known_is_all_missing() -> None:
    X = usual()
    X[:, 5] = np.nan
    baseline = trained(X)
    assert (baseline.edges[5], baseline.shares[5]) == ((), (0.0, 1.0))
    assert (baseline.means[5], baseline.sds[5]) == (0.0, 0.0)


def test_missing_values_are_a_bin_of_their_own() -> None:
    """A visitor store that was lost shows as drift of bounce_rate."""
    baseline = trained(usual())
    lost = usual(seed=1)
    lost[:, 5] = np.nan
    assert baseline.psi_of(lost)[5] > 0.25
    assert baseline.psi_of(usual(seed=2)).max() < 0.05


def test_a_shifted_feature_alarms_and_no_other() -> None:
    baseline = trained(usual())
    shifted = usual(seed=1)
    shifted[:, 8] *= 3
    alarms = baseline.psi_of(shifted) > 0.25
    assert np.flatnonzero(alarms).tolist() == [FEATURES.index("idle_time")]


@given(expected=SHARES, counts=SHARES)
def test_psi_is_a_finite_number_that_is_not_negative(
    expected: NDArray[np.float64], counts: NDArray[np.float64]
) -> None:
    size = min(len(expected), len(counts))
    expected, counts = expected[:size], counts[:size]
    value = psi(expected / max(expected.sum(), 1), counts)
    assert math.isfinite(value)
    assert value >= 0
    assert psi(expected / max(expected.sum(), 1), expected) == pytest.approx(0, abs=size * FLOOR * 10)


@given(p=SHARES, q=SHARES)
def test_kl_is_a_finite_number_that_is_not_negative(p: NDArray[np.float64], q: NDArray[np.float64]) -> None:
    size = min(len(p), len(q))
    assert 0 <= kl(p[:size], q[:size]) < 1 / FLOOR
    assert kl(p, p) == 0


def test_figures_of_known_shares() -> None:
    """By hand: (0.2 - 0.5) ln(0.2 / 0.5) + (0.8 - 0.5) ln(0.8 / 0.5), and the two divergences it is the sum of."""
    half, moved = np.array([0.5, 0.5]), np.array([20.0, 80.0])
    assert psi(half, moved) == pytest.approx(0.3 * math.log(4))
    assert kl(moved, half) + kl(half, moved) == pytest.approx(psi(half, moved))
    assert psi(np.array([1.0, 0.0]), np.array([0.0, 5.0])) == pytest.approx(2 * (1 - FLOOR) * math.log(1 / FLOOR))


def test_an_empty_window_shows_no_drift() -> None:
    nothing = np.zeros(3)
    assert psi(np.array([0.2, 0.3, 0.5]), nothing) == 0
    assert kl(nothing, np.ones(3)) == kl(np.ones(3), nothing) == 0
    assert trained(usual()).psi_of(np.empty((0, N_FEATURES))).tolist() == [0] * N_FEATURES


def test_what_is_no_baseline_is_refused() -> None:
    good = trained(usual())
    with pytest.raises(ValueError, match="edges must ascend"):
        Baseline.from_json(good.model_copy(update={"edges": ((3.0, 2.0), *good.edges[1:])}).to_json())
    shares = (tuple(2 * share for share in good.shares[0]), *good.shares[1:])
    with pytest.raises(ValueError, match="add up to 1"):
        Baseline.from_json(good.model_copy(update={"shares": shares}).to_json())
    with pytest.raises(ValueError, match=f"rows of {N_FEATURES} features"):
        Baseline.from_training(np.empty((0, N_FEATURES)), np.empty(0, np.uint8))
