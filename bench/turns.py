"""turns: the worker of an earlier revision and the worker of this tree, in turns on one Kafka and one Redis.

python -m bench.turns [--base c8d4f88] [--runs 5] [--events 600000] [--rate 5000] [--json FILE]

Three sides: `base`, with the bundle it ships; `stage`, this tree with that same bundle; `shipped`, this tree with its
own. All read the same topic. turns.SIDE.events_per_s: a drain, as in `e2e`. turns.SIDE.ratio: of the medians, to
`base`, with a 95 % interval. turns.SIDE.p99_ms: at `--rate` events a second, as in `latency`; `--rate 0` leaves it out.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.latency import WARM_S, WINDOW_S, in_windows, offered, percentile_ms
from bench.saturate import EVENTS, PARTITIONS, drain
from bench.stack import REPOSITORY, Stack, WorkerProcess
from bench.stats import Ratio, ratio, summarise
from bench.workload import shoppers
from tests.revisions import NoRevision, newest_bundle, tree_of

WINDOWS: Final = 3
SPENT: Final = ("worker", "worker_main_thread", "redis", "kafka")


class Side(NamedTuple):
    """What takes a turn."""

    name: str
    tree: Path
    bundle: Path

    def options(self) -> dict[str, object]:
        """Flags of its worker."""
        return {"bundle": self.bundle}


def main() -> int:
    """Take turns, print what each turn gave and the ratios; 2 if the base cannot be had."""
    options = _options()
    try:
        base = tree_of(options.base)
    except NoRevision as reason:
        print(f"turns: {reason}", file=sys.stderr)
        return 2
    older = newest_bundle(base)
    sides = [Side("base", base, older), Side("stage", REPOSITORY, older), Side("shipped", REPOSITORY, options.bundle)]
    with Stack() as stack:
        rates = drained(stack, sides, options.runs, options.events)
        waits = waited(stack, sides, options.runs, options.rate) if options.rate else {}
    found: dict[str, Any] = {}
    for side in sides:
        for figure, runs in (("events_per_s", rates[side.name]), ("p99_ms", waits.get(side.name, []))):
            if runs:
                found[f"{side.name}.{figure}"] = summarise(runs).document()
                against = waits["base"] if figure == "p99_ms" else rates["base"]
                _print(f"{side.name}.{figure}", runs, ratio(against, runs))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


def drained(stack: Stack, sides: list[Side], runs: int, events: int) -> dict[str, list[float]]:
    """Events a second of each side; the first turn of each compiles and is not counted."""
    topics = stack.filled("shoppers", shoppers(events), PARTITIONS)
    rates: dict[str, list[float]] = {side.name: [] for side in sides}
    for run in range(runs + 1):
        for side in _in_turn(sides, run):
            start = partial(WorkerProcess, tree=side.tree)
            figures, _ = drain(stack, topics, events, side.options(), start)
            rate = figures["events_per_s"]
            if run:
                rates[side.name].append(rate)
            spent = ", ".join(f"{name} {figures[f'{name}_cpu_us_per_event']:.1f}" for name in SPENT)
            print(f"  turn {run}  {side.name:<8} {rate:>10,.0f} events/s, CPU us/event: {spent}", file=sys.stderr)
    return rates


def waited(stack: Stack, sides: list[Side], runs: int, rate: float) -> dict[str, list[float]]:
    """The 99th percentile of each window, in ms, from when an event is due to when its decision can be read."""
    waits: dict[str, list[float]] = {side.name: [] for side in sides}
    for run in range(runs):
        for side in _in_turn(sides, run):
            start = partial(WorkerProcess, options=side.options(), tree=side.tree)
            seen = offered(stack, rate, WARM_S + WINDOWS * WINDOW_S, start=start)
            waits[side.name] += [percentile_ms(window, 99) for window in in_windows(seen, WINDOWS)]
            shown = " ".join(f"{wait:.1f}" for wait in waits[side.name][-WINDOWS:])
            print(f"  turn {run}  {side.name:<8} p99 {shown} ms", file=sys.stderr, flush=True)
    return waits


def _in_turn(sides: list[Side], run: int) -> list[Side]:
    """Each side is first as often as the others: what a turn leaves behind hits the one after it."""
    first = run % len(sides)
    return sides[first:] + sides[:first]


def _print(name: str, runs: list[float], against: Ratio) -> None:
    figures = summarise(runs)
    spread = f"({figures.low:,.1f} to {figures.high:,.1f})"
    print(f"{name:<24}{figures.median:>12,.1f}   {spread:<28} ratio {against.ratio:.3f} ", end="")
    print(f"({against.low:.3f} to {against.high:.3f})", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.turns", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--base", default="c8d4f88", metavar="REV", help="the earlier revision, or its folder (c8d4f88)"
    )
    parser.add_argument("--bundle", type=Path, default=newest_bundle(REPOSITORY), help="of `shipped` (the newest)")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="turns of each side (5)")
    parser.add_argument("--events", type=int, default=EVENTS, metavar="N", help=f"of a drain ({EVENTS})")
    parser.add_argument("--rate", type=float, default=5_000, metavar="N", help="events a second for p99 (5000); 0: not")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
