"""What batches tell the metrics: counted from arrays, never per event, and small batches several at a time."""

from collections import defaultdict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from decisions.core import Judgement
from decisions.effects import Result
from decisions.intake import Decoded, Plan
from decisions.policy import Policy
from featurestore.contract.event import EVENT_TYPES, skews
from featurestore.session.clock import JITTER_MS
from featurestore.session.observation import BOT, CLEAR, END, EVENT_ROW, SILENCE, UPLOAD
from models.bundle.bundle import Bundle
from worker.clock import Clock
from worker.metrics.calibration import CalibrationMonitor
from worker.metrics.drift import DriftMonitor
from worker.metrics.heads import HeadMonitor
from worker.metrics.kpis import Kpis
from worker.metrics.labels import OTHER
from worker.metrics.metrics import Metrics

_OUTCOMES: Final = (
    (EVENT_ROW, "applied"),
    (BOT, "bot"),
    (UPLOAD, "historic"),
    (CLEAR, "consent_withdrawn"),
)
HISTORIC_MS: Final = 1_800_000
"""A record that was this old when its decision could be read is one of a replay or a reprocessing, or came after an
outage that outlasted its session: no shopper waited for that decision, and it is no latency."""
_NO_TYPES: Final = np.zeros(0, np.uint8)
TOGETHER: Final = 1_000
"""Rows that are worth counting."""


class Watch:
    """Splits the time of a batch over the steps of the loop."""

    def __init__(self, clock: Clock, laps: defaultdict[str, list[float]]) -> None:
        self._monotonic = clock.monotonic
        self._laps = laps
        self._last = clock.monotonic()

    def lap(self, step: str) -> None:
        """The time since the last lap belongs to ``step``."""
        now = self._monotonic()
        self._laps[step].append(now - self._last)
        self._last = now


class Observer:
    """Feeds metrics, drift and KPIs.

    Args:
        metrics: the catalogue's series.
        bundle: its rules label rows for the drift monitor.
        drift: the sliding window.
        kpis: figures of finished sessions.
    """

    def __init__(self, metrics: Metrics, bundle: Bundle, drift: DriftMonitor, kpis: Kpis) -> None:
        self.metrics = metrics
        self._bundle = bundle
        self._drift = drift
        self._heads = HeadMonitor(bundle.heads, metrics)
        self._calibration = CalibrationMonitor(bundle.heads, metrics)
        self._kpis = kpis
        self._laps: defaultdict[str, list[float]] = defaultdict(list)
        self._written: list[tuple[int, NDArray[np.int64]]] = []
        self._skews: list[NDArray[np.int64]] = []
        self._features: list[NDArray[np.float64]] = []
        self._decisions: list[NDArray[np.void]] = []
        self._began = 0

    def watch(self, clock: Clock) -> Watch:
        """A stopwatch for one batch."""
        return Watch(clock, self._laps)

    def use_policy(self, policy: Policy) -> None:
        """Name the policy in use."""
        self.metrics.use_policy(policy.version, policy.hash, policy.action_names)
        self._kpis.use_policy(policy)

    def decoded(self, decoded: Decoded) -> None:
        """Note what a batch shows of its senders: how wrong their clocks are, and which fields are invalid."""
        for (name, outcome), n in decoded.problems.items():
            self.metrics.field_problems.inc(name, outcome, by=n)
        self._skews.append(skews(decoded.rows))

    def batch(self, plan: Plan, result: Result | None, read: int, bad: int, now_ms: int) -> None:
        """Count a batch that has been written: ``read`` events of its records, and ``bad`` records that were none."""
        metrics = self.metrics
        if bad:
            metrics.events.inc("dead_letter", by=bad)
        if read > plan.events.size:
            metrics.events.inc("already_applied", by=read - plan.events.size)
        if result is None:
            return
        metrics.batch_events.observe(float(plan.events.size))
        judgement = result.judgement
        kinds = _kinds(judgement)
        for kind, outcome in _OUTCOMES:
            if kinds[kind]:
                metrics.events.inc(outcome, by=kinds[kind])
        if judgement.observations.duplicates:
            metrics.events.inc("duplicate", by=judgement.observations.duplicates)
            metrics.duplicates_skipped.inc(by=judgement.observations.duplicates)
        if judgement.observations.withdrawn:
            metrics.events.inc("after_withdrawal", by=judgement.observations.withdrawn)
        if judgement.observations.foreign_money:
            metrics.foreign_amounts.inc(by=judgement.observations.foreign_money)
        if judgement.observations.late:
            metrics.late_events.inc(by=judgement.observations.late)
        known = plan.events["unknown_type"] == 0
        if unknown := int(np.count_nonzero(~known)):
            metrics.unknown_types.inc(by=unknown)
            metrics.events_by_type.inc(OTHER, by=unknown)
        typed = known & (plan.events["kind"] < len(EVENT_TYPES))  # a withdrawal of consent is of no type
        by_type = np.bincount(plan.events["kind"][typed], minlength=len(EVENT_TYPES) + 1)
        metrics.events_by_type.add(by_type)
        self._written.append((now_ms, plan.record_ms))
        self._note(judgement, kinds, plan.events["kind"].astype(np.uint8))

    def timers(self, result: Result) -> None:
        """Count what silence brought."""
        self._note(result.judgement, _kinds(result.judgement), _NO_TYPES)

    def lag(self, behind: dict[int, int], owned: int) -> None:
        """Events not yet applied, per partition, and how many partitions the worker owns."""
        self.metrics.set_lag(behind, owned)

    def tick(self, *, ready: bool) -> None:
        """Once a second or so: gauges, and what is not counted yet."""
        self._count()
        for step, seconds in self._laps.items():
            self.metrics.batch_seconds.observe_many(seconds, step)
        self._laps.clear()
        self.metrics.ready.set(1.0 if ready else 0.0)
        self._drift.publish()

    def _count(self) -> None:
        """Count the rows of the batches that were noted."""
        if self._written:
            written, records = zip(*self._written, strict=True)
            self._written.clear()
            record_ms = np.concatenate(records)
            waited = np.repeat(written, [batch.size for batch in records]) - record_ms
            awaited = (record_ms >= 0) & (waited <= HISTORIC_MS)
            self.metrics.event_to_decision_seconds.observe_many(waited[awaited] / 1000)
        if self._skews:
            found = np.concatenate(self._skews)
            self._skews.clear()
            self.metrics.clock_skew_seconds.observe_many(found / 1000)
            self.metrics.clock_corrected.inc(by=int(np.count_nonzero(np.abs(found) > JITTER_MS)))
        if self._decisions:
            decisions, features = np.concatenate(self._decisions), np.concatenate(self._features)
            self._decisions.clear()
            self._features.clear()
            self.metrics.count_decisions(decisions["stage"], decisions["route"])
            self._drift.observe(features, decisions["top"], self._bundle.rules.label(features), self._began)
            self._began = 0

    def _note(self, judgement: Judgement, kinds: list[int], types: NDArray[np.uint8]) -> None:
        """Note a judgement; ``types`` are the type codes of its events, none for timers."""
        rows = judgement.observations.rows
        self._calibration.observe(judgement, types[rows["event"]] if types.size else np.zeros(rows.size, np.uint8))
        for kind, name in ((SILENCE, "silence"), (END, "end")):
            if kinds[kind]:
                self.metrics.timers_fired.inc(name, by=kinds[kind])
        scored = judgement.scored
        if scored.any():
            self._decisions.append(judgement.decisions[scored])
            self._began += int(np.count_nonzero(judgement.observations.rows["first"][scored]))
            self._features.append(judgement.observations.features[scored])
            self._heads.observe(judgement.probabilities, judgement.outputs, int(np.count_nonzero(scored)))
        if sum(map(len, self._decisions)) >= TOGETHER:
            self._count()
        states, memory = judgement.ended
        if states.size:
            arms = judgement.decisions["arms"][judgement.observations.rows["kind"] == END]
            self._kpis.observe(states, memory, arms)


def _kinds(judgement: Judgement) -> list[int]:
    """How many rows there are of each kind."""
    counts: list[int] = np.bincount(judgement.observations.rows["kind"], minlength=UPLOAD + 1).tolist()
    return counts
