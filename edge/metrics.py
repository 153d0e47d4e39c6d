"""What the edge exports; each process counts, and ``/metrics`` of any of them adds up all.

No label holds what a request says: routes are those of the table, everything else is ``other``.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

LATENCIES_S: Final = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Tally:
    """A counter as the event loop counts: a plain number, which `EdgeMetrics.flush` adds to the metric.

    With several processes a metric is in a file, and adding to it costs a twentieth of a request.
    """

    __slots__ = ("_counter", "_due")

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._due = 0

    def inc(self, n: int = 1) -> None:
        """Count; on the event loop alone."""
        self._due += n

    def flush(self) -> None:
        """Add to the metric."""
        if self._due:
            due, self._due = self._due, 0
            self._counter.inc(due)


class EdgeMetrics:
    """The metrics of one process.

    With ``PROMETHEUS_MULTIPROC_DIR`` in the environment, as `edge.command` sets it for several processes, they are kept
    in files there, and `page` adds up those of all processes; what others counted in the last second may be missing.

    Args:
        directory: that directory; "" for one process alone.
    """

    def __init__(self, directory: str = "") -> None:
        self._tallies: list[Tally] = []
        own = CollectorRegistry()
        self.registry = own
        if directory:
            self.registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(self.registry, path=directory)  # type: ignore[no-untyped-call]
        self.requests = Counter("clickstage_edge_requests", "Requests answered", ["route", "status"], registry=own)
        self.request_seconds = Histogram(
            "clickstage_edge_request_seconds", "Time to answer, streams left out", ["route"], registry=own,
            buckets=LATENCIES_S,
        )  # fmt: skip
        self.events = Counter("clickstage_edge_events", "Events by what became of them", ["verdict"], registry=own)
        self.decide_seconds = Histogram(
            "clickstage_edge_decide_seconds", "Time of a batch of inline decisions", registry=own,
            buckets=LATENCIES_S,
        )  # fmt: skip
        self.provisional = Counter(
            "clickstage_edge_provisional",
            "Inline decisions that the stream confirmed or not",
            ["outcome"],
            registry=own,
        )
        self.streams = Gauge("clickstage_edge_streams", "Open streams", registry=own, multiprocess_mode="livesum")
        self.pushed = Counter("clickstage_edge_pushed", "Decisions pushed to pages", registry=own)
        self.spool_bytes = Gauge(
            "clickstage_edge_spool_bytes", "Size of what waits for Kafka", registry=own, multiprocess_mode="max"
        )
        self.spooled = Counter("clickstage_edge_spooled", "Events that went to the spool", registry=own)
        self.replayed = Counter("clickstage_edge_replayed", "Events that went from the spool to Kafka", registry=own)
        self.store_away = Counter("clickstage_edge_store_away", "Reads that Redis did not answer in time", registry=own)

    def tally(self, counter: Counter) -> Tally:
        """Counts for this counter, or for one of its labels."""
        self._tallies.append(Tally(counter))
        return self._tallies[-1]

    def flush(self) -> None:
        """Add up what was counted; on the event loop, each second."""
        for tally in self._tallies:
            tally.flush()

    def page(self) -> bytes:
        """The text of ``/metrics``."""
        self.flush()
        return generate_latest(self.registry)
