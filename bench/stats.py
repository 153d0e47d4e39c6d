"""Medians, spreads, and ratios with confidence intervals."""

import statistics
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

RESAMPLES: Final = 10_000


class Summary(NamedTuple):
    """What is kept of the runs of one figure."""

    median: float
    low: float
    high: float
    runs: list[float]

    def document(self) -> dict[str, object]:
        """As it stands in the JSON."""
        return {
            "median": rounded(self.median),
            "low": rounded(self.low),
            "high": rounded(self.high),
            "runs": [rounded(value) for value in self.runs],
        }


class Ratio(NamedTuple):
    """How a figure changed: head divided by base, with the bounds of its 95 % interval."""

    ratio: float
    low: float
    high: float


def summarise(values: Sequence[float]) -> Summary:
    """Median, lowest, highest.

    >>> summarise([3.0, 1.0, 2.0])[:3]
    (2.0, 1.0, 3.0)
    """
    return Summary(statistics.median(values), min(values), max(values), list(values))


def ratio(base: Sequence[float], head: Sequence[float], seed: int = 1) -> Ratio:
    """Ratio of the medians, with a percentile bootstrap interval over the runs of both sides (fixed seed).

    >>> ratio([100.0, 101.0, 99.0], [200.0, 202.0, 198.0]).ratio
    2.0
    """
    rng = np.random.default_rng(seed)
    a, b = np.asarray(base, float), np.asarray(head, float)
    below = np.median(a[rng.integers(0, a.size, (RESAMPLES, a.size))], axis=1)
    above = np.median(b[rng.integers(0, b.size, (RESAMPLES, b.size))], axis=1)
    low, high = np.percentile(above / below, (2.5, 97.5)).tolist()
    return Ratio(float(np.median(b) / np.median(a)), low, high)


def rounded(value: float) -> float:
    """Four significant digits: what a benchmark on a shared machine can carry."""
    return float(f"{value:.4g}")
