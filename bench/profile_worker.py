"""Where a saturated worker's time goes: its own per-step clock, CPU per thread, and a sampled profile of its Python.

    python -m bench.profile_worker [--events 600000] [--batch-max 4000] [--sample]

`--sample` runs the main thread under cProfile instead: its shares name the functions, but every Python call is dearer
there, so the microseconds to believe are those without it.
"""

import argparse
import cProfile
import io
import os
import pstats
import sys
import threading
import time
from pathlib import Path
from typing import Final

from bench.processes import rss_mb
from bench.saturate import PARTITIONS, throughput
from bench.stack import Stack, WorkerProcess
from bench.workload import shoppers

TOP: Final = 45


def threads(pid: int) -> dict[str, float]:
    """CPU seconds of each thread, summed by its name."""
    found: dict[str, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        line = (task / "stat").read_text(encoding="utf-8")
        name = line[line.index("(") + 1 : line.rindex(")")]
        fields = line.rpartition(")")[2].split()
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        label = "main" if task.name == str(pid) else name
        found[label] = found.get(label, 0.0) + seconds
    return found


def main(argv: list[str] | None = None) -> int:
    """Fill a topic, empty it, tell."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.profile_worker", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=600_000)
    parser.add_argument("--batch-max", type=int, default=4_000)
    parser.add_argument("--latency-target-ms", type=int, help="the worker's setting")
    parser.add_argument("--bundle", help="another bundle than the shipped one")
    parser.add_argument("--sample", action="store_true", help="under cProfile")
    options = parser.parse_args(argv)
    flags: dict[str, object] = {"batch-max": options.batch_max}
    if options.latency_target_ms:
        flags["latency-target-ms"] = options.latency_target_ms
    if options.bundle:
        flags["bundle"] = options.bundle
    with Stack() as stack:
        topics = stack.filled("shoppers", shoppers(options.events), PARTITIONS)
        wrapper = ("-m", "bench.profile_worker", "--inside") if options.sample else ("-m", "worker")
        report = stack.directory / "profile.txt"
        os.environ["CLICKSTAGE_PROFILE"] = str(report)
        with WorkerProcess(stack, topics, stack.group(), flags, wrapper=wrapper) as worker:
            pids = {"worker": worker.pid, "kafka": stack.kafka.pid, "redis": stack.redis.pid}
            begin: dict[str, float] = {}
            figures = throughput(options.events, worker.count, pids, worker.check)
            begin = threads(worker.pid)
            metrics = worker.metrics()
            memory = rss_mb(worker.pid)
        tell(figures, metrics, begin, memory)
        if options.sample:
            print(report.read_text(encoding="utf-8"))
    return 0


def tell(figures: dict[str, float], metrics: dict[str, float], cpu: dict[str, float], memory: float) -> None:
    """Print the figures of one drain."""
    applied = sum(v for k, v in metrics.items() if k.startswith("clickstage_events_total"))
    batches = metrics.get("clickstage_batch_events_count", 0.0)
    print(f"{figures['events_per_s']:,.0f} events/s; RSS {memory:.0f} MB; events {applied:,.0f} in {batches:,.0f} batches")
    for name, value in figures.items():
        print(f"  {name:<40}{value:>12,.2f}")
    print("wall microseconds per event by step (clickstage_batch_seconds):")
    steps = {k.split('"')[1]: v for k, v in metrics.items() if k.startswith("clickstage_batch_seconds_sum")}
    for step, seconds in sorted(steps.items(), key=lambda item: -item[1]):
        if seconds:
            print(f"  {step:<40}{seconds * 1e6 / applied:>12.3f}")
    print(f"  {'all steps':<40}{sum(steps.values()) * 1e6 / applied:>12.3f}   (the rest: poll, observe, timers' reads)")
    print("CPU microseconds per event by thread, start-up included:")
    for name, seconds in sorted(cpu.items(), key=lambda item: -item[1]):
        if seconds >= 0.05:
            print(f"  {name:<40}{seconds * 1e6 / applied:>12.3f}")


def inside(argv: list[str]) -> int:
    """The worker, with its main thread under cProfile once it applies events."""
    from worker.cli import main as clickstage

    profile = cProfile.Profile()
    from worker import loop

    run = loop.Loop.run

    def profiled(self: loop.Loop) -> None:
        profile.enable()
        try:
            run(self)
        finally:
            profile.disable()

    loop.Loop.run = profiled  # type: ignore[method-assign]
    code = clickstage(argv)
    text = io.StringIO()
    stats = pstats.Stats(profile, stream=text)
    stats.sort_stats("tottime").print_stats(TOP)
    stats.sort_stats("cumtime").print_stats(TOP)
    Path(os.environ["CLICKSTAGE_PROFILE"]).write_text(text.getvalue(), encoding="utf-8")
    time.sleep(0)
    assert threading.current_thread() is threading.main_thread()
    return code


if __name__ == "__main__":
    sys.exit(inside(sys.argv[2:]) if "--inside" in sys.argv[1:2] else main())
