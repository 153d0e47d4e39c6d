"""simulator: events per second written as JSON lines (floor 200,000), median of five runs.

python bench/simulator.py [--sessions 100000] [--json FILE]
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

from models.simulator.simulator import SimConfig, simulate


def run(sessions: int, rate: float) -> dict[str, float]:
    begin, cpu = time.perf_counter(), time.process_time()
    n = size = 0
    with Path(os.devnull).open("wb") as out:
        for chunk in simulate(SimConfig(sessions=sessions, sessions_per_s=rate)):
            size += out.write(b"\n".join([value for _, value, _ in chunk]) + b"\n")
            n += len(chunk)
    seconds = time.perf_counter() - begin
    cpu_seconds = time.process_time() - cpu
    return {"events": n, "events_per_s": n / seconds, "per_cpu_s": n / cpu_seconds, "bytes_per_event": size / n}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = {}
    for rate in (2.0, 2_000.0):
        runs = [run(options.sessions, rate) for _ in range(5)]
        speeds = sorted(r["events_per_s"] for r in runs)
        results[f"simulator.rate_{rate:g}"] = {
            "events": runs[0]["events"],
            "events_per_s": statistics.median(speeds),
            "events_per_cpu_s": statistics.median(r["per_cpu_s"] for r in runs),
            "slowest": speeds[0],
            "fastest": speeds[-1],
        }
        print(
            f"{rate:>7,g} sessions/s: {statistics.median(speeds):>9,.0f} events/s "
            f"(of five runs: {speeds[0]:,.0f} to {speeds[-1]:,.0f}), "
            f"{statistics.median(r['per_cpu_s'] for r in runs):,.0f} per CPU second, {runs[0]['events']:,.0f} events"
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
