"""The forest's mistakes in P's four groups, each defined by a rule; first match wins.

1. flipped label: noise changed this session's label; a right answer counts as a mistake
2. near a rule boundary: moving one of duration, clicks, pages, engagement or idle time by at most a tenth (counts: by
   at least one) changes the stage that the rules give
3. ambiguous: the two most probable stages lie within 0.2 of each other
4. true model error: everything else
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.rules import StageRules
from models.study.profiles import as_served
from models.study.protocol import Floats, Study
from models.study.published import FEATURES

GROUPS: Final = ("flipped label", "near a rule boundary", "ambiguous", "true model error")
STEP: Final = 0.1
CLOSE: Final = 0.2
_MOVED: Final = {
    "session_duration": 0.0,  # least move, in the feature's unit
    "num_clicks": 1.0,
    "pages_viewed": 1.0,
    "engagement_score": 0.0,
    "idle_time": 0.0,
}

Flags = NDArray[np.bool_]


def near_boundary(X: Floats, rules: StageRules) -> Flags:
    """Rows (n,) of X (n, 9) whose rule label changes under group 2's move of a single feature."""
    stages = rules.label(as_served(X))
    near = np.zeros(len(X), np.bool_)
    for name, least in _MOVED.items():
        column = FEATURES.index(name)
        for sign in (-1.0, 1.0):
            moved = X.copy()
            moved[:, column] += sign * np.maximum(STEP * moved[:, column], least)
            near |= rules.label(as_served(moved)) != stages
    return near


def ambiguous(proba: Floats) -> Flags:
    """Rows (n,) of probabilities (n, 4) whose two best stages lie within 0.2."""
    best = np.sort(proba, axis=1)
    return best[:, -1] - best[:, -2] < CLOSE


def group_mistakes(study: Study, rows: NDArray[np.int64], proba: Floats) -> dict[str, Any]:
    """Counts and shares of the groups among the mistakes on ``rows`` (n,), predicted with ``proba`` (n, 4)."""
    wrong = proba.argmax(axis=1) != study.labels[rows]
    flipped = (study.labels != study.clean)[rows]
    near = near_boundary(study.X[rows], study.rules)
    group = np.select([flipped, near, ambiguous(proba)], [0, 1, 2], default=3)[wrong]
    counts = np.bincount(group, minlength=len(GROUPS))
    total = int(counts.sum())
    return {
        "rows": len(rows),
        "mistakes": total,
        "groups": {
            name: {"count": int(counts[n]), "share": float(counts[n] / total) if total else 0.0}
            for n, name in enumerate(GROUPS)
        },
        "near_among_all_rows": float(near.mean()),
        "flipped_also_near": int((wrong & flipped & near).sum()),
        "right_despite_flip": int((wrong & flipped & (proba.argmax(axis=1) == study.clean[rows])).sum()),
    }
