"""incidents: which alert says that something is wrong, and when. For docs/monitoring.md.

python -m bench.incidents [--seeds 2] [--quiet 4] [--only KIND=WHAT] [--json FILE]

Simulated traffic (2 sessions a second) runs through the worker's own fold, forest and counters for 100 minutes; the
incident begins after 75. The counters, one sample each 30 simulated seconds, go to promtool with the shipped rules
and alerts, so what is printed is what Prometheus would have said. The drift rules are left out: their subqueries hold
more samples than promtool's tests may load, and bench.drift has their delays. Quiet runs have no incident: each alert
that fires in one after its first hour is a false alarm.
"""

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry

from bench.machine import facts
from bench.steps import Shop, engine
from decisions.engine import Engine
from decisions.intake import Records, decode
from decisions.shipped import load_bundle, load_policy
from models.simulator.incidents import parse
from models.simulator.simulator import SimConfig, SimEvent, simulate
from worker.metrics.catalogue import PREFIX
from worker.metrics.drift import DriftMonitor
from worker.metrics.kpis import Kpis
from worker.metrics.metrics import Metrics
from worker.pipeline.observe import Observer

PROMETHEUS: Final = Path(__file__).resolve().parents[1] / "deploy" / "prometheus"
STEP_S: Final = 30
BEGIN_MIN: Final = 75
MINUTES: Final = 100
RATE: Final = 2.0
INCIDENTS: Final = (
    "outage=add_to_cart",
    "outage=view_item",
    "double=page_view",
    "double=add_to_cart",
    "double=all",
    "clock=-240*0.3",
    "bots=0.05",
    "scrapers=0.1",
)
Series = dict[str, list[float]]


class SimulatedClock:
    """A clock that shows the time of the traffic."""

    def __init__(self) -> None:
        self.ms = 0

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


def steps(config: SimConfig) -> Iterator[list[SimEvent]]:
    """The events of each step of `STEP_S`, for `MINUTES`."""
    end = config.start_ms + STEP_S * 1000
    part: list[SimEvent] = []
    for chunk in simulate(config):
        for event in chunk:
            while event[2] >= end:
                yield part
                part = []
                end += STEP_S * 1000
                if end > config.start_ms + (MINUTES * 60 + STEP_S) * 1000:
                    return
            part.append(event)


def counted(core: Engine, config: SimConfig) -> Series:
    """Each counter of a worker that gets this traffic, one value a step."""
    bundle, clock, registry = load_bundle(None), SimulatedClock(), CollectorRegistry()
    metrics = Metrics(registry)
    baseline = bundle.stage.baseline
    metrics.use_bundle(bundle.manifest.name, bundle.manifest.version, "baseline")
    observer = Observer(metrics, bundle, DriftMonitor(baseline, metrics, clock), Kpis(metrics, load_policy(None)))
    shop = Shop(core)
    series: Series = {}
    offset = 0
    for number, part in enumerate(steps(config)):
        clock.ms = config.start_ms + (number + 1) * STEP_S * 1000
        if part:
            times = [at for _, _, at in part]
            records = Records(0, [value for _, value, _ in part], list(range(offset, offset + len(part))), times)
            offset += len(part)
            observer.decoded(decode([records]))
            plan, result = shop.process(records)
            observer.batch(plan, result, plan.events.size, 0, clock.ms)
        observer.tick(ready=True)
        for family in registry.collect():
            for sample in family.samples:
                if sample.name.startswith(PREFIX) and not sample.name.endswith(("_bucket", "_created")):
                    labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
                    values = series.setdefault(f"{sample.name}{{{labels}}}", [0.0] * number)
                    values.append(sample.value)
    return series


def fired(series: Series) -> dict[str, list[int]]:
    """Minutes at which each alert is firing, by the shipped rules."""
    times = range(1, MINUTES + 1)
    queries = [{"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{t}m", "exp_samples": []} for t in times]
    rule_files = [
        PROMETHEUS / "rules/incidents.yml",
        PROMETHEUS / "rules/service.yml",
        PROMETHEUS / "alerts/clickstage.yml",
    ]
    inputs = [{"series": name, "values": " ".join(map(_value, values))} for name, values in series.items()]
    up = {"series": 'up{job="clickstage",instance="w"}', "values": f"1x{2 * MINUTES}"}
    test = {
        "rule_files": [str(path) for path in rule_files],
        "evaluation_interval": f"{STEP_S}s",
        "tests": [
            {
                "interval": f"{STEP_S}s",
                "input_series": [*inputs, up],
                "promql_expr_test": queries,
            }
        ],
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        json.dump(test, file)
        file.flush()
        ran = subprocess.run(["promtool", "test", "rules", file.name], capture_output=True, text=True, check=False)
    said = ran.stdout + ran.stderr
    if "got:" not in said and "SUCCESS" not in said:
        raise RuntimeError(f"promtool did not run the rules:\n{said.strip()[:2000]}")
    found: dict[str, list[int]] = {}
    for at, got in re.findall(r"time: (\w+),\s*\n\s*exp:.*\n\s*got:(.*)", said):
        for name in re.findall(r'alertname="(\w+)"', got):
            found.setdefault(name, []).append(_minutes(at))
    return found


def _value(value: float) -> str:
    """As promtool reads it; it has no word for infinity, which only edges of bins have."""
    return repr(value) if math.isfinite(value) else "_"


def _minutes(text: str) -> int:
    hours, minutes = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:\d+s)?", text).groups()  # type: ignore[union-attr]  # promtool's own
    return 60 * int(hours or 0) + int(minutes or 0)


def traffic(seed: int, *incidents: str) -> SimConfig:
    """Traffic of `MINUTES` and a little, with incidents that begin after `BEGIN_MIN`."""
    at = f"@{BEGIN_MIN * 60}"
    texts = [
        f"{what}{at}*{share}" if share else f"{what}{at}" for what, _, share in (t.partition("*") for t in incidents)
    ]
    return SimConfig(
        sessions=round(RATE * 60 * (MINUTES + 5)),
        seed=seed,
        sessions_per_s=RATE,
        incidents=tuple(parse(text) for text in texts),
    )


def of_traffic(found: dict[str, list[int]]) -> dict[str, list[int]]:
    """Without the alerts that a run without servers cannot answer: nobody owns a partition, nothing is ready."""
    silent = {"ClickstageNotReady", "ClickstagePartitionsUnowned", "ClickstageLagUnknown", "ClickstageDriftBlind"}
    return {name: minutes for name, minutes in found.items() if name not in silent}


def main(arguments: Sequence[str]) -> None:
    """Print the table of docs/monitoring.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="runs of each incident (2)")
    parser.add_argument("--quiet", type=int, default=4, help="runs without an incident (4)")
    parser.add_argument("--only", metavar="INCIDENT", action="append", help="only these incidents")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    core = engine("incidents")
    results: dict[str, Any] = {"machine": facts()}
    print(
        f"\n{RATE:g} sessions a second; minutes from the incident's begin until the alert fires, {options.seeds} seeds"
    )
    print("| incident | alerts: minutes until they fire |\n|---|---|", flush=True)
    for incident in options.only or INCIDENTS:
        delays: dict[str, list[int]] = {}
        for seed in range(options.seeds):
            found = of_traffic(fired(counted(core, traffic(100 + seed, incident))))
            for name, minutes in found.items():
                if late := [minute for minute in minutes if minute > BEGIN_MIN]:
                    delays.setdefault(name, []).append(min(late) - BEGIN_MIN)
        results[incident] = delays
        told = sorted(delays.items(), key=lambda pair: statistics.median(pair[1]))
        cells = ", ".join(f"{name.removeprefix('Clickstage')} {_shown(late, options.seeds)}" for name, late in told)
        print(f"| `{incident}` | {cells or 'none'} |", flush=True)
    false: dict[str, int] = {}
    for seed in range(options.quiet):
        found = of_traffic(fired(counted(core, traffic(200 + seed))))
        for name, minutes in found.items():
            if late := [minute for minute in minutes if minute > 60]:
                false[name] = false.get(name, 0) + len(late)
    results["false_alarm_minutes"] = false
    watched = options.quiet * (MINUTES - 60)
    print(f"\nwithout an incident, minutes of {watched} in which an alert fired: {false or 'none'}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _shown(late: list[int], runs: int) -> str:
    return f"{statistics.median(late):.0f}" + ("" if len(late) == runs else f" (in {len(late)} of {runs})")


if __name__ == "__main__":
    main(sys.argv[1:])
