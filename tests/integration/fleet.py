"""Workers as an operator starts them, a Prometheus on the shipped configuration, and traffic, live and offline."""

import json
import re
import sys
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import numpy as np
import yaml
from confluent_kafka import Producer

from featurestore.contract.partitioner import PARTITIONER
from models.bundle.baseline import Baseline
from models.bundle.bundle import Bundle, write_bundle
from models.heads.stage import stage_head
from models.simulator.simulator import SimConfig, SimEvent, simulate
from models.training.dataset import record
from tests.integration.shopfloor import ClickstageProcess
from tests.services import PrometheusServer
from tests.services.process import wait_for
from tests.unit.deploy.promql import PROMETHEUS
from worker.clock import SystemClock
from worker.metrics.drift import DriftMonitor, Tally
from worker.metrics.metrics import Metrics

ROOT: Final = Path(__file__).resolve().parents[2]

#: An hour of the shipped rules lasts this long here; expressions are the same.
WINDOW_S: Final = 30
RANGES: Final = {
    "1d": "120s",
    "6h": "60s",
    "1h": f"{WINDOW_S}s",
    "40m": "20s",
    "30m": "20s",
    "15m": "15s",
    "10m": "10s",
    "5m": "10s",
}
WAITS: Final = {
    "3h": "300s",
    "1h": "120s",
    "30m": "60s",
    "15m": "15s",
    "10m": "5s",
    "5m": "8s",
    "3m": "8s",
    "2m": "4s",
    "1m": "4s",
}
HOUR_MS: Final = 3_600_000


def shortened(expression: str) -> str:
    """The same expression over shorter ranges."""
    text = re.sub(r"\[(\w+)(:\w+)?\]", lambda m: f"[{RANGES[m[1]]}{':1s' if m[2] else ''}]", expression)
    return re.sub(r"\boffset (\w+)", lambda m: f"offset {RANGES[m[1]]}", text)


def shortened_rules(source: Path, directory: Path) -> Path:
    """A copy of a rule file with shorter ranges and waits."""
    content = yaml.safe_load(source.read_text())
    for group in content["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["expr"] = shortened(rule["expr"])
            if "for" in rule:
                rule["for"] = WAITS[rule["for"]]
    path = directory / source.name
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def start_prometheus(directory: Path, workers: Sequence[str], truth: str) -> PrometheusServer:
    """Prometheus with the shipped scrape jobs, rules and alerts; only how targets are found, and times, differ."""
    directory.mkdir()
    server = PrometheusServer(directory, [])
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    sources = sorted(PROMETHEUS.glob("rules/*.yml")) + sorted(PROMETHEUS.glob("alerts/*.yml"))
    config["rule_files"] = [str(shortened_rules(source, directory)) for source in sources]
    del config["alerting"]  # nobody is to be woken by a test
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    targets = {
        "clickstage": list(workers),
        "clickstage-edge": [],
        "clickstage-truth": [truth],
        "prometheus": [f"127.0.0.1:{server.port}"],
    }
    for job in config["scrape_configs"]:
        job.pop("scrape_interval", None)
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": targets[job["job_name"]]}]
    server.config = config
    return server.start()


class WorkerProcess(ClickstageProcess):
    """One `clickstage worker` that Prometheus can scrape as soon as it answers."""

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answers(self) -> bool:
        return bool(self.metrics())

    def metrics(self) -> dict[str, float]:
        """/metrics by series, without the prefix."""
        with urllib.request.urlopen(f"http://{self.target}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if line.startswith("clickstage_"))
        return {name.removeprefix("clickstage_"): float(value) for name, _, value in pairs}


@dataclass
class Fleet:
    """The workers of one group."""

    workers: list[WorkerProcess]

    def total(self, prefix: str) -> float:
        """Sum over the running workers of the series that begin with ``prefix``."""
        running = [worker.metrics() for worker in self.workers if worker.running]
        return sum(v for found in running for name, v in found.items() if name.startswith(prefix))

    def ready(self) -> bool:
        return all(w.metrics().get("ready") == 1.0 and w.metrics()["assigned_partitions"] > 0 for w in self.workers)

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()


class Page:
    """Serves one file at /metrics, as the node exporter serves what it finds."""

    def __init__(self, path: Path) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = path.read_bytes() if path.exists() else b""
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.target = f"127.0.0.1:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def traffic(config: SimConfig) -> list[SimEvent]:
    """Simulated events, each session with a visitor of its own.

    Shared visitors carry a history from one session to the next, which depends on when sessions on different
    partitions are applied; played back faster than life that is chance, and nothing could be compared to the last bit.
    """
    own = re.compile(rb'"visitor_id":"[^"]*"')
    return [
        (key, own.sub(b'"visitor_id":"' + key + b'"', value), t)
        for chunk in simulate(config)
        for key, value, t in chunk
    ]


def end_of_day(events: Sequence[SimEvent], partitions: int) -> list[tuple[int, SimEvent]]:
    """One late event per partition, so that event time passes every deadline before it."""
    t = max(event[2] for event in events) + 3 * HOUR_MS
    found = []
    for partition in range(partitions):
        key = f"late-{t}-{partition}".encode()
        value = json.dumps({"session_id": key.decode(), "type": "page_view", "ts": t, "page": "/"}).encode()
        found.append((partition, (key, value, t)))
    return found


def offline(events: Sequence[SimEvent], bundle: Bundle) -> Tally:
    """What the fleet must have counted, from the events alone; the last event's own silence has not come yet."""
    recording = record([events], bundle.rules)
    now = max(event[2] for event in events)
    rows = recording.live.take(recording.live.t <= now)
    monitor = DriftMonitor(bundle.stage.baseline, Metrics(), SystemClock())
    predicted = bundle.score(rows.X).argmax(axis=1).astype(np.uint8)
    monitor.observe(rows.X, predicted, rows.stages, int((rows.position() == 1).sum()))
    return monitor.window()


def bundle_for(config: SimConfig, model: Bundle, directory: Path) -> Path:
    """The shipped forest with a baseline of this traffic: a test plays too few sessions for visitors to have a past."""
    rows = record([traffic(config)], model.rules).live
    stage = stage_head(
        model.stage.model,
        baseline=Baseline.from_training(rows.X, model.score(rows.X).argmax(axis=1).astype(np.uint8)),
        golden=rows.X[:5],
        fill=model.stage.fill,
    )
    return write_bundle(
        directory,
        name="monitoring",
        version="1",
        created="for a test",
        heads=[stage],
        rules=model.rules,
        seed=config.seed,
        training=model.manifest.training,
    )


class Street:
    """Sends events to a topic no faster than the fleet applies them."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, fleet: Fleet) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "partitioner": PARTITIONER, "linger.ms": 5})
        self._topic = topic
        self._partitions = partitions
        self._fleet = fleet
        self.read = 0

    def send(self, events: list[SimEvent], behind: int = 4_000) -> list[SimEvent]:
        """Send all, let event time pass, wait until all is applied; the events with those that made time pass."""
        for start in range(0, len(events), 2_000):
            part = events[start : start + 2_000]
            self._produce((None, event) for event in part)
            self._wait(len(part), behind)
        late = end_of_day(events, self._partitions)
        self._produce(late)
        self._wait(len(late), 0)
        return [*events, *(event for _, event in late)]

    def _produce(self, events: Iterable[tuple[int | None, SimEvent]]) -> None:
        for partition, (key, value, t) in events:
            self._producer.produce(self._topic, value, key, -1 if partition is None else partition, timestamp=t)
        self._producer.flush(10)

    def _wait(self, more: int, behind: int) -> None:
        self.read += more
        if not wait_for(lambda: self._fleet.total("events_total") >= self.read - behind, 60):
            found = f"{self._fleet.total('events_total')} of {self.read} events were read within 60 s"
            logs = "\n".join(f"{w.name}, {w.running=}:\n{w.log_tail(15)}" for w in self._fleet.workers)
            raise TimeoutError(f"{found}\n{logs}")


def value_of(answer: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], float]:
    """An instant vector by its label values in the order of label names, metric name left out."""
    return {
        tuple(v for k, v in sorted(sample["metric"].items()) if k != "__name__"): float(sample["value"][1])
        for sample in answer
    }


def say(line: str) -> None:
    """Print; pytest shows it with -s, or when the test fails."""
    sys.stdout.write(line + "\n")


def until(check: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Wait, or say what did not come."""
    if not wait_for(check, timeout_s):
        raise TimeoutError(f"not within {timeout_s} s: {what}")
