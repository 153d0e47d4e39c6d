"""What the worker says of itself: its /metrics, read as an SRE's Prometheus would."""

import urllib.request
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families


@dataclass(slots=True)
class Reading:
    """One scrape.

    Attributes:
        outcomes: records by what became of them.
        stages: decisions by stage.
        buckets: cumulative event-to-decision counts by upper bound in seconds.
        lag: events not applied yet.
    """

    outcomes: dict[str, float] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)
    buckets: dict[float, float] = field(default_factory=dict)
    lag: float = 0.0

    @property
    def records(self) -> int:
        """All records read."""
        return int(sum(self.outcomes.values()))

    @property
    def decisions(self) -> int:
        """All decisions made."""
        return int(sum(self.stages.values()))


def scrape(port: int) -> Reading | None:
    """Read /metrics; None while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            text = answer.read().decode()
    except OSError:
        return None
    reading = Reading()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "clickstage_events_total":
                reading.outcomes[sample.labels["outcome"]] = sample.value
            elif sample.name == "clickstage_decisions_total":
                stage = sample.labels["stage"]
                reading.stages[stage] = reading.stages.get(stage, 0.0) + sample.value
            elif sample.name == "clickstage_event_to_decision_seconds_bucket":
                reading.buckets[float(sample.labels["le"])] = sample.value
            elif sample.name == "clickstage_consumer_lag":
                reading.lag += sample.value
    return reading


def quantile(q: float, now: Reading, before: Reading) -> float:
    """Event-to-decision seconds at quantile ``q`` between two scrapes, as Prometheus interpolates; 0 without events."""
    bounds = sorted(now.buckets)
    counts = [now.buckets[bound] - before.buckets.get(bound, 0.0) for bound in bounds]
    if not counts or counts[-1] <= 0:
        return 0.0
    rank = q * counts[-1]
    lower, below = 0.0, 0.0
    for bound, count in zip(bounds, counts, strict=True):
        if count >= rank:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (rank - below) / max(count - below, 1e-9)
        lower, below = bound, count
    return lower
