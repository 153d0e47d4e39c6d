"""drift: how often the drift alerts are wrong, and how soon they are right. For docs/monitoring.md.

python -m bench.drift [--windows 1000] [--json FILE] [--only false-alarms|delay|cost]

Everything comes from simulated sessions run through the worker's own fold, forest and counters: rows of one session
resemble each other, so figures from independent rows would flatter.

drift.false_alarms: windows of N sessions without drift, at the shipped thresholds.
drift.delay: all traffic shifts at once; minutes until the first alert fires, that is until the window has been past a
threshold for ten minutes, for the shipped window of an hour and for one of 15 minutes. 2 sessions a second; median of
the seeds.
drift.cost: time per event of all metrics, drift and KPIs, beside that of the batch itself.
"""

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.machine import facts
from bench.steps import Shop, engine
from bench.workload import batches, shoppers
from decisions.shipped import load_bundle, load_policy
from featurestore.session.features import FEATURES
from models.bundle.baseline import Baseline
from models.bundle.bundle import Bundle
from models.simulator.simulator import SimConfig, simulate
from models.training.dataset import Rows, record
from models.training.train import TrainConfig
from worker.clock import SystemClock
from worker.metrics.drift import DriftMonitor, Reading, Tally, read
from worker.metrics.kpis import Kpis
from worker.metrics.metrics import Metrics
from worker.pipeline.observe import Observer

SIZES: Final = (50, 100, 250, 500, 1_000, 2_000)
THRESHOLDS: Final = {"PSI > 0.1": 0.1, "PSI > 0.25": 0.25, "mean > 2 sd": 2.0, "share > 10 pp": 10.0, "KL > 0.02": 0.02}
#: What the alerts watch; PSI > 0.1 is only shown beside them.
ALERTS: Final = tuple(name for name in THRESHOLDS if name != "PSI > 0.1")
WARM_UP: Final = 0.3  # until visitors have a history, as in training
MINUTE_MS: Final = 60_000
WINDOWS_MIN: Final = (60, 15)
AFTER_MIN: Final = 90  # how long the shifted traffic is watched
FOR_MIN: Final = 10
SHIFTS: Final[dict[str, list[dict[str, Any]]]] = {
    **{
        knob: [{"drift": {knob: factor}} for factor in (1.25, 1.6, 2.5)]
        for knob in ("time_between_clicks", "num_clicks", "cart_additions", "pages_viewed", "idle_time")
    },
    "mix of buyers": [{"mix": {"buyer": factor}} for factor in (1.5, 3.0, 6.0)],
    "mix of abandoners": [{"mix": {"abandoner": factor}} for factor in (1.5, 3.0, 6.0)],
}


@dataclass(frozen=True)
class Minutes:
    """Counts per simulated minute of a steady stretch of traffic."""

    tallies: list[Tally]

    def sum(self, first: int, last: int, width: int) -> Tally:
        total = Tally.empty(width)
        for tally in self.tallies[first:last]:
            total.add(tally)
        return total


class Counter:
    """Turns simulated traffic into counts per minute, as a worker counts them."""

    def __init__(self, bundle: Bundle, baseline: Baseline) -> None:
        self._bundle = bundle
        self._baseline = baseline
        self.width = baseline.width

    def minutes(self, config: SimConfig, wanted: int) -> Minutes:
        """The last ``wanted`` minutes in which sessions begin: until then visitors gather a history."""
        recording = record(simulate(config), self._bundle.rules)
        minute = (recording.live.t - config.start_ms) // MINUTE_MS
        last = int(config.sessions / config.sessions_per_s * 1000) // MINUTE_MS
        chosen = (minute >= last - wanted) & (minute < last)
        rows, first = recording.live.take(chosen), (recording.live.position() == 1)[chosen]
        predicted = self._bundle.score(rows.X).argmax(axis=1).astype(np.uint8)
        minute = (rows.t - config.start_ms) // MINUTE_MS
        return Minutes(
            [
                tally_of(rows.take(at), predicted[at], first[at], self._baseline)
                for at in (minute == m for m in range(last - wanted, last))
            ]
        )


def signals(reading: Reading) -> dict[str, float]:
    """The largest of each figure that has a threshold."""
    largest = float(reading.psi.max())
    return {
        "PSI > 0.1": largest,
        "PSI > 0.25": largest,
        "mean > 2 sd": float(np.nanmax(np.abs(reading.mean_shift_sd))),
        "share > 10 pp": float(np.abs(reading.stage_share_shift_pp).max()),
        "KL > 0.02": reading.kl,
    }


class Windows:
    """Counts of many windows at once, each of about ``size`` sessions drawn at random from all that are simulated.

    Whole sessions are drawn, so their rows stay together. They are drawn from all phases of a simulation, since one
    figure has a trend in it: visitors gather a history, so bounce_rate would drift from window to window.
    """

    def __init__(self, size: int, wanted: int, sessions: int, baseline: Baseline) -> None:
        self.size = size
        self.wanted = min(wanted, sessions // size)
        self._slots = sessions // size
        self._baseline = baseline
        self._rng = np.random.default_rng(size)
        self._tallies = [Tally.empty(baseline.width) for _ in range(self.wanted)]

    def add(self, rows: Rows, predicted: NDArray[np.uint8]) -> None:
        ids, session = np.unique(rows.session, return_inverse=True)
        slot = self._rng.integers(0, self._slots, ids.size)
        first = rows.position() == 1
        order = np.argsort(slot[session], kind="stable")
        edges = np.searchsorted(slot[session][order], np.arange(self.wanted + 1))
        for chosen, (a, b) in enumerate(pairwise(edges.tolist())):
            if a < b:
                at = order[a:b]
                self._tallies[chosen].add(tally_of(rows.take(at), predicted[at], first[at], self._baseline))

    def readings(self) -> list[tuple[Tally, Reading]]:
        return [(tally, read(tally, self._baseline, 0)) for tally in self._tallies]


def tally_of(rows: Rows, predicted: NDArray[np.uint8], first: NDArray[np.bool_], baseline: Baseline) -> Tally:
    """The counts of rows, by the worker's own loop; ``first`` are those of a session."""
    monitor = DriftMonitor(baseline, Metrics(), SystemClock())
    monitor.observe(rows.X, predicted, rows.stages, int(first.sum()))
    return monitor.window()


def false_alarms(bundle: Bundle, baseline: Baseline, wanted: int, base: SimConfig) -> dict[str, Any]:
    steady = int(base.sessions * (1 - WARM_UP))
    runs = -(-wanted * 1_000 // steady)
    sizes = [Windows(size, wanted, runs * steady, baseline) for size in SIZES]
    for run in range(runs):
        recording = record(simulate(base.model_copy(update={"seed": 10_000 + run})), bundle.rules)
        late = recording.started > np.quantile(recording.started, WARM_UP)
        rows = recording.live.take(late[recording.live.session])
        predicted = bundle.score(rows.X).argmax(axis=1).astype(np.uint8)
        for windows in sizes:
            windows.add(rows, predicted)
    results = {}
    print(f"\nfalse alarms: windows of sessions drawn from {runs} simulations of {base.sessions:,}")
    print("| sessions | rows | windows | " + " | ".join(THRESHOLDS) + " | largest PSI: median, 99 %, most |")
    print("|---|---|---|" + "---|" * (len(THRESHOLDS) + 1))
    for windows in sizes:
        found = [signals(reading) for _, reading in windows.readings()]
        n_rows = float(np.mean([tally.rows for tally, _ in windows.readings()]))
        shares = {name: sum(f[name] > limit for f in found) / len(found) for name, limit in THRESHOLDS.items()}
        psi = np.array([f["PSI > 0.25"] for f in found])
        spread = [float(np.median(psi)), float(np.quantile(psi, 0.99)), float(psi.max())]
        largest = {name: max(f[name] for f in found) for name in ALERTS}
        results[f"sessions_{windows.size}"] = {
            "windows": len(found),
            "rows": n_rows,
            "shares": shares,
            "psi": spread,
            "largest": largest,
        }
        cells = " | ".join(f"{100 * share:.1f} %" for share in shares.values())
        shown = ", ".join(f"{v:.3f}" for v in spread)
        print(f"| {windows.size:,} | {n_rows:,.0f} | {len(found)} | {cells} | {shown} |")
    print("largest of each: " + json.dumps({k: v["largest"] for k, v in results.items()}))
    return results


def delay(counter: Counter, baseline: Baseline, seeds: int, base: SimConfig) -> dict[str, Any]:
    results: dict[str, Any] = {}
    print(f"\nminutes until an alert fires, {base.sessions_per_s:g} sessions/s, median of {seeds} seeds")
    print("| shift | factor | PSI then | first alert | window 60 min | window 15 min | features alarmed |")
    print("|---|---|---|---|---|---|---|")
    longest = max(WINDOWS_MIN)
    befores = [counter.minutes(base.model_copy(update={"seed": 500 + seed}), longest) for seed in range(seeds)]
    for name, sizes in SHIFTS.items():
        for change in sizes:
            (kind,) = change
            factor = next(iter(change[kind].values()))
            afters = [
                counter.minutes(base.model_copy(update={"seed": 900 + seed, **change}), AFTER_MIN)
                for seed in range(seeds)
            ]
            by_window = {
                window: [_fires(b, a, baseline, counter.width, window) for b, a in zip(befores, afters, strict=True)]
                for window in WINDOWS_MIN
            }
            runs = by_window[longest]
            summary = {
                "minutes": {window: [run["minutes"] for run in found] for window, found in by_window.items()},
                "psi": statistics.median(run["psi"] for run in runs),
                "alert": sorted({run["alert"] for run in runs if run["alert"]}),
                "features": sorted({feature for run in runs for feature in run["features"]}),
            }
            results[f"{name} x{factor:g}"] = summary
            shown = " | ".join(_median(summary["minutes"][window]) for window in WINDOWS_MIN)
            print(
                f"| {name} | {factor:g} | {summary['psi']:.2f} | {', '.join(summary['alert']) or '-'} | {shown} | "
                f"{', '.join(summary['features']) or '-'} |",
                flush=True,
            )
    return results


def _median(minutes: list[int | None]) -> str:
    fired = [m for m in minutes if m is not None]
    if not fired:
        return "never"
    return f"{statistics.median(fired):.0f}" + (
        "" if len(fired) == len(minutes) else f" (in {len(fired)} of {len(minutes)})"
    )


def _fires(before: Minutes, after: Minutes, baseline: Baseline, width: int, window: int) -> dict[str, Any]:
    """When, after the shift, the first alert fires; and the features whose own alert fires at all."""
    traffic = Minutes([*before.tallies[-window:], *after.tallies])
    past = dict.fromkeys(ALERTS, 0)
    psi_past = np.zeros(len(FEATURES))
    features: set[str] = set()
    first: tuple[int, str] | None = None
    reading = read(traffic.sum(0, window, width), baseline, 1_000)
    for minute in range(1, len(after.tallies) + 1):
        reading = read(traffic.sum(minute, minute + window, width), baseline, 1_000)
        seen = signals(reading)
        psi_past = np.where(reading.psi > 0.25, psi_past + 1, 0)
        features |= {name for name, n in zip(FEATURES, psi_past, strict=True) if n >= FOR_MIN}
        for name in ALERTS:
            past[name] = past[name] + 1 if seen[name] > THRESHOLDS[name] else 0
            if past[name] >= FOR_MIN and first is None:
                first = (minute, name)
    return {
        "minutes": first[0] if first else None,
        "alert": first[1] if first else None,
        "features": features,
        "psi": float(reading.psi.max()),
    }


def cost(bundle: Bundle) -> dict[str, Any]:
    """All of the metrics of a batch against the batch itself, and the drift monitor alone."""
    results: dict[str, Any] = {}
    print("\ncost of metrics, drift and KPIs, us an event (medians)")
    print("| batch | metrics in all | of it drift | pure batch | share of the pure batch |")
    print("|---|---|---|---|---|")
    for size in (250, 1_000, 4_000):
        core = engine("drift")
        metrics = Metrics()
        monitor = DriftMonitor(bundle.stage.baseline, metrics, SystemClock())
        observer = Observer(metrics, bundle, monitor, Kpis(metrics, load_policy(None)))
        shop = Shop(core)
        work, watch, drift = [], [], []
        for records in batches(shoppers(120_000), size):
            begin = time.perf_counter()
            plan, result = shop.process(records)
            worked = time.perf_counter()
            observer.batch(plan, result, plan.events.size, 0, records.record_ms[-1])
            watched = time.perf_counter()
            judged = result.judgement
            features = judged.observations.features[judged.scored]
            top, ruled = judged.decisions["top"][judged.scored], bundle.rules.label(features)
            ready = time.perf_counter()
            monitor.observe(features, top, ruled, 0)
            drift.append(time.perf_counter() - ready)
            work.append(worked - begin)
            watch.append(watched - worked)
        us = [statistics.median(times[len(times) // 3 :]) / size * 1e6 for times in (watch, drift, work)]
        results[f"batch_{size}"] = dict(zip(("metrics_us", "drift_us", "pure_us"), us, strict=True))
        print(f"| {size:,} | {us[0]:.3f} | {us[1]:.3f} | {us[2]:.2f} | {100 * us[0] / us[2]:.1f} % |")
    times = []
    for _ in range(50):
        begin = time.perf_counter()
        monitor.publish()
        times.append((time.perf_counter() - begin) * 1e6)
    results["publish_us"] = statistics.median(times)
    print(f"setting the gauges, once a second: {results['publish_us']:.0f} us")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=1_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=("false-alarms", "delay", "cost"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    bundle = load_bundle(None)
    baseline = bundle.stage.baseline
    assert baseline is not None, "the bundle has no baseline"
    trained = TrainConfig().simulation()
    results: dict[str, Any] = {"machine": facts(), "bundle": bundle.id}
    if options.only in {None, "false-alarms"}:
        results["drift.false_alarms"] = false_alarms(bundle, baseline, options.windows, trained)
    if options.only in {None, "delay"}:
        live = trained.model_copy(update={"sessions": 24_000, "sessions_per_s": 2.0})
        results["drift.delay"] = delay(Counter(bundle, baseline), baseline, options.seeds, live)
    if options.only in {None, "cost"}:
        results["drift.cost"] = cost(bundle)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
