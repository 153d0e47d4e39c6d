"""``python -m bench report FILE.json``: the tables of docs/performance.md; ``--write`` puts them there."""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

BEGIN: Final = "<!-- printed by: python -m bench report bench/baseline.json -->"
END: Final = "<!-- end -->"

TARGETS: Final = (
    ("events/s, one worker, everything on", "e2e", "events_per_s", 100_000.0, True),
    ("worker / floor (the same bytes to Redis, nothing to Kafka)", "e2e", "floor_ratio", 0.5, True),
    ("worker / floor with the decision log", "e2e", "floor_log_ratio", None, True),
    ("worker / floor without outbox and log", "e2e", "floor_bare_ratio", None, True),
    ("times naive", "peers", "naive.ratio", 400.0, True),
    ("times Quix Streams with ONNX Runtime, a SET an event", "peers", "quix_onnx.ratio", 15.0, True),
    ("times Quix Streams with its sink, readable after 5 s", "peers", "quix_onnx_sink.ratio", 15.0, True),
    ("times Faust-streaming with ONNX Runtime", "peers", "faust_onnx.ratio", None, True),
    ("p99 at 5,000 events/s, ms", "latency", "5000.p99_ms", 10.0, False),
    ("p99 at half of saturation, ms", "latency", "sat50.p99_ms", None, False),
    ("p99 at 80 % of saturation, ms", "latency", "sat80.p99_ms", 50.0, False),
    ("p99 of the floor with the log, likewise, ms", "latency", "floor_log.sat80.p99_ms", None, False),
    ("worker RSS at 1,000,000 live sessions, MB", "sessions", "worker_rss_mb.1000000", 300.0, False),
    ("Redis 7, bytes per live session", "sessions", "redis_bytes_per_session.1000000", 700.0, False),
    ("Valkey 9, bytes per live session", "sessions", "valkey_bytes_per_session.1000000", 700.0, False),
    ("speed at 1,000,000 sessions / at 10,000", "sessions", "million_sessions_ratio", 0.9, True),
    ("10,000 of 1,000,000 sessions due: fired after, s", "timers", "firing_s", 1.0, False),
    ("edge: inline decisions/s asked and answered, one process", "edge", "decide_per_s", 990.0, True),
    ("edge: p50 of an inline decision at 1,000 requests/s, ms", "edge", "decide_p50_ms", 3.0, False),
    ("edge: p99 of the same, ms", "edge", "decide_p99_ms", 10.0, False),
    ("edge: p50 of an event answered with its decision, ms", "edge", "events_decide_p50_ms", None, False),
    ("edge: p99 of the same, ms", "edge", "events_decide_p99_ms", None, False),
    ("edge: events/s collected, one a request, one process", "edge", "collect_1_events_per_s", 5_000.0, True),
    ("edge: events/s collected, fifty a request, one process", "edge", "collect_50_events_per_s", 40_000.0, True),
    ("edge: a write reaches 1,000 open streams, p99, ms", "edge", "push_all_p99_ms", 50.0, False),
    ("edge: open streams of a process", "edge", "streams", 5_000.0, True),
    ("edge: a write reaches all of these, p99, ms", "edge", "push_crowd_p99_ms", None, False),
    ("edge: memory of one of 1,000 open streams, KB", "edge", "stream_kb", 20.0, False),
    ("edge: memory of one of all of them, KB", "edge", "stream_crowd_kb", 20.0, False),
)


def target(benchmark: str, figure: str) -> str:
    """The target of a figure, "" where it has none."""
    for _, its, name, goal, up in TARGETS:
        if (its, name) == (benchmark, figure) and goal is not None:
            return f"{'≥' if up else '≤'} {_number(goal)}"
    return ""


def tables(document: dict[str, Any]) -> str:
    """Machine, targets, and every figure."""
    machine = document["machine"]
    lines = [
        f"Measured on: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"Python {machine['python']}; worker, Kafka, Redis and the load share the cores."
        + (" A quick run: these figures only show that the benchmarks work." if document.get("quick") else ""),
        "",
        "| figure | target | median | lowest | highest | reached |",
        "|---|---|---|---|---|---|",
    ]
    results = document["results"]
    for title, benchmark, figure, wanted, up in TARGETS:
        found = results.get(benchmark, {}).get(figure)
        if found is None:
            continue
        goal = target(benchmark, figure)
        reached = ""
        if wanted is not None:
            reached = "yes" if (found["median"] >= wanted) == up or found["median"] == wanted else "no"
        spread = " | ".join(_number(found[name]) for name in ("median", "low", "high"))
        lines.append(f"| {title} | {goal} | {spread} | {reached} |")
    for benchmark, figures in results.items():
        lines += ["", f"### `{benchmark}`", "", "| figure | median | lowest | highest |", "|---|---|---|---|"]
        for name, found in figures.items():
            spread = " | ".join(_number(found[part]) for part in ("median", "low", "high"))
            lines.append(f"| `{name}` | {spread} |")
    return "\n".join(lines) + "\n"


def placed(page: str, text: str) -> str:
    r"""``page`` with ``text`` between the two marks.

    >>> placed(f"a\n{BEGIN}\nold\n{END}\nb", "new\n").count("new")
    1
    """
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def main(argv: Sequence[str]) -> int:
    """Print, or write into a page."""
    parser = argparse.ArgumentParser(prog="python -m bench report", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace the tables in this page")
    options = parser.parse_args(argv)
    text = tables(json.loads(options.file.read_text(encoding="utf-8")))
    if options.write is None:
        print(text, end="")
    else:
        options.write.write_text(placed(options.write.read_text(encoding="utf-8"), text), encoding="utf-8")
    return 0


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "never"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"
