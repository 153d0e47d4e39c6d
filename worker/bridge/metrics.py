"""What a bridge exports. No label holds what a record says."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

OUTCOMES: Final = ("mapped", "no_action", "dead_letter", "tombstone")


class BridgeMetrics:
    """The metrics of one process; what a transaction brought is counted once it is committed."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.records = Counter(
            "clickstage_bridge_records", "Records read, by what became of them", ["outcome"], registry=self.registry
        )
        self.events = Counter("clickstage_bridge_events", "Events written", registry=self.registry)
        self.dead_letters = Counter(
            "clickstage_bridge_dead_letters", "Records written to the dead letters", ["reason"], registry=self.registry
        )
        self.transactions = Counter(
            "clickstage_bridge_transactions", "Transactions", ["outcome"], registry=self.registry
        )
        self.lag = Gauge(
            "clickstage_bridge_lag", "Records of a partition that are not bridged yet", ["partition"],
            registry=self.registry,
        )  # fmt: skip
        for outcome in OUTCOMES:
            self.records.labels(outcome)
        for outcome in ("committed", "aborted"):
            self.transactions.labels(outcome)
