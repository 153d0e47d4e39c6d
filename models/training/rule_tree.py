"""The stage rules as one tree: for a shop that wants exactly its rules, with reasons, drift and policy as ever.

Every threshold is asked as ``x <= the largest float32 below it``, so the tree says what `StageRules.label` says of
every float32. The probability of the rule's stage is 1. Values of inner nodes are the shares of the stages among
training rows, as in a grown tree: reasons come from them.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.session.features import FEATURES
from featurestore.session.stages import DROP_OFF_RISK, EVALUATOR, EXPLORER, INTENT_BUYER, STAGES
from models.rules import StageRules
from models.trees.ensemble import Ensemble
from models.trees.kernels import IDENTITY
from models.trees.layouts import Trees

RULES: Final = "rules"
"""What ``clickstage train --model`` takes for it."""
_UNIT: Final = 2.0**40


class _Ask(NamedTuple):
    """One question: rows with at most the threshold go to ``low``. A number is a leaf: the stage."""

    feature: str
    below: float
    low: "_Ask | int"
    high: "_Ask | int"


def rule_tree(rules: StageRules, X: NDArray[np.float64]) -> Ensemble:
    """The tree of the rules; ``X`` (n, 9), imputed, are the training rows that inner nodes take their shares from."""
    nodes: list[_Ask | int] = [_questions(rules)]
    rows = [X.astype(np.float32)]
    feature: list[int] = []
    threshold: list[np.float32] = []
    left: list[int] = []
    value: list[NDArray[np.float64]] = []
    for node in nodes:  # grows: children are appended, breadth first
        mine = rows[len(feature)]
        if isinstance(node, int):
            feature.append(-1)
            threshold.append(np.float32(0))
            left.append(0)
            value.append(np.eye(len(STAGES))[node])
            continue
        at = FEATURES.index(node.feature)
        limit = np.nextafter(np.float32(node.below), np.float32(-np.inf))
        feature.append(at)
        threshold.append(limit)
        left.append(len(nodes))
        nodes += [node.low, node.high]
        rows += [mine[mine[:, at] <= limit], mine[mine[:, at] > limit]]
        shares = np.bincount(rules.label(mine.astype(np.float64)), minlength=len(STAGES))
        value.append(shares / len(mine) if len(mine) else np.full(len(STAGES), 1 / len(STAGES)))
    trees = Trees(
        np.array([0, len(feature)], np.int64),
        np.array(feature, np.int32),
        np.array(threshold, np.float32),
        np.array(left, np.int32),
        np.rint(np.array(value) * _UNIT).astype(np.int64),
    )
    return Ensemble(trees, len(FEATURES), _UNIT, np.zeros(len(STAGES)), IDENTITY)


def _questions(rules: StageRules) -> _Ask:
    """The rules in the order in which they match."""
    long_visit = _Ask("session_duration", rules.evaluator_duration_s, EXPLORER, EVALUATOR)
    many_clicks = _Ask("num_clicks", rules.evaluator_clicks, EXPLORER, long_visit)
    evaluates = _Ask("pages_viewed", rules.evaluator_pages, EXPLORER, many_clicks)
    buys = _Ask("cart_additions", rules.buyer_cart_additions, evaluates, INTENT_BUYER)
    short = _Ask("session_duration", rules.short_session_s, DROP_OFF_RISK, buys)
    slow = _Ask("engagement_score", rules.engagement_below_per_s, short, buys)
    return _Ask("idle_time", rules.idle_s, buys, slow)
