"""What a worker exports: one attribute per metric of `worker.metrics.catalogue`, in a registry that the caller owns.

The loop calls, once a batch::

    metrics.events.inc("applied", by=n)  # a label value, or its position in the closed set
    metrics.decisions.add(counts)  # (4 stages, routes) counted by numpy
    metrics.event_to_decision_seconds.observe_many(dt)  # seconds, shape (n,)
    metrics.batch_seconds.observe(0.004, "score")
    metrics.consumer_lag.replace({("3",): 120.0})

Nothing here blocks longer than a scrape takes to copy its arrays, and nothing raises for a value from the outside
world: unknown label values count as ``other``.
"""

from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from featurestore.contract.codes import currency_name
from featurestore.contract.currencies import CURRENCIES
from worker.metrics.catalogue import CATALOGUE
from worker.metrics.instruments import Counter, Gauge, Histogram
from worker.metrics.labels import CURRENCIES_AT_FIRST, OTHER

__all__ = ["CATALOGUE", "Counter", "Gauge", "Histogram", "Metrics", "TruthMetrics", "new_registry"]

Series = TypeVar("Series", Counter, Gauge, Histogram)

_CURRENCIES = frozenset(CURRENCIES)
_SPECS = {spec.name: spec for spec in CATALOGUE}


def new_registry() -> CollectorRegistry:
    """An empty registry with the process's own figures (start time, memory, CPU, file descriptors, GC)."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class Family(Collector):
    """Series of the catalogue that are registered as one collector."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._series: list[Counter | Gauge | Histogram] = []

    def collect(self) -> Iterable[Metric]:
        """The series in the order in which they were made; called by the HTTP thread."""
        with self._lock:
            return [series.family() for series in self._series]

    def describe(self) -> Iterable[Metric]:
        return self.collect()

    def _counter(self, name: str) -> Counter:
        return self._keep(Counter(_SPECS[name], self._lock))

    def _gauge(self, name: str) -> Gauge:
        return self._keep(Gauge(_SPECS[name], self._lock))

    def _histogram(self, name: str) -> Histogram:
        return self._keep(Histogram(_SPECS[name], self._lock))

    def _keep(self, series: Series) -> Series:
        self._series.append(series)
        return series


class TruthMetrics(Family):
    """What `clickstage evaluate --live` writes to a file for the node exporter's textfile collector."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self.macro_f1 = self._gauge("truth_macro_f1")
        self.accuracy = self._gauge("truth_accuracy")
        self.stage_precision = self._gauge("truth_stage_precision")
        self.sessions = self._gauge("truth_sessions")
        self.decisions = self._gauge("truth_decisions")
        self.run_timestamp = self._gauge("truth_run_timestamp_seconds")
        registry.register(self)


class Metrics(Family):
    """The worker's series, registered as one collector.

    Parameters
    ----------
    registry
        Where to register; None keeps them private (tests, the pure batch in benchmarks).
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__()
        self.events = self._counter("events_total")
        self.events_by_type = self._counter("events_by_type_total")
        self.decisions = self._counter("decisions_total")
        self.event_to_decision_seconds = self._histogram("event_to_decision_seconds")
        self.batch_seconds = self._histogram("batch_seconds")
        self.batch_events = self._histogram("batch_events")
        self.consumer_lag = self._gauge("consumer_lag")
        self.assigned_partitions = self._gauge("assigned_partitions")
        self.topic_partitions = self._gauge("topic_partitions")
        self.dead_letters = self._counter("dead_letters_total")
        self.held_partitions = self._gauge("held_partitions")
        self.duplicates_skipped = self._counter("duplicates_skipped_total")
        self.late_events = self._counter("late_events_total")
        self.placement_checked = self._counter("placement_checked_total")
        self.misplaced_records = self._counter("misplaced_records_total")
        self.field_problems = self._counter("event_field_problems_total")
        self.clock_skew_seconds = self._histogram("event_clock_skew_seconds")
        self.clock_corrected = self._counter("clock_corrected_events_total")
        self.foreign_amounts = self._counter("foreign_currency_amounts_total")
        self.unknown_types = self._counter("unknown_types_total")
        self.timers_fired = self._counter("timers_fired_total")
        self.ready = self._gauge("ready")

        self.store_retries = self._counter("store_retries_total")
        self.store_paused_seconds = self._counter("store_paused_seconds_total")
        self.rewinds = self._counter("rewinds_total")
        self.corrupt_records = self._counter("corrupt_records_total")
        self.log_gaps = self._counter("log_gaps_total")
        self.lost_offsets = self._counter("lost_offsets_total")
        self.commit_failures = self._counter("commit_failures_total")
        self.policy_reloads = self._counter("policy_reloads_total")
        self.log_lines_suppressed = self._counter("log_lines_suppressed_total")
        self.bundle_info = self._gauge("bundle_info")
        self.policy_info = self._gauge("policy_info")

        self.feature_bins = self._counter("feature_bin_total")
        self.feature_baseline_share = self._gauge("feature_baseline_share")
        self.feature_bin_upper_edge = self._gauge("feature_bin_upper_edge")
        self.feature_sum = self._counter("feature_sum_total")
        self.feature_values = self._counter("feature_values_total")
        self.feature_baseline_mean = self._gauge("feature_baseline_mean")
        self.feature_baseline_sd = self._gauge("feature_baseline_sd")
        self.predicted_stage = self._counter("predicted_stage_total")
        self.rule_stage = self._counter("rule_stage_total")
        self.stage_agreement = self._counter("stage_agreement_total")
        self.stage_baseline_share = self._gauge("stage_baseline_share")
        self.drift_sessions = self._counter("drift_sessions_total")
        self.drift_minimum = self._gauge("drift_minimum")
        self.drift_window_events = self._gauge("drift_window_events")
        self.drift_window_sessions = self._gauge("drift_window_sessions")
        self.feature_psi = self._gauge("feature_psi")
        self.feature_mean_shift_sd = self._gauge("feature_mean_shift_sd")
        self.stage_share = self._gauge("stage_share")
        self.stage_share_shift_pp = self._gauge("stage_share_shift_pp")
        self.stage_kl_divergence = self._gauge("stage_kl_divergence")

        self.outcomes_expected = self._counter("outcomes_expected_total")
        self.outcomes_observed = self._counter("outcomes_observed_total")
        self.head_rows = self._counter("head_rows_total")
        self.head_output_sum = self._counter("head_output_sum_total")
        self.head_output_baseline = self._gauge("head_output_baseline")

        self.sessions_finished = self._counter("sessions_finished_total")
        self.order_value = self._counter("order_value_total")
        self.dropoff_sessions = self._counter("dropoff_sessions_total")
        self.actions_shown = self._counter("actions_shown_total")
        self.paying_sessions = self._counter("paying_sessions_total")
        self.arm_sessions = self._counter("arm_sessions_total")
        self.arm_order_value = self._counter("arm_order_value_total")

        self.ready.set(0.0)
        if registry is not None:
            registry.register(self)

    def use_bundle(self, name: str, version: str, baseline: str) -> None:
        """Name the bundle in use; ``baseline`` is a short hash of the drift baseline, or ``none``."""
        self.bundle_info.replace({(name, version, baseline): 1.0})

    def use_policy(self, name: str, digest: str, actions: Sequence[str] = ()) -> None:
        """Name the policy in use and give the actions a policy may show, in the order of their numbers."""
        self.policy_info.replace({(name, digest): 1.0})
        self.actions_shown.use_axes({"action": actions})

    def use_arms(self, arms: Iterable[Mapping[str, str]]) -> None:
        """Give the experiments' arms: each mapping goes from experiment to arm, as a policy enrols shoppers."""
        pairs = {pair for enrolled in arms for pair in enrolled.items()}
        axes: dict[str, Sequence[str]] = {
            "experiment": sorted({e for e, _ in pairs}),
            "arm": sorted({a for _, a in pairs}),
        }
        money: dict[str, Sequence[str]] = {"currency": self.arm_order_value.axes[-1]}
        for counter, more in ((self.arm_sessions, axes), (self.arm_order_value, axes | money)):
            counter.use_axes(more, lambda labels: (labels[0], labels[1]) in pairs)

    def currency(self, code: int) -> str:
        """The label of a `currency_code`, whose series exist from now on: those of ISO 4217, ``none`` and ``other``."""
        name = currency_name(code)
        if not name:
            return CURRENCIES_AT_FIRST[0]
        if name not in _CURRENCIES:
            return OTHER
        for counter in (self.order_value, self.paying_sessions, self.arm_order_value):
            counter.extend("currency", name)
        return name

    def count_decisions(self, stages: npt.NDArray[np.uint8], routes: npt.NDArray[np.uint8]) -> None:
        """Count decisions by stage and route, codes of shape (n,)."""
        width = self.decisions.values.shape[1]
        flat = np.bincount(stages.astype(np.int64) * width + routes, minlength=self.decisions.values.size)
        self.decisions.add(flat.reshape(-1, width))

    def set_lag(self, lag: dict[int, int], owned: int) -> None:
        """Lag per partition, partitions not named vanish; and how many partitions the worker owns."""
        self.consumer_lag.replace({(str(partition),): float(behind) for partition, behind in lag.items()})
        self.assigned_partitions.set(float(owned))
