"""Where a saturated worker's time goes: its own clock by step, CPU by thread, and a sampled profile of its main thread.

    python -m bench.profile_worker [--events 600000] [--batch-max 4000] [--latency-target-ms 25]

The sampled part needs py-spy (on the PATH, or in `.cache/tools/bin`: ``python3 -m venv .cache/tools`` and
``.cache/tools/bin/pip install py-spy``); without it the other two are printed alone.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

from bench.processes import rss_mb
from bench.saturate import FROM, PARTITIONS, throughput
from bench.stack import REPOSITORY, Stack, WorkerProcess
from bench.workload import shoppers

TOP: Final = 40
RATE: Final = 200
LONGEST_S: Final = 600


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
    parser.add_argument("--batch-max", type=int, help="the worker's setting")
    parser.add_argument("--latency-target-ms", type=int, help="the worker's setting")
    parser.add_argument("--bundle", help="another bundle than the shipped one")
    options = parser.parse_args(argv)
    given = {"batch-max": options.batch_max, "latency-target-ms": options.latency_target_ms, "bundle": options.bundle}
    flags = {"timers": "event", **{name: value for name, value in given.items() if value is not None}}
    spy = shutil.which("py-spy", path=f"{os.environ.get('PATH', '')}:{REPOSITORY / '.cache/tools/bin'}")
    with Stack() as stack:
        topics = stack.filled("shoppers", shoppers(options.events), PARTITIONS)
        samples = stack.directory / "samples.txt"
        with WorkerProcess(stack, topics, stack.group(), flags) as worker:
            while worker.count() < FROM * options.events:
                worker.check()
                time.sleep(0.02)
            watching = _watch(spy, worker.pid, samples) if spy else None
            pids = {"worker": worker.pid, "kafka": stack.kafka.pid, "redis": stack.redis.pid}
            figures = throughput(options.events, worker.count, pids, worker.check)
            if watching is not None:
                watching.send_signal(signal.SIGINT)
                watching.wait()
            _tell(figures, worker.metrics(), threads(worker.pid), rss_mb(worker.pid))
        if spy:
            _tell_samples(samples, figures["worker_main_thread_cpu_us_per_event"])
    return 0


def _watch(spy: str, pid: int, out: Path) -> "subprocess.Popen[bytes]":
    command = [spy, "record", "-p", str(pid), "-d", str(LONGEST_S), "-r", str(RATE), "-f", "raw", "-o", str(out)]
    return subprocess.Popen([*command, "--nonblocking"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _tell(figures: dict[str, float], metrics: dict[str, float], cpu: dict[str, float], memory: float) -> None:
    applied = sum(v for k, v in metrics.items() if k.startswith("clickstage_events_total"))
    batches = metrics.get("clickstage_batch_events_count", 0.0)
    print(
        f"{figures['events_per_s']:,.0f} events/s; RSS {memory:.0f} MB; {applied:,.0f} events, {batches:,.0f} batches"
    )
    for name, value in figures.items():
        print(f"  {name:<40}{value:>12,.2f}")
    print("wall microseconds per event by step (clickstage_batch_seconds):")
    steps = {k.split('"')[1]: v for k, v in metrics.items() if k.startswith("clickstage_batch_seconds_sum")}
    for step, seconds in sorted(steps.items(), key=lambda item: -item[1]):
        if seconds:
            print(f"  {step:<40}{seconds * 1e6 / applied:>12.3f}")
    print("CPU microseconds per event by thread, start-up included:")
    for name, seconds in sorted(cpu.items(), key=lambda item: -item[1]):
        if seconds >= 0.05:
            print(f"  {name:<40}{seconds * 1e6 / applied:>12.3f}")


def _tell_samples(samples: Path, us_per_event: float) -> None:
    """The main thread's CPU time per event, spread over the samples that found it running."""
    lines: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in samples.read_text(encoding="utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not any("worker/pipeline/loop.py" in frame for frame in frames):
            continue
        lines[frames[-1]] += int(count)
        for function in {frame.rpartition(":")[0] for frame in frames}:
            functions[function] += int(count)
    scale = us_per_event / max(lines.total(), 1)
    for title, found in (("line, itself", lines), ("function, with what it calls", functions)):
        print(f"CPU microseconds per event of the main thread by {title} ({lines.total()} samples):")
        for where, times in found.most_common(TOP):
            print(f"  {times * scale:8.3f}  {where}")


if __name__ == "__main__":
    sys.exit(main())
