"""The drift monitor: equal to the plain computation, defined where arithmetic is not, cheap."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from featurestore.session.features import FEATURES
from featurestore.session.stages import STAGES
from models.bundle.baseline import Baseline
from worker.metrics import drift
from worker.metrics.catalogue import PREFIX
from worker.metrics.drift import PARTS, DriftMonitor, Tally, read
from worker.metrics.metrics import Metrics


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.s = 1000.0

    def now_ms(self) -> int:
        return int(self.s * 1000)

    def monotonic(self) -> float:
        return self.s

    def sleep(self, seconds: float) -> None:
        self.s += seconds


def rows(n: int, seed: int, shift: float = 0.0) -> NDArray[np.float64]:
    """Plausible feature rows; a third have no bounce_rate, a tenth are the first of their session."""
    rng = np.random.default_rng(seed)
    X = rng.gamma(2.0, 10.0, (n, len(FEATURES)))
    X[:, FEATURES.index("idle_time")] += shift
    X[rng.random(n) < 1 / 3, FEATURES.index("bounce_rate")] = np.nan
    first = np.arange(n) % 10 == 0
    X[first, FEATURES.index("session_duration")] = 0
    X[first, FEATURES.index("num_clicks")] = 1
    X[first, FEATURES.index("idle_time")] = 0
    return X


def began(X: NDArray[np.float64]) -> int:
    """How many of the rows `rows` meant to be the first of a session."""
    return int((X[:, FEATURES.index("session_duration")] == 0).sum())


def codes(n: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, len(STAGES), n).astype(np.uint8)


BASELINE = Baseline.from_training(rows(20_000, 1), codes(20_000, 1))


class Setup:
    """A monitor with its registry and clock."""

    def __init__(self, baseline: Baseline | None = BASELINE, min_sample: int = 100) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.clock = Clock()
        self.monitor = DriftMonitor(baseline, self.metrics, self.clock, 600.0, min_sample)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(PREFIX + name, labels)


def test_the_window_gives_what_the_plain_computation_gives() -> None:
    setup = Setup()
    X, predicted, ruled = rows(5_000, 2, shift=15.0), codes(5_000, 3), codes(5_000, 4)
    for part in range(0, 5_000, 700):
        setup.monitor.observe(
            X[part : part + 700], predicted[part : part + 700], ruled[part : part + 700], began(X[part : part + 700])
        )
    setup.monitor.publish()
    plain = BASELINE.psi_of(X)
    assert plain[FEATURES.index("idle_time")] > 0.25
    for j, feature in enumerate(FEATURES):
        assert setup.value("feature_psi", feature=feature) == pytest.approx(plain[j], abs=1e-12)
        shift = (np.nanmean(X[:, j]) - BASELINE.means[j]) / BASELINE.sds[j]
        assert setup.value("feature_mean_shift_sd", feature=feature) == pytest.approx(shift, abs=1e-9)
    p, q = (np.bincount(c, minlength=4) / 5_000 for c in (predicted, ruled))
    assert setup.value("stage_kl_divergence") == pytest.approx(float((p * np.log(p / q)).sum()), abs=1e-12)
    for stage, share, before in zip(STAGES, p, BASELINE.output_means, strict=True):
        assert setup.value("stage_share", stage=stage) == pytest.approx(share)
        assert setup.value("stage_share_shift_pp", stage=stage) == pytest.approx(100 * (share - before))
    assert setup.value("drift_window_events") == 5_000
    assert setup.value("drift_window_sessions") == 500


def test_the_counters_hold_every_row_once_per_feature() -> None:
    setup = Setup()
    X, stages = rows(3_000, 5), codes(3_000, 6)
    setup.monitor.observe(X, stages, stages, began(X))
    for feature, counts in zip(FEATURES, BASELINE.counts(X), strict=True):
        names = [*(str(i) for i in range(len(counts) - 1)), "missing"]
        for name, n in zip(names, counts, strict=True):
            assert setup.value("feature_bin_total", feature=feature, bin=name) == n
    assert setup.value("drift_sessions_total") == 300
    assert setup.value("feature_sum_total", feature="idle_time") == pytest.approx(X[:, 8].sum())
    assert setup.value("feature_values_total", feature="bounce_rate") == np.isfinite(X[:, 5]).sum()


def test_the_baseline_is_exported_and_its_bins_exist_at_zero() -> None:
    setup = Setup()
    assert setup.value("feature_bin_total", feature="idle_time", bin="0") == 0
    assert setup.value("feature_bin_total", feature="idle_time", bin="missing") == 0
    shares = [setup.value("feature_baseline_share", feature="idle_time", bin=str(i)) or 0.0 for i in range(10)]
    assert sum(shares) == pytest.approx(1.0)
    assert setup.value("feature_bin_upper_edge", feature="idle_time", bin="9") == math.inf
    assert setup.value("drift_minimum") == 100


def test_a_small_sample_is_muted_and_says_so() -> None:
    setup = Setup(min_sample=100)
    X, stages = rows(990, 7), codes(990, 8)
    setup.monitor.observe(X, stages, stages, began(X))
    setup.monitor.publish()
    assert setup.value("drift_window_sessions") == 99
    for name, labels in (
        ("feature_psi", {"feature": "idle_time"}),
        ("feature_mean_shift_sd", {"feature": "idle_time"}),
        ("stage_share_shift_pp", {"stage": "Explorer"}),
        ("stage_kl_divergence", {}),
    ):
        assert setup.value(name, **labels) is None, name
    assert setup.value("stage_share", stage="Explorer") is not None
    setup.monitor.observe(X[:10], stages[:10], stages[:10], began(X[:10]))
    setup.monitor.publish()
    assert setup.value("feature_psi", feature="idle_time") is not None


def test_an_empty_window_has_a_size_and_no_figures() -> None:
    setup = Setup(min_sample=0)
    setup.monitor.publish()
    assert setup.value("drift_window_events") == 0
    assert setup.value("feature_psi", feature="idle_time") is None
    assert setup.value("stage_share", stage="Explorer") is None
    setup.monitor.observe(np.empty((0, 9)), codes(0, 1), codes(0, 1), began(np.empty((0, 9))))
    assert setup.value("predicted_stage_total", stage="Explorer") == 0


def test_without_a_baseline_stages_count_and_nothing_is_compared() -> None:
    setup = Setup(baseline=None, min_sample=1)
    setup.monitor.observe(rows(100, 1), codes(100, 1), codes(100, 2), began(rows(100, 1)))
    setup.monitor.publish()
    assert setup.value("drift_window_events") == 100
    assert sum(setup.value("predicted_stage_total", stage=s) or 0 for s in STAGES) == 100
    assert setup.value("stage_share", stage="Explorer") is not None
    assert setup.value("feature_psi", feature="idle_time") is None
    assert not setup.metrics.feature_bins.values.size


def test_a_feature_constant_in_training_has_no_mean_shift_and_psi_zero() -> None:
    X = rows(1_000, 1)
    X[:, 7] = 3.0
    setup = Setup(Baseline.from_training(X, codes(1_000, 1)), min_sample=1)
    live = X.copy()
    live[:, 7] = 99.0
    setup.monitor.observe(live, codes(1_000, 1), codes(1_000, 1), began(live))
    setup.monitor.publish()
    assert setup.value("feature_baseline_sd", feature="cart_ratio") == 0
    assert setup.value("feature_mean_shift_sd", feature="cart_ratio") is None
    assert setup.value("feature_psi", feature="cart_ratio") == 0


def test_a_feature_gone_missing_is_drift_without_a_mean() -> None:
    setup = Setup(min_sample=1)
    X = rows(1_000, 1)
    X[:, 6] = np.nan
    setup.monitor.observe(X, codes(1_000, 1), codes(1_000, 1), began(X))
    setup.monitor.publish()
    assert setup.value("feature_mean_shift_sd", feature="engagement_score") is None
    assert (setup.value("feature_psi", feature="engagement_score") or 0) > 1


def test_infinite_values_do_not_poison_means() -> None:
    setup = Setup(min_sample=1)
    X = rows(1_000, 1)
    X[0, 0], X[1, 0] = np.inf, -np.inf
    setup.monitor.observe(X, codes(1_000, 1), codes(1_000, 1), began(X))
    setup.monitor.publish()
    assert math.isfinite(setup.value("feature_mean_shift_sd", feature="session_duration") or math.nan)
    assert setup.value("feature_values_total", feature="session_duration") == 998


def test_stage_codes_from_nowhere_are_left_out() -> None:
    setup = Setup(min_sample=1)
    stages = np.array([0, 3, 4, 255], np.uint8)
    setup.monitor.observe(rows(4, 1), stages, stages, began(rows(4, 1)))
    assert sum(setup.value("predicted_stage_total", stage=s) or 0 for s in STAGES) == 2


def test_rows_leave_the_window_and_counters_stay() -> None:
    setup = Setup(min_sample=1)
    X, stages = rows(100, 1), codes(100, 1)
    setup.monitor.observe(X, stages, stages, began(X))
    setup.clock.s += 600.0 - 600.0 / PARTS
    assert setup.monitor.window().rows == 100
    setup.monitor.observe(X[:7], stages[:7], stages[:7], began(X[:7]))
    setup.clock.s += 600.0 / PARTS
    assert setup.monitor.window().rows == 7
    setup.clock.s += 1e6
    assert setup.monitor.window().rows == 0
    assert setup.value("drift_window_events") is None or setup.value("feature_values_total", feature="idle_time") == 107


def test_the_compiled_loop_counts_as_the_plain_one() -> None:
    X, predicted, ruled = rows(500, 9), codes(500, 1), codes(500, 2)
    X[0, :3] = [np.inf, -np.inf, np.nan]
    edges, _ = BASELINE.table()
    compiled, plain = Tally.empty(edges.shape[1] + 2), Tally.empty(edges.shape[1] + 2)
    for tally, count in ((compiled, drift._count), (plain, drift._count.py_func)):  # type: ignore[attr-defined]
        count(X, predicted, ruled, edges, tally.bins, tally.sums, tally.present, tally.predicted, tally.ruled)
    for name in ("bins", "present", "predicted", "ruled"):
        assert np.array_equal(getattr(compiled, name), getattr(plain, name))
    assert np.allclose(compiled.sums, plain.sums, rtol=1e-12)
    assert drift._count.signatures  # type: ignore[attr-defined]


def test_reading_is_pure() -> None:
    tally = Tally.empty(BASELINE.width)
    assert math.isnan(read(tally, BASELINE, 0).kl)
    assert not tally.bins.any()


def test_a_window_of_no_length_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than 0"):
        DriftMonitor(None, Metrics(), Clock(), 0.0)


@pytest.mark.issue(20, line=21)
def test_misses_that_cancel_out_are_counted() -> None:
    """The model calls ten Explorers Evaluators and ten Evaluators Explorers: the mix is right, twenty rows are not."""
    setup = Setup()
    ruled = np.repeat(np.array([0, 1, 2], np.uint8), [50, 50, 20])
    said = ruled.copy()
    said[:10], said[50:60] = 1, 0
    setup.monitor.observe(rows(120, 1), said, ruled, 12)
    stages = ("Explorer", "Evaluator", "Intent Buyer")
    assert [setup.value("stage_agreement_total", stage=stage, agrees="no") for stage in stages] == [10, 10, 0]
    assert setup.value("stage_agreement_total", stage="Explorer", agrees="yes") == 40


def another_shop(n: int) -> NDArray[np.float64]:
    return rows(n, 5) * 8.0 + 60.0


@pytest.mark.issue(20, line=18)
def test_a_model_of_another_shop_is_told_once_in_the_first_hour(caplog: pytest.LogCaptureFixture) -> None:
    """One line that says what to do; a shop that drifts later is drift, and the alerts' business."""
    setup = Setup()
    for _ in range(3):
        setup.monitor.observe(another_shop(2_000), codes(2_000, 1), codes(2_000, 1), 200)
        setup.monitor.publish()
    [line] = [record.getMessage() for record in caplog.records if "not made for this shop" in record.getMessage()]
    assert "9 of 9 features differ" in line
    assert "clickstage calibrate" in line
    caplog.clear()
    later = Setup()
    later.monitor.observe(rows(2_000, 2), codes(2_000, 1), codes(2_000, 1), 200)
    later.monitor.publish()
    later.clock.s += 3_700
    for _ in range(2):
        later.monitor.observe(another_shop(2_000), codes(2_000, 1), codes(2_000, 1), 200)
        later.monitor.publish()
    assert not caplog.records


@pytest.mark.issue(20, line=18, sibling=True)
def test_a_feature_that_drifts_alone_is_no_other_shop(caplog: pytest.LogCaptureFixture) -> None:
    setup = Setup()
    setup.monitor.observe(rows(2_000, 2, shift=40.0), codes(2_000, 1), codes(2_000, 1), 200)
    setup.monitor.publish()
    assert not caplog.records
