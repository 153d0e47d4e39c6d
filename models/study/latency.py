"""How long one prediction takes: the published study's latency table, for scikit-learn and for our scorer.

One prepared row (median filled, scaled) in, four probabilities out, one thread, one call after another. scikit-learn's
forest needs several milliseconds a call, so it gets fewer calls; every figure says how many.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from featurestore.session.stages import STAGES
from models.study.protocol import Floats
from models.trees.ensemble import Ensemble
from models.trees.flatten import servable

CALLS: Final = 10_000
SLOW_CALLS: Final = 1_000
WARM_UP: Final = 50
OURS: Final = "clickstage_"


def time_classifiers(fitted: dict[str, Any], X: Floats, calls: int, slow_calls: int) -> dict[str, dict[str, float]]:
    """Microseconds per single prediction: mean, p50, p99 and the number of calls, by model.

    ``fitted`` are pipelines of a ``prepare`` and a ``model`` step; ``X`` (n, 9) raw rows, used in turn. What our scorer
    can serve stands there a second time, under ``clickstage_<name>``.
    """
    result = {}
    for name, pipeline in fitted.items():
        rows = np.ascontiguousarray(pipeline.named_steps["prepare"].transform(X))
        model = pipeline.named_steps["model"]
        slow = hasattr(model, "estimators_") and hasattr(model, "n_jobs")  # a task a tree: milliseconds a call
        result[name] = _time(model.predict_proba, rows, slow_calls if slow else calls)
        if servable(model):
            scorer = Ensemble.from_sklearn(model, STAGES)
            result[OURS + name] = _time(scorer.predict, rows, calls)
    return result


def _time(predict: Callable[[Floats], object], X: Floats, calls: int) -> dict[str, float]:
    rows = [X[i : i + 1] for i in range(len(X))]
    for row in rows[:WARM_UP]:
        predict(row)
    taken = np.empty(calls)
    for call in range(calls):
        row = rows[call % len(rows)]
        begin = time.perf_counter_ns()
        predict(row)
        taken[call] = time.perf_counter_ns() - begin
    taken /= 1_000
    return {
        "mean": round(float(taken.mean()), 2),
        "p50": round(float(np.percentile(taken, 50)), 2),
        "p99": round(float(np.percentile(taken, 99)), 2),
        "n": calls,
    }
