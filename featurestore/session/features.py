"""The nine features: names, order, version and definitions.

The feature matrix is float64 of shape (n, 9), one row an observation, NaN where a value is missing. Only
``bounce_rate`` can be missing; ``time_between_clicks`` and ``idle_time`` are 0 before the first gap.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import inlined
from featurestore.session.layout import N_GAPS

FEATURES: Final = (
    "session_duration",  # t_max - t_min, seconds
    "num_clicks",  # interaction events
    "pages_viewed",  # distinct pages, exact up to 64
    "cart_additions",  # items added to the cart
    "time_between_clicks",  # mean gap between consecutive interactions, seconds; a gap counts at most 600 s
    "bounce_rate",  # share of single-page sessions among the visitor's last 10
    "engagement_score",  # num_clicks / max(session_duration, 1)
    "cart_ratio",  # cart_additions / max(pages_viewed, 1)
    "idle_time",  # mean of the last 5 gaps, seconds; in silence the open gap counts as the latest
)
FEATURE_VERSION: Final = 1

N_FEATURES: Final = len(FEATURES)


@inlined
def feature_row(s: np.void, open_gap: int, features: NDArray[np.float64], m: int) -> None:
    """One row of `features.FEATURES`; ``open_gap`` in ms counts as the latest gap, -1 for none."""
    duration = (s["t_max"] - s["t_min"]) / 1000.0
    clicks = s["num_clicks"]
    row = features[m]
    row[0] = duration
    row[1] = clicks
    row[2] = s["pages"]
    row[3] = s["cart_additions"]
    row[4] = s["gap_sum"] / 1000.0 / s["gap_n"] if s["gap_n"] > 0 else 0.0
    row[5] = s["bounce"]
    row[6] = clicks / max(duration, 1.0)
    row[7] = s["cart_additions"] / max(s["pages"], 1)
    if open_gap >= 0:
        k = min(s["gap_n"] + 1, N_GAPS)
        row[8] = (_recent_gaps(s, k - 1) + open_gap) / 1000.0 / k
    else:
        k = min(s["gap_n"], N_GAPS)
        row[8] = _recent_gaps(s, k) / 1000.0 / k if k > 0 else 0.0


@inlined
def idle_deadline(s: np.void, idle_after_ms: int, idle_mean_ms: int) -> int:
    """When the mean of the last five gaps, the open one too, reaches ``idle_mean_ms``; not before ``idle_after_ms``."""
    k = min(s["gap_n"] + 1, N_GAPS)
    return int(s["int_arrival"] + max(idle_after_ms, k * idle_mean_ms - _recent_gaps(s, k - 1)))


@inlined
def _recent_gaps(s: np.void, n: int) -> int:
    """Sum of the last ``n`` gaps, ms."""
    total = 0
    for j in range(n):
        total += s["gaps"][(s["gap_n"] - 1 - j) % N_GAPS]
    return total
