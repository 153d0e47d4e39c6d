"""What became of the visits of a log, for thresholds that are chosen by outcome: who bought, who came back."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.session.features import FEATURES
from featurestore.session.stages import DROP_OFF_RISK, INTENT_BUYER
from models.heads.outcomes import INTERACTIONS, Outcome
from models.rules import StageRules
from models.training.dataset import Observed
from models.training.outcomes import OutcomeRows, outcome_rows

FEWEST_BUYERS: Final = 30
"""Visits with a purchase below which a log says nothing about buyers."""

_MOST_ITEMS: Final = 10
_ADDED: Final = FEATURES.index("cart_additions")
_ASKED: Final = (
    Outcome(name="bought", events=("purchase",)),
    Outcome(name="came_back", events=INTERACTIONS),
)


class VisitOutcomes(NamedTuple):
    """Visits that ended within the log, under some rules.

    Attributes:
        visits: how many.
        cut_off: visits that the end of the log cut off; they are in no other figure.
        buyers: visits with a purchase after their first row.
        returned: share of the Drop-Off Risk rows after which the shopper acted again, unaided; NaN for no such row.
        reached: share of the buyers who were Intent Buyers before they bought; NaN for no buyer.
        precise: share of the visits with an Intent Buyer row (before any purchase) that then bought; NaN for none.
    """

    visits: int
    cut_off: int
    buyers: int
    returned: float
    reached: float
    precise: float


def visit_outcomes(seen: Observed, rules: StageRules) -> VisitOutcomes:
    """The outcomes of a log that was observed under ``rules``."""
    rows = outcome_rows(seen, rules, _ASKED)
    bought, candidate = _before_purchase(rows)
    dropped = rows.stages == DROP_OFF_RISK
    intent = np.zeros(rows.started.size, np.bool_)
    intent[rows.visit[candidate & (rows.stages == INTENT_BUYER)]] = True
    return VisitOutcomes(
        visits=int(np.unique(rows.visit).size),
        cut_off=rows.censored,
        buyers=int(bought.sum()),
        returned=_mean(rows.label("came_back")[dropped]),
        reached=_mean(intent[bought]),
        precise=_mean(bought[intent]),
    )


def items_of_buyers(seen: Observed, rules: StageRules) -> tuple[int, str] | None:
    """From how many items on a visit is a buyer's, and why; None if too few bought.

    The number with the best F1 of two shares: of the buyers, those who had added so many before they bought; of the
    visits that added so many, those that bought.
    """
    rows = outcome_rows(seen, rules, _ASKED)
    bought, candidate = _before_purchase(rows)
    if bought.sum() < FEWEST_BUYERS:
        return None
    added = np.zeros(bought.size)
    np.maximum.at(added, rows.visit[candidate], rows.features[candidate, _ADDED])
    best = (0.0, 0, 0.0, 0.0)
    for items in range(1, _MOST_ITEMS + 1):
        reached, precise = _mean(added[bought] >= items), _mean(bought[added >= items])
        score = 2 * reached * precise / (reached + precise) if reached and precise > 0 else 0.0
        best = max(best, (score, -items, reached, precise))
    if best[0] == 0.0:
        return None
    return -best[1], f"{best[2]:.0%} of the buyers reach it before they buy, {best[3]:.0%} of those who reach it buy"


def _before_purchase(rows: OutcomeRows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which visits bought after their first row, and the rows that were before that, or in a visit that did not buy."""
    later = rows.label("bought")
    bought = np.zeros(rows.started.size, np.bool_)
    bought[rows.visit[later]] = True
    return bought, later | ~bought[rows.visit]


def _mean(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if values.size else float("nan")
