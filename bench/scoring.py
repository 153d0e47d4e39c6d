"""score: a file of events through `clickstage score`, reading and writing included."""

import contextlib
import io
import tempfile
import time
from pathlib import Path

from bench.context import Context, Samples
from models.simulator.simulator import SimConfig, simulate
from worker.commands.score import main


def score(context: Context) -> Samples:
    """``score``: JSON lines in, CSV out, all heads of the shipped bundle; seconds for a million events."""
    samples: Samples = {}
    with tempfile.TemporaryDirectory() as scratch:
        events = Path(scratch) / "events.jsonl"
        n = 0
        with events.open("wb") as out:
            for chunk in simulate(SimConfig(sessions=context.size(100_000))):
                out.writelines(value + b"\n" for _, value, _ in chunk)
                n += len(chunk)
        for _ in range(context.runs + 1):
            begin, cpu = time.perf_counter(), time.process_time()
            with contextlib.redirect_stderr(io.StringIO()):
                main([str(events), "--out", str(Path(scratch) / "scores.csv")])
            samples.setdefault("seconds_per_million_events", []).append((time.perf_counter() - begin) / n * 1e6)
            samples.setdefault("cpu_seconds_per_million_events", []).append((time.process_time() - cpu) / n * 1e6)
    return {name: values[1:] for name, values in samples.items()}  # the first one compiles
