"""The catalogue and the series behind it."""

import math

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from worker.metrics.catalogue import CATALOGUE, PREFIX, Kind
from worker.metrics.labels import LATENCY_BOUNDS_S, OPEN, OTHER, STEPS
from worker.metrics.metrics import Metrics, new_registry


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


def test_every_metric_of_the_catalogue_is_exported_and_nothing_else(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    families = {f.name: f for f in text_string_to_metric_families(generate_latest(registry).decode())}
    expected = {s.full_name.removesuffix("_total") for s in CATALOGUE if s.source == "worker"}
    assert set(families) == expected
    for spec in CATALOGUE:
        if spec.source == "worker":
            family = families[spec.full_name.removesuffix("_total")]
            assert (family.type, family.documentation) == (spec.kind.value, spec.help)


def test_names_follow_the_conventions() -> None:
    names = [s.name for s in CATALOGUE]
    assert len(set(names)) == len(names)
    for spec in CATALOGUE:
        assert spec.name == spec.name.lower()
        assert (spec.kind is Kind.COUNTER) == spec.name.endswith("_total")
        assert spec.help.endswith(".") or ";" in spec.help
        assert not {"session", "session_id", "visitor", "visitor_id", "event_id"} & set(spec.labels)
        assert (spec.kind is Kind.HISTOGRAM) == bool(spec.bounds)
        assert list(spec.bounds) == sorted(set(spec.bounds))


def test_the_latency_objectives_are_bucket_bounds() -> None:
    assert {0.01, 0.05} <= set(LATENCY_BOUNDS_S)


def test_closed_series_exist_at_zero_from_the_start(registry: CollectorRegistry, metrics: Metrics) -> None:
    for spec in CATALOGUE:
        if spec.kind is Kind.COUNTER and OPEN not in spec.labels.values():
            labels = {name: values[-1] for name, values in spec.labels.items()}
            assert registry.get_sample_value(spec.full_name, labels) == 0.0, spec.name
    assert registry.get_sample_value(PREFIX + "batch_seconds_count", {"step": STEPS[0]}) == 0.0


def test_unknown_label_values_count_as_other(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.dead_letters.inc("<script>")
    metrics.dead_letters.inc("not_json", by=3)
    assert registry.get_sample_value(PREFIX + "dead_letters_total", {"reason": OTHER}) == 1.0
    assert registry.get_sample_value(PREFIX + "dead_letters_total", {"reason": "not_json"}) == 3.0


def test_an_unknown_value_on_a_set_without_other_is_a_programming_error(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="no label value"):
        metrics.predicted_stage.inc("Window Shopper")
    with pytest.raises(ValueError, match="0 label values for 1"):
        metrics.predicted_stage.inc()
    with pytest.raises(ValueError, match="never goes down"):
        metrics.predicted_stage.inc(0, by=-1)


def test_a_batch_of_counts_is_added_at_once(registry: CollectorRegistry, metrics: Metrics) -> None:
    counts = np.zeros(metrics.decisions.values.shape)
    counts[2, 0] = 5
    metrics.decisions.add(counts)
    metrics.decisions.add(counts)
    labels = {"stage": "Intent Buyer", "route": metrics.decisions.axes[1][0]}
    assert registry.get_sample_value(PREFIX + "decisions_total", labels) == 10.0


def test_a_histogram_takes_whole_batches_as_prometheus_would_count_them(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    rng = np.random.default_rng(5)
    values = np.r_[rng.exponential(0.02, 1000), LATENCY_BOUNDS_S, 1e9]
    metrics.event_to_decision_seconds.observe_many(values)
    name = PREFIX + "event_to_decision_seconds"
    for bound in LATENCY_BOUNDS_S:
        counted = registry.get_sample_value(name + "_bucket", {"le": repr(bound)})
        assert counted == np.count_nonzero(values <= bound)
    assert registry.get_sample_value(name + "_bucket", {"le": "+Inf"}) == len(values)
    assert registry.get_sample_value(name + "_count") == len(values)
    assert registry.get_sample_value(name + "_sum") == pytest.approx(values.sum())


def test_negative_latencies_count_as_zero_and_nan_is_dropped(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.event_to_decision_seconds.observe_many([-0.5, math.nan, 0.003])
    metrics.event_to_decision_seconds.observe_many([])
    assert registry.get_sample_value(PREFIX + "event_to_decision_seconds_count") == 2.0
    assert registry.get_sample_value(PREFIX + "event_to_decision_seconds_sum") == pytest.approx(0.003)


def test_one_value_of_a_labelled_histogram(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.batch_seconds.observe(0.004, "score")
    metrics.batch_seconds.observe(0.004, "juggle")
    assert registry.get_sample_value(PREFIX + "batch_seconds_count", {"step": "score"}) == 1.0
    assert registry.get_sample_value(PREFIX + "batch_seconds_count", {"step": OTHER}) == 1.0


def test_a_gauge_of_nan_is_absent(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.feature_psi.set(math.nan, "idle_time")
    metrics.feature_psi.set(0.1, "cart_ratio")
    assert registry.get_sample_value(PREFIX + "feature_psi", {"feature": "idle_time"}) is None
    assert registry.get_sample_value(PREFIX + "feature_psi", {"feature": "cart_ratio"}) == 0.1
    with pytest.raises(ValueError, match="1 label values for 0"):
        metrics.ready.set(1.0, "nonsense")


def test_the_lag_of_a_revoked_partition_vanishes(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.set_lag({3: 120, 4: 0}, 2)
    metrics.set_lag({4: 7}, 1)
    assert registry.get_sample_value(PREFIX + "consumer_lag", {"partition": "3"}) is None
    assert registry.get_sample_value(PREFIX + "consumer_lag", {"partition": "4"}) == 7.0
    assert registry.get_sample_value(PREFIX + "assigned_partitions") == 1.0


def test_a_new_policy_keeps_the_counts_of_the_actions_it_shares_with_the_old(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.use_policy("fashion", "aa", ["none", "banner"])
    metrics.actions_shown.inc("banner", by=4)
    metrics.use_policy("fashion", "bb", ["none", "coupon", "banner"])
    assert registry.get_sample_value(PREFIX + "actions_shown_total", {"action": "banner"}) == 4.0
    assert registry.get_sample_value(PREFIX + "actions_shown_total", {"action": "coupon"}) == 0.0
    assert registry.get_sample_value(PREFIX + "policy_info", {"policy": "fashion", "hash": "aa"}) is None
    metrics.use_bundle("production", "1", "none")
    assert (
        registry.get_sample_value(PREFIX + "bundle_info", {"bundle": "production", "version": "1", "baseline": "none"})
        == 1.0
    )


def test_the_process_figures_come_with_a_new_registry() -> None:
    assert new_registry().get_sample_value("process_start_time_seconds") is not None
