"""How good a probability of an outcome is: ranking, calibration, lift, and how sure these figures are.

Rows of one visit are not independent, so intervals come from drawing visits, not rows, with replacement.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.heads.ranking import auc

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

BANDS: Final = ((1, 1), (2, 3), (4, 6), (7, 11), (12, 10**9))
"""Positions in a visit, counted in clicks."""
BINS: Final = 10
FEWEST_WITH_OUTCOME: Final = 30
"""Visits with the outcome that a lift at one click needs: with fewer, two or three visits make it."""


def average_precision(y: Flags, p: Floats, weight: Floats | None = None) -> float:
    """Precision at each score, averaged over the rows with the outcome; NaN without one."""
    w = np.ones(y.size) if weight is None else weight
    values, group = np.unique(-p, return_inverse=True)
    ones, rows = np.bincount(group, w * y, values.size), np.bincount(group, w, values.size)
    if ones.sum() == 0:
        return float("nan")
    seen = np.cumsum(rows)
    precision = np.divide(np.cumsum(ones), seen, out=np.zeros(seen.size), where=seen > 0)
    return float((precision * ones).sum() / ones.sum())


def lift(y: Flags, p: Floats, share: float) -> float:
    """Rate of the outcome among the ``share`` with the highest scores, over the rate of all; ties go in row order."""
    top = np.argsort(-p, kind="stable")[: max(1, round(share * y.size))]
    return float(y[top].mean() / y.mean()) if y.any() else float("nan")


def brier_skill(y: Flags, p: Floats) -> float:
    """How much of the squared error of always saying the base rate is gone; 1 is perfect, 0 is the base rate."""
    base = float(y.mean())
    return float(1 - np.mean((p - y) ** 2) / (base * (1 - base))) if 0 < base < 1 else float("nan")


def reliability(y: Flags, p: Floats) -> list[dict[str, float]]:
    """Mean probability and rate of the outcome in `BINS` groups of as many rows each, by probability."""
    parts = np.array_split(np.argsort(p, kind="stable"), BINS)
    return [
        {"rows": int(part.size), "expected": float(p[part].mean()), "observed": float(y[part].mean())}
        for part in parts
        if part.size
    ]


def ece(y: Flags, p: Floats) -> float:
    """Expected calibration error: mean distance of the two columns of `reliability`, weighted by rows."""
    return sum(abs(b["expected"] - b["observed"]) * b["rows"] for b in reliability(y, p)) / max(y.size, 1)


def figures(y: Flags, p: Floats) -> dict[str, Any]:
    """Everything about one probability ``p`` (n,) of the outcome ``y`` (n,)."""
    base = float(y.mean()) if y.size else float("nan")
    return {
        "rows": int(y.size),
        "base_rate": base,
        "always_no": 1 - base,
        "accuracy": float(np.mean((p >= 0.5) == y)),
        "auc": auc(y, p),
        "ap": average_precision(y, p),
        "brier_skill": brier_skill(y, p),
        "ece": ece(y, p),
        "lift_10": lift(y, p, 0.1),
        "lift_20": lift(y, p, 0.2),
        "expected_over_observed": float(p.sum() / y.sum()) if y.any() else float("nan"),
    }


def by_position(y: Flags, p: Floats, position: NDArray[np.int64]) -> list[dict[str, Any]]:
    """AUC, base rate and lift at 10 % in `BANDS` of the position; rows at position 0 are in none."""
    rows = []
    for first, last in BANDS:
        chosen = (position >= first) & (position <= last)
        if y[chosen].any() and not y[chosen].all():
            rows.append(
                {
                    "first": first,
                    "last": last if last < 10**9 else None,
                    "rows": int(chosen.sum()),
                    "base_rate": float(y[chosen].mean()),
                    "auc": auc(y[chosen], p[chosen]),
                    "ap": average_precision(y[chosen], p[chosen]),
                    "lift_10": lift(y[chosen], p[chosen], 0.1),
                }
            )
    return rows


def lift_by_click(
    y: Flags, p: Floats, position: NDArray[np.int64], seed: int = 0, draws: int = 200, last: int = 20
) -> list[dict[str, float]]:
    """Lift at 10 % among the visits at their k-th click, for k from 1 to ``last``; shorter visits are left out.

    ``low`` and ``high`` are its 95 % interval by drawing visits: each has one row at its k-th click. This is what a
    shop can still do something about: a high lift at the end of a visit comes too late.
    """
    rng = np.random.default_rng([seed, 36])
    found = []
    for k in range(1, last + 1):
        chosen = position == k
        n = int(chosen.sum())
        if y[chosen].sum() < FEWEST_WITH_OUTCOME:
            continue
        truth = y[chosen][np.argsort(-p[chosen], kind="stable")]
        drawn = [_weighted_lift(truth, np.bincount(rng.integers(0, n, n), minlength=n), 0.1) for _ in range(draws)]
        low, high = np.nanquantile(drawn, [0.025, 0.975]).tolist()
        found.append({"click": k, "rows": n, "lift": lift(y[chosen], p[chosen], 0.1), "low": low, "high": high})
    return found


def intervals(
    y: Flags, p: Floats, visit: NDArray[np.int64], seed: int, draws: int = 200
) -> dict[str, tuple[float, float]]:
    """95 % intervals of AUC, AP and lift at 10 % by drawing whole visits with replacement."""
    rng = np.random.default_rng([seed, 33])
    _, index = np.unique(visit, return_inverse=True)
    visits = int(index.max()) + 1 if index.size else 0
    order = np.argsort(-p, kind="stable")
    found: dict[str, list[float]] = {"auc": [], "ap": [], "lift_10": []}
    for _ in range(draws):
        weight = np.bincount(rng.integers(0, visits, visits), minlength=visits)[index].astype(np.float64)
        found["auc"].append(auc(y, p, weight))
        found["ap"].append(average_precision(y, p, weight))
        found["lift_10"].append(_weighted_lift(y[order], weight[order], 0.1))
    return {name: (float(np.quantile(v, 0.025)), float(np.quantile(v, 0.975))) for name, v in found.items()}


def mean_interval(
    values: Floats, visit: NDArray[np.int64], seed: int, draws: int = 2_000
) -> tuple[float, tuple[float, float]]:
    """The mean of a figure of each row, and its 95 % interval by drawing whole visits with replacement."""
    rng = np.random.default_rng([seed, 36])
    _, index = np.unique(visit, return_inverse=True)
    sums, sizes = np.bincount(index, values), np.bincount(index)
    drawn = np.empty(draws)
    for i in range(draws):
        some = rng.integers(0, sizes.size, sizes.size)
        drawn[i] = sums[some].sum() / sizes[some].sum()
    return float(values.mean()), (float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975)))


def greatest_ap(base: float, lifts: Mapping[float, float]) -> float:
    """The greatest average precision that ``lifts`` allow: lift by share of the rows, the smallest share first.

    It is reached if in each share all rows with the outcome stand before all others.

    >>> round(greatest_ap(0.0739, {0.1: 3.27, 0.2: 2.68}), 2)
    0.51
    """
    begin, before, total = 0.0, 0.0, 0.0
    for share, lifted in (*lifts.items(), (1.0, 1.0)):
        hits = lifted * share * base - before
        x = np.linspace(0.0, hits, 1_001)[1:]
        total += hits * float(np.mean((before + x) / (begin + x)))
        begin, before = share, before + hits
    return total / base


def _weighted_lift(y: Flags, weight: Floats | NDArray[np.int64], share: float) -> float:
    """`lift` of rows in the order of falling scores, each as often as its weight says."""
    rows, hits = np.cumsum(weight), np.cumsum(weight * y)
    at = int(np.searchsorted(rows, share * rows[-1]))
    return float(hits[at] / rows[at] / (hits[-1] / rows[-1])) if hits[-1] > 0 and rows[at] > 0 else float("nan")
