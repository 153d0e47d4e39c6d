"""P's five worked cases. What P leaves open is filled so that the row stays a possible session; `FILLED` says how."""

from typing import Any, Final

import numpy as np

from featurestore.session.stages import STAGES
from models.study.profiles import as_served
from models.study.protocol import Floats
from models.study.published import CASES

MIN_CONFIDENCE: Final = 0.7
NEUTRAL: Final = "neutral: no action of a stage"

ACTIONS: Final = {
    "Explorer": "trending banner",
    "Evaluator": "comparison panel",
    "Intent Buyer": "10 % discount for 15 minutes",
    "Drop-Off Risk": "exit-intent reminder with free shipping",
}
FILLED: Final = {
    "A": "idle time = the mean gap (four gaps, so the last five are all of them).",
    "B": "idle time = the mean gap; bounce rate missing.",
    "C": "24 clicks (.092 x 258 s) on 10 pages; idle time = the mean gap; bounce rate missing.",
    "D": "12 clicks in the first 180 s, then 2 in 240 s: 13 gaps over 420 s, mean 32.3 s; the last five are two of "
    "120 s and three of 16.4 s, mean 57.8 s; bounce rate missing.",
    "E": "mean gap and idle time 13.1 s (21 gaps, 5 % of the time passive); bounce rate missing.",
}
_ROWS: Final = {
    "A": (90.0, 5, 3, 0, 11.4, 0.61, 11.4),
    "B": (384.0, 31, 18, 0, 12.1, np.nan, 12.1),
    "C": (258.0, 24, 10, 3, 7.6, np.nan, 7.6),
    "D": (420.0, 14, 9, 1, 32.3, np.nan, 57.8),
    "E": (290.0, 22, 14, 0, 13.1, np.nan, 13.1),
}


def case_rows() -> Floats:
    """The five cases as rows (5, N_FEATURES) of the served features."""
    return as_served(studied_rows())


def studied_rows() -> Floats:
    """The five cases as rows (5, 9) of P's features."""
    rows = [
        (duration, clicks, pages, cart, gap, bounce, clicks / duration, cart / pages, idle)
        for duration, clicks, pages, cart, gap, bounce, idle in _ROWS.values()
    ]
    return np.array(rows)


def judge_cases(proba: Floats) -> dict[str, dict[str, Any]]:
    """Stage, confidence and action of each case under probabilities (5, 4), with what P gives."""
    result = {}
    for case, row in zip(CASES, proba, strict=True):
        stage = STAGES[int(row.argmax())]
        sure = float(row.max()) >= MIN_CONFIDENCE
        result[case] = {
            "stage": stage,
            "confidence": float(row.max()),
            "probabilities": {name: round(float(p), 4) for name, p in zip(STAGES, row, strict=True)},
            "action": ACTIONS[stage] if sure else NEUTRAL,
            "published_stage": CASES[case][0],
            "published_confidence": CASES[case][1],
            "published_action": CASES[case][2],
        }
    return result
