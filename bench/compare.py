"""``python -m bench compare BASE.json HEAD.json``: ratios of the medians with 95 % bootstrap intervals.

A line is marked when the interval excludes 1 and the change is over five percent. Exit code 1 if a marked one is worse.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.stats import Ratio, ratio

LEAST: Final = 0.05
HIGHER_IS_BETTER: Final = ("_per_s", "_per_worker_cpu_s", "per_cpu_s", "ratio")
NEITHER: Final = ("sessions_per_batch", "offered_per_s", "events_per_batch", "agreement")


class Change(NamedTuple):
    """One figure of both results."""

    benchmark: str
    figure: str
    change: Ratio
    verdict: str


def changes(base: dict[str, Any], head: dict[str, Any]) -> list[Change]:
    """Every figure that both results hold."""
    found = []
    for benchmark, figures in base["results"].items():
        for figure, before in figures.items():
            after = head["results"].get(benchmark, {}).get(figure)
            if after is None or not before["median"] or not all(before["runs"]):
                continue
            change = ratio(before["runs"], after["runs"])
            found.append(Change(benchmark, figure, change, verdict(figure, change)))
    return found


def verdict(figure: str, change: Ratio) -> str:
    """``better``, ``worse``, or nothing where the interval holds 1 or the change is small.

    >>> verdict("events_per_s", Ratio(1.2, 1.1, 1.3)), verdict("p99_ms", Ratio(1.2, 1.1, 1.3))
    ('better', 'worse')
    >>> verdict("events_per_s", Ratio(1.2, 0.9, 1.3))
    ''
    """
    if any(figure.endswith(name) for name in NEITHER):
        return ""
    if change.low <= 1 <= change.high or abs(change.ratio - 1) < LEAST:
        return ""
    up = any(part.endswith(HIGHER_IS_BETTER) for part in figure.split("."))
    return "better" if (change.ratio > 1) == up else "worse"


def main(argv: Sequence[str]) -> int:
    """Print every common figure."""
    parser = argparse.ArgumentParser(prog="python -m bench compare", description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("head", type=Path)
    options = parser.parse_args(argv)
    base, head = (json.loads(path.read_text(encoding="utf-8")) for path in (options.base, options.head))
    if base["machine"]["cpu"] != head["machine"]["cpu"] or base["machine"]["cores"] != head["machine"]["cores"]:
        print(f"two kinds of machine: {base['machine']['cpu']}, {head['machine']['cpu']}; the ratios mean little")
    found = changes(base, head)
    if not found:
        print("bench compare: the two results have no figure in common", file=sys.stderr)
        return 2
    print(f"{'':<70}{'head/base':>10}   95 % interval")
    for one in found:
        interval = f"{one.change.low:.3f} to {one.change.high:.3f}"
        print(f"{one.benchmark + ' ' + one.figure:<70}{one.change.ratio:>10.3f}   {interval}  {one.verdict}")
    return int(any(one.verdict == "worse" for one in found))
