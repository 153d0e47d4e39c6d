"""Single parts that have a benchmark script of their own, under the common index."""

import time

from bench import forest as forest_script
from bench import simulator as simulator_script
from bench.context import Context, Samples
from decisions.shipped import load_bundle


def forest(context: Context) -> Samples:
    """``forest``: the shipped forest and its explanations, one thread."""
    bundle = load_bundle(None)
    X = bundle.stage.filled(forest_script.observations(100 if context.quick else 400, seed=99))
    samples: Samples = {"trees": [float(bundle.stage.model.n_trees)]}
    for rows in (1, 100, 1_000, 4_000):
        batch = X[:rows].copy()
        bundle.stage.model.predict(batch)
        for _ in range(context.runs):
            calls = max(20_000 // rows, 5)
            begin = time.perf_counter()
            for _ in range(calls):
                bundle.stage.model.predict(batch)
            spent = time.perf_counter() - begin
            samples.setdefault(f"rows_{rows}.us_per_row", []).append(spent * 1e6 / (calls * len(batch)))
    return samples


def simulator(context: Context) -> Samples:
    """``simulator``: events written as JSON lines."""
    samples: Samples = {}
    for rate in (2.0, 2_000.0):
        for _ in range(context.runs):
            figures = simulator_script.run(context.size(50_000), rate)
            samples.setdefault(f"rate_{rate:g}.events_per_s", []).append(figures["events_per_s"])
    return samples
