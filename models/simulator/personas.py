"""Who comes to the simulated shop: how long, how fast and for what.

Session lengths (interactions) follow a log-normal law cut to 1..195 whose mean (6.9), median (4) and largest value
match the eshop data. A persona is drawn given a length, so the default mix reproduces that law exactly; another mix
re-weights the personas and with them the lengths.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.contract.event import EVENT_TYPES, TYPE_CODE

MAX_LENGTH: Final = 195
_MU, _SIGMA = 1.352, 1.076


@dataclass(frozen=True, slots=True)
class Persona:
    """A way to shop.

    Attributes:
        gap_s: typical gap between interactions, seconds (median of the shopper's medians).
        slow_share: share of the session's gaps, at its end, that are slow.
        slow_gap_s: typical slow gap, seconds.
        adds: chance to put at least one article into the cart, if the session is long enough for it.
        buys: chance to begin the checkout, if the session is long enough for it.
        fails: share of the begun checkouts that stop before the order.
        focus: chance that an article is of the shopper's favourite category.
        returns: chance that an article is the one that the shopper looks at all the time.
        popular: 1 looks at all articles of a category alike, more prefers its first, the best-sellers.
        types: weights of the event types between landing and checkout.
    """

    name: str
    gap_s: float
    slow_share: float
    slow_gap_s: float
    adds: float
    buys: float
    fails: float
    focus: float
    returns: float
    popular: float
    types: dict[str, float]


_BROWSING: Final = {
    "view_item": 30.0, "view_item_list": 18.0, "page_view": 8.0, "select_item": 10.0, "search": 7.0, "click": 6.0,
    "select_promotion": 3.0, "add_to_wishlist": 2.0, "share": 0.6, "login": 1.0, "view_reviews": 2.0,
    "view_policy": 0.6, "contact": 0.3, "ask_question": 0.3, "compare": 0.5, "add_to_cart": 0.1, "view_cart": 0.3,
}  # fmt: skip

PERSONAS: Final = (
    Persona(
        "bouncer",
        gap_s=9.0,
        slow_share=0.0,
        slow_gap_s=1.0,
        adds=0.0,
        buys=0.0,
        fails=0.0,
        focus=0.6,
        returns=0.0,
        popular=1.2,
        types={**_BROWSING, "add_to_cart": 0.0, "view_cart": 0.0},
    ),
    Persona(
        "browser",
        gap_s=11.0,
        slow_share=0.0,
        slow_gap_s=1.0,
        adds=0.0,
        buys=0.0,
        fails=0.0,
        focus=0.6,
        returns=0.02,
        popular=1.2,
        types=_BROWSING,
    ),
    Persona(
        "evaluator",
        gap_s=10.5,
        slow_share=0.0,
        slow_gap_s=1.0,
        adds=0.1,
        buys=0.08,
        fails=0.4,
        focus=0.85,
        returns=0.05,
        popular=1.0,
        types={
            **_BROWSING,
            "view_item": 40.0,
            "compare": 7.0,
            "view_reviews": 9.0,
            "ask_question": 1.5,
            "add_to_cart": 0.05,
        },
    ),
    Persona(
        "buyer",
        gap_s=7.5,
        slow_share=0.0,
        slow_gap_s=1.0,
        adds=1.0,
        buys=0.9,
        fails=0.3,
        focus=0.8,
        returns=0.2,
        popular=2.0,
        types={**_BROWSING, "add_to_cart": 22.0, "remove_from_cart": 2.0, "view_cart": 6.0, "view_reviews": 4.0},
    ),
    Persona(
        "abandoner",
        gap_s=11.0,
        slow_share=0.45,
        slow_gap_s=60.0,
        adds=0.085,
        buys=0.0,
        fails=0.0,
        focus=0.7,
        returns=0.1,
        popular=1.5,
        types={**_BROWSING, "add_to_cart": 0.6, "view_cart": 1.0, "view_policy": 3.0},
    ),
)
PERSONA_NAMES: Final = tuple(persona.name for persona in PERSONAS)
BOUNCER, BROWSER, EVALUATOR, BUYER, ABANDONER = range(5)


def length_law() -> NDArray[np.float64]:
    """P(length) for lengths 1..`MAX_LENGTH`; shape (195,)."""
    edges = np.log(np.arange(1, MAX_LENGTH + 1) + 0.5)
    cdf = np.array([0.5 * (1 + math.erf((e - _MU) / (_SIGMA * math.sqrt(2)))) for e in edges])
    law = np.diff(cdf, prepend=0.0) / cdf[-1]
    return np.asarray(law, np.float64)


def persona_given_length() -> NDArray[np.float64]:
    """P(persona | length) under the default mix; shape (195, 5)."""
    length = np.arange(1, MAX_LENGTH + 1, dtype=np.float64)
    long = 1 / (1 + np.exp(-(length - 16) / 3.0))
    weights = np.empty((MAX_LENGTH, len(PERSONAS)))
    weights[:, BOUNCER] = np.select([length == 1, length == 2, length == 3], [6.0, 1.0, 0.3], 0.0)
    weights[:, BROWSER] = 1.0 - 0.75 * long
    weights[:, EVALUATOR] = 0.02 + 1.3 * long
    weights[:, BUYER] = np.select([length >= 7, length >= 4], [0.39, 0.04], 0.01)
    weights[:, ABANDONER] = np.where(length >= 3, 0.4, 0.2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)


def joint_law(mix: dict[str, float]) -> NDArray[np.float64]:
    """P(length, persona) with each persona's share multiplied by ``mix`` (absent: 1) and renormalised; (195, 5)."""
    joint = length_law()[:, None] * persona_given_length()
    joint *= np.array([mix.get(name, 1.0) for name in PERSONA_NAMES])
    return np.asarray(joint / joint.sum(), np.float64)


def type_cdf() -> NDArray[np.float64]:
    """Cumulative weights of the event types per persona; shape (5, 25)."""
    weights = np.zeros((len(PERSONAS), len(EVENT_TYPES)))
    for row, persona in enumerate(PERSONAS):
        for name, weight in persona.types.items():
            weights[row, TYPE_CODE[name]] = weight
    return np.asarray(np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1), np.float64)
