"""forest: rows per second of the served forest, one thread, against scikit-learn.

    python bench/forest.py                 # 200 trees of depth 20: as served, fully grown, and on 5 % noise
    python bench/forest.py --both          # each layout, to check the choice in models/trees/layouts.py
    python bench/forest.py --bundle DIR    # a bundle's own forest, without scikit-learn

Prints the median of five rounds with the lowest and highest; a round is as many calls as fit in 0.2 s. One row also
has its p99 over 10,000 calls. Fixed seeds.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from numpy.typing import NDArray

from featurestore.session.stages import STAGES
from models.rules import StageRules
from models.trees.ensemble import Ensemble
from models.trees.explain import contributions
from models.trees.layouts import LeafSets, Walk

ROUNDS = 5
ROUND_S = 0.2


def observations(sessions: int, seed: int) -> NDArray[np.float64]:
    """Feature rows at every event of made-up sessions: four kinds of shopper, some silences."""
    rng = np.random.default_rng(seed)
    rows = []
    for kind in rng.integers(0, 4, sessions):
        length = int(np.clip(rng.lognormal((1.3, 3.2, 2.2, 1.5)[kind], 0.8), 2, 195))
        gaps = np.clip(rng.lognormal(np.log((8, 9, 7, 30)[kind]), 0.9, length - 1), 0.2, 600).round(3)
        duration = np.concatenate([[0], np.cumsum(gaps)])
        clicks = np.arange(1, length + 1)
        pages = np.cumsum(rng.random(length) < (0.6, 0.6, 0.4, 0.5)[kind]) + 1
        cart = np.cumsum((rng.random(length) < (0.01, 0.03, 0.2, 0.05)[kind]) * rng.integers(1, 3, length))
        bounce = rng.choice([*(k / 10 for k in range(11)), 0.5, 0.25, 1 / 3])
        idle = np.array([gaps[max(0, i - 5) : i].mean() if i else 0.0 for i in range(length)])
        if rng.random() < 0.5:
            idle[-1] = (gaps[-4:].sum() + rng.uniform(20, 200)) / (len(gaps[-4:]) + 1)
        between = np.where(clicks > 1, duration / np.maximum(clicks - 1, 1), 0)
        columns = (
            duration, clicks, pages, cart, between, np.full(length, bounce),
            clicks / np.maximum(duration, 1), cart / np.maximum(pages, 1), idle,
        )  # fmt: skip
        rows.append(np.column_stack(columns))
    X = np.concatenate(rows)
    return np.ascontiguousarray(X[rng.permutation(len(X))])


def rows_per_s(call: Callable[[], object], rows: int) -> dict[str, float]:
    """Median, lowest and highest of the rounds."""
    call()
    found = []
    for _ in range(ROUNDS):
        calls, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < ROUND_S:
            call()
            calls += 1
        found.append(calls * rows / (time.perf_counter() - begin))
    return {"median": statistics.median(found), "low": min(found), "high": max(found)}


def p99_us(call: Callable[[], object]) -> float:
    """Of 10,000 single calls, microseconds."""
    call()
    found = []
    for _ in range(10_000):
        begin = time.perf_counter_ns()
        call()
        found.append(time.perf_counter_ns() - begin)
    return float(np.percentile(found, 99)) / 1000


def report(name: str, figures: dict[str, float]) -> None:
    us = 1e6 / figures["median"]
    spread = f"{figures['low']:,.0f} to {figures['high']:,.0f}"
    print(f"  {name:34}{figures['median']:>12,.0f} rows/s  {us:>9.2f} us/row  ({spread})")


def measure(name: str, forest: Ensemble, X: NDArray[np.float64], sklearn: Any, both: bool) -> dict[str, Any]:
    leaves = forest.trees.leaves()
    print(f"{name}: {forest.n_trees} trees, {int(np.median(leaves))} leaves (median), path {forest.path}")
    results: dict[str, Any] = {"path": forest.path, "trees": forest.n_trees, "leaves": int(np.median(leaves))}
    one = X[:1].copy()
    results["ours_1_p99_us"] = p99_us(lambda: forest.predict(one))
    print(f"  predict, 1 row, p99               {results['ours_1_p99_us']:>35.2f} us")
    stages = np.zeros(1000, np.uint8)
    some = X[:1000].copy()
    results["explain_1000"] = rows_per_s(lambda: contributions(forest, some, stages), 1000)
    report("contributions, 1000 rows", results["explain_1000"])
    layouts = [forest.laid_out(kind) for kind in (LeafSets, Walk)] if both else [forest.layout]
    for rows in (1, 1000):
        batch = X[:rows].copy()
        if not both:
            figures = rows_per_s(lambda batch=batch: forest.predict(batch), rows)  # type: ignore[misc]
            results[f"ours_{rows}"] = figures
            report(f"predict, {rows} row(s)", figures)
        for layout in layouts if both else []:
            out = np.empty((rows, 4))
            figures = rows_per_s(
                lambda layout=layout, batch=batch, out=out: layout.predict(  # type: ignore[misc]
                    batch, forest.finish, out
                ),
                rows,
            )
            results[f"{layout.name}_{rows}"] = figures
            report(f"{layout.name}, {rows} row(s)", figures)
        if sklearn is not None:
            figures = rows_per_s(lambda batch=batch: sklearn.predict_proba(batch), rows)  # type: ignore[misc]
            results[f"scikit_learn_{rows}"] = figures
            report(f"scikit-learn, {rows} row(s)", figures)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--both", action="store_true", help="time each layout instead of the chosen one")
    parser.add_argument("--bundle", type=Path, help="time this bundle's forest")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    X = observations(400, seed=99)
    results: dict[str, Any] = {}
    if options.bundle:
        forest = Ensemble.load(options.bundle / "stage.npz")
        results["bundle"] = measure(options.bundle.name, forest, X, None, options.both)
    else:
        from sklearn.ensemble import RandomForestClassifier

        train = observations(1500, seed=1)[:20_000]
        clean = StageRules().label(train)
        noise = np.random.default_rng(2).random(len(clean)) < 0.05
        noisy = np.where(noise, np.random.default_rng(3).integers(0, 4, len(clean)), clean)
        served = {
            "max_leaf_nodes": 32,
            "min_samples_leaf": 5,
            "max_features": 5,
            "max_samples": 0.5,
        }  # as models.training.train
        for name, y, size in (("served", clean, served), ("fully grown", clean, {}), ("noisy", noisy, {})):
            estimator = RandomForestClassifier(200, max_depth=20, random_state=4, **size).fit(train, y)
            forest = Ensemble.from_sklearn(estimator, STAGES)
            error = np.abs(forest.predict(X) - estimator.predict_proba(X)).max()
            assert error < 1e-6, error
            results[name] = measure(name, forest, X, estimator, options.both)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
