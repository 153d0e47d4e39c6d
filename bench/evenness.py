"""How even the machine's own speed is: the same loop on every core, quarter second by quarter second.

A load at 80 % of saturation leaves a fifth in reserve. While the machine is slower than that, because its neighbours
are busy, the backlog grows whatever runs on it.
"""

import os
import subprocess
import sys
import time
from typing import Final

import numpy as np

from bench.context import Context, Samples

WINDOW_S: Final = 0.25
STEPS: Final = 20_000
RESERVE: Final = 0.8
USUAL: Final = 95
SECONDS: Final = 20


def speeds(seconds: float) -> list[float]:
    """Loops a second in each window of `WINDOW_S`."""
    found = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        loops = 0
        while (spent := time.perf_counter() - begin) < WINDOW_S:
            total = 0
            for i in range(STEPS):
                total += i
            loops += 1
        found.append(loops / spent)
    return found


def machine(context: Context) -> Samples:
    """``machine``: of each core's windows, the share below 80 % of its 95th percentile, and how slow they get."""
    command = [sys.executable, "-m", "bench.evenness", str(context.size(SECONDS))]
    samples: Samples = {}
    for _ in range(context.runs):
        processes = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(len(os.sched_getaffinity(0)))
        ]
        for process in processes:
            output, _ = process.communicate()
            relative = np.array([float(part) for part in output.split()])
            relative /= np.percentile(relative, USUAL)
            samples.setdefault("slow_windows_percent", []).append(float((relative < RESERVE).mean() * 100))
            samples.setdefault("slowest_percent", []).append(float(np.percentile(relative, 1) * 100))
    return samples


if __name__ == "__main__":
    print(*speeds(float(sys.argv[1])))
