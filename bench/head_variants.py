"""What else might make ``add_rest`` right more often at a probability of one half, by folds of visits.

``python -m bench.head_variants [--log L|shop|simulator] [--data DIR]`` prints a row a variant: how many more moments
are right than with the head's trees, with a 95 % interval that draws whole visits. The head's own calibration and the
last eight actions (`models.study.windows`) stand beside the variants.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # has no stubs

from models.heads.outcomes import BUILT_IN
from models.heads.ranking import auc
from models.report.options import DATA
from models.report.outcome_evaluation import SIMULATED
from models.rules import StageRules
from models.simulator.simulator import SimEvent, simulate
from models.study import action_log, shop_log
from models.study import outcome_figures as measure
from models.study.windows import windows
from models.training.dataset import observe_log
from models.training.outcome_fit import LEAVES, RATE, ROUNDS, ROWS_PER_LEAF, fit_platt, log_odds
from models.training.outcomes import OutcomeRows, Parts, outcome_rows, visit_folds

Floats = NDArray[np.float64]

SEED: Final = 42
FOLDS: Final = 5
BAGS: Final = 3
BAG_SHARE: Final = 0.7
HEAD: Final = next(outcome for outcome in BUILT_IN if outcome.name == "add_rest")


def main() -> None:
    """Print a table a log."""
    parser = argparse.ArgumentParser(prog="python -m bench.head_variants", description=__doc__.splitlines()[0])
    parser.add_argument("--log", choices=("L", "shop", "simulator"), help="this log alone")
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help=f"folder of {shop_log.FILE}")
    options = parser.parse_args()
    logs: dict[str, Callable[[], list[SimEvent]]] = {
        "L": lambda: action_log.generate(SEED, 9_000),
        "shop": lambda: shop_log.load_shop_log(options.data / shop_log.FILE),
        "simulator": lambda: [e for part in simulate(SIMULATED.model_copy(update={"sessions": 6_000})) for e in part],
    }
    for log, read in logs.items():
        if options.log in (None, log):
            rules = StageRules()
            rows = outcome_rows(observe_log([read()], rules, wide=True), rules)
            print("\n".join(table(log, rows.take(~rows.silent) if log == "L" else rows)), flush=True)


def table(log: str, rows: OutcomeRows) -> Iterator[str]:
    """The lines of one log's table."""
    folds = visit_folds(rows, SEED, FOLDS)
    tested = [parts.test & ~rows.silent for parts in folds]
    y = np.concatenate([rows.label(HEAD.name)[test] for test in tested])
    visit = np.concatenate([rows.visit[test] for test in tested])
    found: dict[str, list[Floats]] = {}
    rng = np.random.default_rng(1)
    for parts, test in zip(folds, tested, strict=True):
        for name, z in variants(rows, parts, test, rng):
            found.setdefault(name, []).append(z)
    yield f"\n{log}: {y.size:,} moments, always no is right in {1 - y.mean():.2%}\n"
    yield "| variant | points of accuracy more than the head's trees | AUC | AP |\n|---|---|---|---|"
    right = (np.concatenate(found["the head's trees"]) >= 0) == y
    for name, parts_of in found.items():
        z = np.concatenate(parts_of)
        more, (low, high) = measure.mean_interval(1.0 * ((z >= 0) == y) - right, visit, SEED)
        told = f"{100 * more:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
        yield f"| {name} | {told} | {auc(y, z):.3f} | {measure.average_precision(y, z):.3f} |"


def variants(
    rows: OutcomeRows, parts: Parts, test: NDArray[np.bool_], rng: np.random.Generator
) -> Iterator[tuple[str, Floats]]:
    """Name and log-odds (n,) of each variant on the rows ``test``."""
    y, train, calibrate = rows.label(HEAD.name), parts.train, parts.calibrate
    X, every, last = HEAD.read(rows.wide), rows.wide, windows(rows, 8)
    head = _fit(X[train], y[train])
    z = log_odds(head, X[test])
    yield "the head's trees", z
    platt = fit_platt(log_odds(head, X[calibrate]), y[calibrate])
    yield "with the Platt pair, as served", platt.slope * z + platt.intercept
    yield "a limit that is right most often", z - _limit(log_odds(head, X[calibrate]), y[calibrate])
    yield f"all {every.shape[1]} columns", log_odds(_fit(every[train], y[train]), every[test])
    bag = np.zeros(z.size)
    for seed in range(BAGS):
        kept = (rng.random(rows.started.size) < BAG_SHARE)[rows.visit] & train
        bag += log_odds(_fit(X[kept], y[kept], ROUNDS // BAGS, BAGS * RATE, seed), X[test]) / BAGS
    yield f"the mean of {BAGS} x {ROUNDS // BAGS} rounds, each on {BAG_SHARE:.0%} of the visits", bag
    yield "twice the rounds at half the rate", log_odds(_fit(X[train], y[train], 2 * ROUNDS, RATE / 2), X[test])
    yield "half the rounds", log_odds(_fit(X[train], y[train], ROUNDS // 2), X[test])
    yield "the last 8 actions", log_odds(_fit(last[train], y[train]), last[test])


def _fit(X: Floats, y: NDArray[np.bool_], rounds: int = ROUNDS, rate: float = RATE, seed: int = SEED) -> Any:
    with threadpool_limits(limits=1):
        return HistGradientBoostingClassifier(
            max_iter=rounds,
            max_leaf_nodes=LEAVES,
            learning_rate=rate,
            min_samples_leaf=ROWS_PER_LEAF,
            early_stopping=False,
            random_state=seed,
        ).fit(X, y)


def _limit(z: Floats, y: NDArray[np.bool_]) -> float:
    """The log-odds above which saying yes is right most often."""
    order = np.argsort(-z)
    gained = np.cumsum(np.where(y[order], 1, -1))
    return float(z[order][gained.argmax()]) if gained.max() > 0 else float("inf")


if __name__ == "__main__":
    main()
