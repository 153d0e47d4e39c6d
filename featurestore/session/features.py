"""Names, order and version of the nine features; the definitions stand in `fold._features`.

The feature matrix is float64 of shape (n, 9), one row an observation, NaN where a value is missing. Only
``bounce_rate`` can be missing; ``time_between_clicks`` and ``idle_time`` are 0 before the first gap.
"""

from typing import Final

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
