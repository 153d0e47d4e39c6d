"""Is today's traffic still what the model was trained on? Counters for the fleet, a sliding window for this worker.

The bins and their shares are frozen in the bundle: a baseline that moves with the data cannot show that the data
moved. Every scored row counts, events and silences alike, since those are the rows that the model sees; the baseline is
made of the same kinds of rows. Rows of one session resemble each other, so the sample size that mutes a figure is
counted in sessions, not rows: the usual rule of thumb (500) holds for independent observations only. `bench/drift.py`
prints how often windows without drift pass the thresholds, and how soon shifts are seen.

What is defined where the arithmetic is not:

- no baseline in the bundle: rows and stages are counted, every comparison is absent;
- a feature that was constant in training (sd 0): one bin, so its PSI is 0 unless values go missing; no mean shift;
- a feature missing from nearly every row (fewer values than the sessions needed): no mean shift; PSI sees it through
  the bin of missing values;
- too few sessions, or none: every comparison is absent, and the window's size says why;
- infinite values: counted in the first or last bin, left out of means.
"""

import logging
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled
from featurestore.session.features import FEATURES, N_FEATURES
from featurestore.session.stages import STAGES
from models.bundle.baseline import Baseline, kl, psi
from worker.clock import Clock
from worker.metrics.metrics import Metrics

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Codes = NDArray[np.uint8]

#: Sessions in the window below which nothing is published; bench/drift.py is the reason for the number.
MIN_SESSIONS: Final = 1_000
#: A model was made for another shop if so many features are so far from its baseline, in the first hour of figures.
FAR_FEATURES: Final = 5
FAR_PSI: Final = 0.25
FIRST_HOUR_S: Final = 3_600.0
#: Parts of the sliding window; one is dropped at a time.
PARTS: Final = 12


@dataclass
class Tally:
    """Counts of scored rows; tallies add up.

    Attributes:
        bins: rows per feature and bin, shape (9, width); the last column is missing values.
        sums: sum of each feature's finite values, shape (9,).
        present: how many those are, shape (9,).
        predicted: rows per stage of the model, shape (4,).
        ruled: rows per stage of the rules, shape (4,).
        sessions: rows that are the first of their session.
    """

    bins: Floats
    sums: Floats
    present: Floats
    predicted: Floats
    ruled: Floats
    sessions: float = 0.0

    @classmethod
    def empty(cls, width: int) -> "Tally":
        n = len(STAGES)
        return cls(np.zeros((N_FEATURES, width)), np.zeros(N_FEATURES), np.zeros(N_FEATURES), np.zeros(n), np.zeros(n))

    @property
    def rows(self) -> float:
        return float(self.predicted.sum())

    def clear(self) -> None:
        for counts in (self.bins, self.sums, self.present, self.predicted, self.ruled):
            counts[:] = 0.0
        self.sessions = 0.0

    def add(self, other: "Tally") -> None:
        self.bins += other.bins
        self.sums += other.sums
        self.present += other.present
        self.predicted += other.predicted
        self.ruled += other.ruled
        self.sessions += other.sessions


@dataclass(frozen=True)
class Reading:
    """What a tally says against a baseline; NaN where there is no figure.

    Attributes:
        psi: per feature, shape (9,).
        mean_shift_sd: per feature, in training standard deviations, shape (9,).
        stage_share: per stage, shape (4,).
        stage_share_shift_pp: per stage, in percentage points, shape (4,).
        kl: divergence of the predicted from the rule-derived stage shares, nats.
    """

    psi: Floats
    mean_shift_sd: Floats
    stage_share: Floats
    stage_share_shift_pp: Floats
    kl: float


def read(tally: Tally, baseline: Baseline | None, min_sessions: int) -> Reading:
    """Compare; pure."""
    n = len(STAGES)
    share = tally.predicted / tally.rows if tally.rows else np.full(n, np.nan)
    if baseline is None or tally.rows == 0 or tally.sessions < min_sessions:
        absent = np.full(N_FEATURES, np.nan)
        return Reading(absent, absent, share, np.full(n, np.nan), np.nan)
    _, expected = baseline.table()
    sds, means = np.array(baseline.sds), np.array(baseline.means)
    comparable = (tally.present >= max(min_sessions, 1)) & (sds > 0)
    shift = np.full(N_FEATURES, np.nan)
    shift[comparable] = (tally.sums / np.maximum(tally.present, 1) - means)[comparable] / sds[comparable]
    return Reading(
        psi=np.array([psi(e, counts) for e, counts in zip(expected, tally.bins, strict=True)]),
        mean_shift_sd=shift,
        stage_share=share,
        stage_share_shift_pp=100 * (share - np.array(baseline.output_means)),
        kl=kl(tally.predicted, tally.ruled),
    )


class DriftMonitor:
    """Counts scored rows against the bundle's baseline. For one thread: the loop's.

    Parameters
    ----------
    baseline
        Of the bundle; None if it has none.
    metrics
        Its counters are added to with each batch; its gauges are set by `publish`.
    clock
        For the sliding window.
    window_s
        Length of the window.
    min_sample
        Sessions below which comparisons are absent.
    """

    def __init__(
        self,
        baseline: Baseline | None,
        metrics: Metrics,
        clock: Clock,
        window_s: float = 600.0,
        min_sample: int = MIN_SESSIONS,
    ) -> None:
        if window_s <= 0:
            raise ValueError("the drift window must be longer than 0 s")
        self._baseline = baseline
        self._metrics = metrics
        self._clock = clock
        self._part_s = window_s / PARTS
        self._min_sample = min_sample
        self._first_reading: float | None = None
        self._fit_known = False
        self._edges = np.empty((N_FEATURES, 0)) if baseline is None else baseline.table()[0]
        self._width = self._edges.shape[1] + 2
        self._batch = Tally.empty(self._width)
        self._parts = [Tally.empty(self._width) for _ in range(PARTS)]
        self._part = self._current_part()
        metrics.drift_minimum.set(float(min_sample))
        if baseline is not None:
            _describe(baseline, metrics)
        nobody = np.empty(0, np.uint8)
        self._tally(np.empty((0, N_FEATURES)), nobody, nobody)  # compiled now, so that no event waits for it

    def observe(self, X: Floats, stages: Codes, rule_stages: Codes, began: int) -> None:
        """Count a batch of scored rows; shapes (n, 9), (n,), (n,). Costs about 0.1 us a row.

        ``began`` is how many of the rows are the first of their session: the fold knows, the features do not, since a
        session_start and a page_view of one millisecond look alike.
        A stage code outside `STAGES` is left out of the stage counts.
        """
        batch = self._tally(X, stages, rule_stages)
        batch.sessions = float(began)
        metrics = self._metrics
        if self._baseline is not None:
            metrics.feature_bins.add(batch.bins)
        metrics.feature_sum.add(batch.sums)
        metrics.feature_values.add(batch.present)
        metrics.predicted_stage.add(batch.predicted)
        metrics.rule_stage.add(batch.ruled)
        known = (stages < len(STAGES)) & (rule_stages < len(STAGES))
        cells = 2 * rule_stages[known].astype(np.int64) + (stages[known] != rule_stages[known])
        metrics.stage_agreement.add(np.bincount(cells, minlength=2 * len(STAGES)).reshape(-1, 2))
        metrics.drift_sessions.inc(by=batch.sessions)
        self._roll()
        self._parts[self._part % PARTS].add(batch)

    def window(self) -> Tally:
        """All that the window holds now."""
        self._roll()
        total = Tally.empty(self._width)
        for part in self._parts:
            total.add(part)
        return total

    def publish(self) -> None:
        """Set the gauges from the window; costs about 0.2 ms, so once a second, not once a batch."""
        window = self.window()
        metrics = self._metrics
        metrics.drift_window_events.set(window.rows)
        metrics.drift_window_sessions.set(window.sessions)
        reading = read(window, self._baseline, self._min_sample)
        metrics.feature_psi.fill(reading.psi)
        metrics.feature_mean_shift_sd.fill(reading.mean_shift_sd)
        metrics.stage_share.fill(reading.stage_share)
        metrics.stage_share_shift_pp.fill(reading.stage_share_shift_pp)
        metrics.stage_kl_divergence.set(reading.kl)
        self._judge_fit(reading)

    def _judge_fit(self, reading: Reading) -> None:
        """Say once, in the first hour of traffic, that the model was made for another shop than this one."""
        if self._fit_known or np.isnan(reading.psi).all():
            return
        now = self._clock.monotonic()
        self._first_reading = now if self._first_reading is None else self._first_reading
        if now - self._first_reading > FIRST_HOUR_S:
            self._fit_known = True
            return
        far = np.flatnonzero(reading.psi > FAR_PSI)
        if far.size >= FAR_FEATURES:
            self._fit_known = True
            worst = sorted(far.tolist(), key=lambda j: -reading.psi[j])
            log.warning(
                "this model was not made for this shop: %d of %d features differ from its training data (%s). "
                "Calibrate it: `clickstage calibrate` on a day of your events, then `clickstage train --rules`",
                far.size,
                N_FEATURES,
                ", ".join(f"{FEATURES[j]} PSI {reading.psi[j]:.1f}" for j in worst[:3]),
            )

    def _tally(self, X: Floats, stages: Codes, rule_stages: Codes) -> Tally:
        """Count a batch alone. The same tally each time."""
        batch = self._batch
        batch.clear()
        _count(
            np.ascontiguousarray(X, np.float64),
            np.ascontiguousarray(stages),
            np.ascontiguousarray(rule_stages),
            self._edges,
            batch.bins,
            batch.sums,
            batch.present,
            batch.predicted,
            batch.ruled,
        )
        return batch

    def _current_part(self) -> int:
        return int(self._clock.monotonic() // self._part_s)

    def _roll(self) -> None:
        """Drop the parts that have left the window."""
        now = self._current_part()
        for part in range(self._part + 1, min(now, self._part + PARTS) + 1):
            self._parts[part % PARTS].clear()
        self._part = now


def bin_names(baseline: Baseline) -> list[str]:
    """Values of the label ``bin``: 0, 1, ... and "missing"."""
    return [*(str(i) for i in range(baseline.width - 1)), "missing"]


def _describe(baseline: Baseline, metrics: Metrics) -> None:
    """Export the baseline, and open the series of its bins at 0."""
    names = bin_names(baseline)
    shares: dict[tuple[str, ...], float] = {}
    edges: dict[tuple[str, ...], float] = {}
    for feature, cut, share in zip(FEATURES, baseline.edges, baseline.shares, strict=True):
        for name, part in zip([*names[: len(cut) + 1], "missing"], share, strict=True):
            shares[feature, name] = part
        for name, edge in zip(names, [*cut, np.inf], strict=False):
            edges[feature, name] = edge
    metrics.feature_baseline_share.replace(shares)
    metrics.feature_bin_upper_edge.replace(edges)
    metrics.feature_bins.use_axes({"bin": names}, lambda labels: labels in shares)
    metrics.feature_baseline_mean.fill(baseline.means)
    metrics.feature_baseline_sd.fill(baseline.sds)
    metrics.stage_baseline_share.fill(baseline.output_means)


@compiled
def _count(
    X: Floats,
    stages: Codes,
    rule_stages: Codes,
    edges: Floats,
    bins: Floats,
    sums: Floats,
    present: Floats,
    predicted: Floats,
    ruled: Floats,
) -> None:
    """Add the rows to the tallies."""
    n_edges = edges.shape[1]
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            value = X[i, j]
            if np.isnan(value):
                bins[j, n_edges + 1] += 1.0
                continue
            at = 0
            while at < n_edges and value > edges[j, at]:
                at += 1
            bins[j, at] += 1.0
            if np.isfinite(value):
                sums[j] += value
                present[j] += 1.0
        if stages[i] < predicted.size:
            predicted[stages[i]] += 1.0
        if rule_stages[i] < ruled.size:
            ruled[rule_stages[i]] += 1.0
