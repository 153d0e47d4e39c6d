"""``clickstage demo``: a shop to walk through, a worker and a live view in this terminal; no server needed.

Kafka is librdkafka's in-process mock cluster, Redis an embedded Valkey: for trying out, never a basis for a figure.
It checks itself: every record sent was applied or is a dead letter, and every session has a decision.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live

from featurestore.store.keys import decision_key
from worker.commands.options import positive, seconds
from worker.demo.gauges import Reading, quantile, scrape
from worker.demo.newest import Newest
from worker.demo.processes import endings_as_ctrl_c
from worker.demo.shop import Shop
from worker.demo.stack import TOPICS, EmbeddedStack, hint
from worker.demo.storefront import Visitors
from worker.demo.view import Figures, Places, render
from worker.errors import ExitCode

DRAIN_S: Final = 20.0


def main(argv: Sequence[str]) -> int:
    """Run the demo; `ExitCode.CHECK` if its self-check finds a difference."""
    parser = argparse.ArgumentParser(prog="clickstage demo", description=__doc__)
    parser.add_argument(
        "--seconds",
        type=seconds,
        metavar="N",
        help="stop after N seconds, later while somebody walks through the shop (default: until Ctrl-C)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was counted")
    parser.add_argument("--shoppers", type=positive, default=1_000, metavar="N", help="shoppers at a time (1000)")
    parser.add_argument("--seed", type=int, default=42, metavar="S", help="of the simulation (42)")
    options = parser.parse_args(argv)
    console = Console()
    with endings_as_ctrl_c(), ExitStack() as stack:
        return _demo(options, console, stack)


def _demo(options: argparse.Namespace, console: Console, stack: ExitStack) -> int:
    _ensure_bundle(console)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clickstage-demo-")))
    with console.status("starting a worker and an edge (the first start on a machine compiles for some minutes)"):
        embedded = stack.enter_context(EmbeddedStack(folder))
    kafka, valkey, worker, edge = embedded.kafka, embedded.valkey, embedded.worker, embedded.edge
    console.print(f"embedded Kafka at {kafka.bootstrap}, embedded Valkey at {valkey.url}")
    console.print(f"[bold]walk through the shop: {edge.address}[/bold]")
    places = Places(edge.address, valkey.port)
    shop = Shop(kafka.bootstrap, "clicks", options.shoppers, options.seed)
    newest = Newest(kafka.bootstrap, "decisions", TOPICS["decisions"])
    stack.callback(newest.close)
    shop.start()
    visitors = Visitors(edge)
    begun = time.monotonic()
    first = Reading()
    open_for_business = False
    last, last_at = Reading(), begun
    figures = None
    try:
        with Live(console=console, refresh_per_second=4, transient=False, auto_refresh=False) as view:
            while options.seconds is None or time.monotonic() - begun < options.seconds or visitors.around():
                time.sleep(0.25)
                worker.check()
                now = scrape(worker.port)
                if now is None:
                    continue
                if not open_for_business:
                    first = now  # the shop opens full: its first minutes are a backlog, not latency
                    open_for_business = shop.backlog is not None and now.records >= shop.backlog
                rate = (now.records - last.records) / (time.monotonic() - last_at)
                last, last_at = now, time.monotonic()
                figures = _figures(shop, now, first, rate, time.monotonic() - begun, visitors.clicks())
                if console.is_terminal:
                    view.update(render(figures, newest.sessions, places, console.height), refresh=True)
    except KeyboardInterrupt:
        pass
    shop.stop()
    seconds = time.monotonic() - begun
    collected = visitors.clicks()
    edge.leave()  # while the worker reads what is left
    end = _drained(worker.port, shop.produced + collected)
    code = worker.stop()
    figures = _figures(shop, end, first, end.records / max(seconds, 1e-9), seconds, collected)
    if not console.is_terminal:
        console.print(render(figures, newest.sessions, places))
    keys = [decision_key(session) for session in sorted(shop.sessions)]
    missing = sum(document is None for document in valkey.client.mget(keys)) if keys else 0
    return _report(console, options.json, figures, end, shop, missing, code, worker.log_tail())


def _report(
    console: Console,
    json_file: Path | None,
    figures: Figures,
    end: Reading,
    shop: Shop,
    missing: int,
    worker_code: int,
    worker_log: str,
) -> int:
    problems = []
    if figures.events_produced != figures.events_applied + figures.dead_letters:
        problems.append(
            f"{figures.events_produced} records were sent, {figures.events_applied} applied and "
            f"{figures.dead_letters} dead-lettered"
        )
    if figures.dead_letters != shop.poisoned:
        problems.append(f"{shop.poisoned} bad records were sent, {figures.dead_letters} became dead letters")
    if missing:
        problems.append(f"{missing} sessions have no decision")
    if worker_code != 0:
        problems.append(f"the worker ended with code {worker_code}{hint(worker_code)}:\n{worker_log}")
    if json_file is not None:
        counted = {
            "events_produced": figures.events_produced,
            "events_applied": figures.events_applied,
            "dead_letters": figures.dead_letters,
            "sessions": figures.sessions,
            "sessions_without_decision": missing,
            "decisions": figures.decisions,
            "events_per_s": round(figures.events_per_s, 1),
            "event_to_decision_ms": {"p50": round(figures.p50_ms, 3), "p99": round(figures.p99_ms, 3)},
            "stages": {stage: int(n) for stage, n in end.stages.items()},
            "seconds": round(figures.seconds, 3),
            "problems": problems,
        }
        json_file.write_text(json.dumps(counted, indent=2) + "\n", encoding="utf-8")
    for problem in problems:
        console.print(f"[red]self-check: {problem}[/red]")
    if problems:
        return ExitCode.CHECK
    console.print(
        f"self-check: {figures.events_produced:,} records sent = {figures.events_applied:,} applied + "
        f"{figures.dead_letters} dead letters; each of {figures.sessions:,} sessions has a decision; "
        f"{figures.decisions:,} decisions, {figures.p50_ms:.1f} ms median and {figures.p99_ms:.1f} ms p99 after "
        "the event"
    )
    return ExitCode.OK


def _figures(shop: Shop, now: Reading, first: Reading, rate: float, seconds: float, collected: int) -> Figures:
    bad = int(now.outcomes.get("dead_letter", 0.0))
    return Figures(
        seconds=seconds,
        events_produced=shop.produced + collected,
        events_applied=now.records - bad,
        dead_letters=bad,
        sessions=len(shop.sessions),
        decisions=now.decisions,
        events_per_s=rate,
        p50_ms=quantile(0.5, now, first) * 1000,
        p99_ms=quantile(0.99, now, first) * 1000,
        lag=now.lag,
        stages=now.stages,
    )


def _ensure_bundle(console: Console) -> None:
    from decisions.shipped import BUNDLES

    if os.environ.get("CLICKSTAGE_BUNDLE") or any(BUNDLES.glob("*/manifest.json")):
        return
    console.print("no model bundle ships with this checkout: training one, once")
    subprocess.run([sys.executable, "-m", "worker", "train"], check=True)


def _drained(port: int, produced: int) -> Reading:
    """The worker's figures once it has read everything, or after `DRAIN_S`."""
    deadline = time.monotonic() + DRAIN_S
    while True:
        now = scrape(port)
        if now is not None and (now.records >= produced or time.monotonic() > deadline):
            return now
        if time.monotonic() > deadline:
            return now or Reading()
        time.sleep(0.1)
