"""``python -m bench``: run; ``bench compare BASE HEAD``: changes; ``bench report FILE``: the tables of the docs."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.catalogue import BENCHMARKS
from bench.compare import main as compare
from bench.context import RUNS, Benchmark, Context
from bench.headline import headline
from bench.machine import facts
from bench.report import main as report
from bench.report import target
from bench.stack import Stack
from bench.stats import Summary, summarise

FORMAT = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and write JSON."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["compare"]:
        return compare(arguments[1:])
    if arguments[:1] == ["report"]:
        return report(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Benchmarks on real Kafka and Redis. Also: python -m bench compare BASE.json HEAD.json",
    )
    parser.add_argument("--list", action="store_true", help="the ids, and what each measures")
    parser.add_argument("--only", nargs="+", metavar="ID", help="these alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    parser.add_argument("--runs", type=int, default=RUNS, metavar="N", help=f"runs a figure ({RUNS})")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run? Its figures are worth little")
    parser.add_argument("--keep", action="store_true", help="keep what FILE holds of the other benchmarks")
    options = parser.parse_args(arguments)
    if options.list:
        for benchmark in BENCHMARKS:
            print(f"  {benchmark.id:<20} {benchmark.title}")
        return 0
    known = {benchmark.id for benchmark in BENCHMARKS}
    wanted = options.only or [benchmark.id for benchmark in BENCHMARKS]
    if unknown := sorted(set(wanted) - known):
        print(f"bench: there is no {', '.join(unknown)}; --list names them", file=sys.stderr)
        return 2
    with Stack() as stack:
        context = Context(stack, max(options.runs, 1), options.quick)
        if options.keep and options.json and options.json.exists():
            context.results |= read(options.json)
        for benchmark in BENCHMARKS:
            if benchmark.id in wanted:
                run(benchmark, context)
                if options.json:
                    write(options.json, context)
    summary = headline(context.results)
    if summary:
        print(json.dumps(summary, indent=2))
    return 0


def run(benchmark: Benchmark, context: Context) -> None:
    """Measure one and print it."""
    print(f"{benchmark.id}: {benchmark.title}", flush=True)
    begin = time.monotonic()
    context.results[benchmark.id] = {name: summarise(values) for name, values in benchmark.run(context).items()}
    for name, found in context.results[benchmark.id].items():
        goal = target(benchmark.id, name)
        spread = f"({_figure(found.low)} to {_figure(found.high)})"
        print(f"  {name:<48}{_figure(found.median):>14}   {spread}{'   target ' + goal if goal else ''}")
    print(f"  [{time.monotonic() - begin:.0f} s]", flush=True)


def read(path: Path) -> dict[str, dict[str, Summary]]:
    """The results in a file."""
    results = json.loads(path.read_text(encoding="utf-8"))["results"]
    return {
        id_: {name: summarise(found["runs"]) for name, found in figures.items()} for id_, figures in results.items()
    }


def write(path: Path, context: Context) -> None:
    """Everything measured so far, with the machine's facts and the keys that the targets name; no date."""
    path.write_text(json.dumps(document(context.results, context.runs, quick=context.quick), indent=1) + "\n")


def document(results: dict[str, dict[str, Summary]], runs: int, *, quick: bool) -> dict[str, Any]:
    """The JSON result."""
    return {
        "format": FORMAT,
        "machine": facts(),
        "runs": runs,
        "quick": quick,
        **headline(results),
        "results": {
            id_: {name: found.document() for name, found in figures.items()} for id_, figures in results.items()
        },
    }


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"


if __name__ == "__main__":
    sys.exit(main())
