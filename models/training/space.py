"""Rows from the whole space that the stage rules speak of, to train and to test on.

Simulated shoppers visit a small part of it: nobody there sends sixty pings from one page. A model that never saw such
rows answers them with confidence, and wrongly. These rows are sessions that could be: the counts, the times and the
ratios that follow from them agree with each other, as the fold makes them.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.session.features import FEATURES, N_FEATURES
from models.rules import StageRules

SPACE: Final = 0.5
"""Such rows beside the shoppers', as a share of them."""
MOST_PAGES: Final = 64
MOST_CLICKS: Final = 250
_LONGEST_S: Final = 4 * 3600.0
_AT: Final = {name: i for i, name in enumerate(FEATURES)}


def space_rows(rules: StageRules, n: int, seed: int) -> NDArray[np.float64]:
    """``n`` rows (n, 9): a third of each count and time lies near its threshold, the rest anywhere.

    Where a session is silent, ``idle_time`` is what silence makes it; elsewhere it is near the mean gap. A third of the
    rows have no ``bounce_rate``.
    """
    rng = np.random.default_rng([seed, 17])
    clicks = _counts(rng, n, rules.evaluator_clicks, MOST_CLICKS)
    pages = np.minimum(_counts(rng, n, rules.evaluator_pages, MOST_PAGES), np.maximum(clicks, 1))
    duration = np.where(
        rng.random(n) < 0.5,
        _times(rng, n, rules.evaluator_duration_s, _LONGEST_S),
        _times(rng, n, rules.short_session_s, _LONGEST_S),
    )
    alone = clicks <= 1
    duration[alone & (rng.random(n) < 0.8)] = 0.0
    added = np.where(rng.random(n) < 0.6, 0, _counts(rng, n, rules.buyer_cart_additions, 30))
    gaps = np.maximum(clicks - 1, 1)
    mean_gap = np.where(alone, 0.0, np.minimum(duration / gaps, rules.gap_cap_s))
    silent = rng.random(n) < 0.3
    idle = np.where(silent, _times(rng, n, rules.idle_s, rules.gap_cap_s), mean_gap * np.exp(rng.normal(0, 0.5, n)))
    idle = np.where(alone & ~silent, 0.0, np.minimum(idle, rules.gap_cap_s))
    X = np.empty((n, N_FEATURES))
    X[:, _AT["session_duration"]] = duration
    X[:, _AT["num_clicks"]] = clicks
    X[:, _AT["pages_viewed"]] = pages
    X[:, _AT["cart_additions"]] = added
    X[:, _AT["time_between_clicks"]] = mean_gap
    X[:, _AT["bounce_rate"]] = np.where(rng.random(n) < 1 / 3, np.nan, rng.integers(0, 11, n) / 10)
    X[:, _AT["engagement_score"]] = clicks / np.maximum(duration, 1.0)
    X[:, _AT["cart_ratio"]] = added / np.maximum(pages, 1)
    X[:, _AT["idle_time"]] = idle
    return X


def near_threshold(X: NDArray[np.float64], rules: StageRules, margin: float) -> NDArray[np.bool_]:
    """Rows within ``margin`` (relative; counts at least 1) of a threshold of the rules; shape (n,)."""
    near = np.zeros(len(X), np.bool_)
    for name, threshold in (
        ("idle_time", rules.idle_s),
        ("engagement_score", rules.engagement_below_per_s),
        ("session_duration", rules.short_session_s),
        ("session_duration", rules.evaluator_duration_s),
    ):
        near |= np.abs(X[:, _AT[name]] - threshold) <= margin * threshold
    for name, count in (
        ("pages_viewed", rules.evaluator_pages),
        ("num_clicks", rules.evaluator_clicks),
        ("cart_additions", rules.buyer_cart_additions),
    ):
        near |= np.abs(X[:, _AT[name]] + 0.5 - count) <= max(1.0, margin * count)
    return near


def _counts(rng: np.random.Generator, n: int, threshold: int, most: int) -> NDArray[np.float64]:
    """Whole numbers: a third within a few of the threshold, a third from one on by size, a third anywhere."""
    close = threshold + rng.integers(-3, 4, n)
    by_size = np.exp(rng.random(n) * np.log(most + 1)).astype(np.int64)
    kind = rng.integers(0, 3, n)
    chosen = np.select([kind == 0, kind == 1], [close, by_size], rng.integers(0, most + 1, n))
    counts: NDArray[np.float64] = np.clip(chosen, 0, most).astype(np.float64)
    return counts


def _times(rng: np.random.Generator, n: int, threshold: float, longest: float) -> NDArray[np.float64]:
    """Seconds: half around the threshold (a factor of about two), half from one second on by size."""
    around = threshold * np.exp(rng.normal(0.0, 0.5, n))
    by_size = np.exp(rng.random(n) * np.log(longest))
    times: NDArray[np.float64] = np.minimum(np.where(rng.random(n) < 0.5, around, by_size), longest)
    return times
