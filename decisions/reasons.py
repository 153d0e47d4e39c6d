"""Reasons in words that marketing understands: the features that spoke most for the stage, with their values."""

import math
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from featurestore.contract.event import DEVICES, EVENT_TYPES, SOURCES
from featurestore.session.features import FEATURES
from featurestore.session.views import NEVER
from models.heads.scoring import OutputNames
from models.trees.explain import top_reasons

REASONS: Final = 3


class Contributor(Protocol):
    """What explains a score: contributions of each column to an output."""

    def contributions(self, X: NDArray[np.float64], outputs: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Shape of ``X``; positive speaks for the output of the row."""
        ...


class _Said(dict[int, str]):
    """Words for a whole number, put together when it first comes: the same ones come again and again."""

    def __init__(self, say: Callable[[int], str]) -> None:
        super().__init__()
        self._say = say

    def __missing__(self, number: int) -> str:
        words = self[number] = self._say(number)
        return words


def _count(one: str, many: str) -> Callable[[float], str]:
    said = _Said(lambda number: f"{number} {one if number == 1 else many}")
    return lambda value: said[round(value)]


def _seconds(text: str) -> Callable[[float], str]:
    seconds = _Said(lambda number: text.format(f"{number} s"))
    minutes = _Said(lambda number: text.format(f"{number} min"))
    return lambda value: seconds[round(value)] if value < 120 else minutes[round(value / 60)]


_added: Final = _count("item added to the cart", "items added to the cart")
_WORDS: Final[dict[str, Callable[[float], str]]] = {
    "session_duration": _seconds("{} in the shop so far"),
    "num_clicks": _count("click", "clicks"),
    "pages_viewed": _count("page viewed", "different pages viewed"),
    "cart_additions": lambda v: "nothing added to the cart" if v < 1 else _added(v),
    "time_between_clicks": _seconds("{} between clicks on average"),
    "bounce_rate": lambda v: (
        "no earlier visits known" if math.isnan(v) else f"{v:.0%} of earlier visits left after one page"
    ),
    "engagement_score": lambda v: f"{v * 60:.1f} clicks a minute",
    "cart_ratio": lambda v: f"{v:.2f} cart additions a page",
    "idle_time": _seconds("{} idle"),
}


def _times(one: str, many: str, none: str) -> Callable[[float], str]:
    said = _count(one, many)
    return lambda value: none if value < 1 else said(value)


def _known(say: Callable[[float], str], unknown: str) -> Callable[[float], str]:
    """-1 is what a view says of what it does not know."""
    return lambda value: unknown if value < 0 else say(value)


_TYPES: Final = tuple(name.replace("_", " ") for name in EVENT_TYPES)
_TIMES: Final = {
    "search": _times("search", "searches", "no search"),
    "view_item": _times("item looked at", "items looked at", "no item looked at"),
    "view_item_list": _times("list of items looked at", "lists of items looked at", "no list of items looked at"),
    "view_cart": _times("look at the cart", "looks at the cart", "no look at the cart"),
    "view_reviews": _times("look at reviews", "looks at reviews", "no look at reviews"),
    "compare": _times("comparison", "comparisons", "nothing compared"),
    "remove_from_cart": _times("removal from the cart", "removals from the cart", "nothing removed from the cart"),
    "add_to_wishlist": _times("item put on the wish list", "items put on the wish list", "nothing on the wish list"),
}


def _latest(which: str) -> Callable[[float], str]:
    return _known(lambda value: f"{which} was {_TYPES[round(value)]}", f"no {which} yet")


_silent: Final = _seconds("silent for {}")
_since: Final = _count("click since the latest addition", "clicks since the latest addition")
_VIEW_WORDS: Final[dict[str, Callable[[float], str]]] = {
    "clicks": _count("click", "clicks"),
    "duration_s": _seconds("{} in the shop so far"),
    "pages": _count("page viewed", "different pages viewed"),
    "gap_mean_s": _seconds("{} between clicks on average"),
    "idle_s": _seconds("{} idle"),
    "silent_s": lambda v: "a click just now" if v <= 0 else _silent(v),
    "gap_1_s": _known(_seconds("{} before the latest click"), "no click before this one"),
    "gap_2_s": _known(_seconds("{} before the click before"), "at most two clicks so far"),
    "gap_3_s": _known(_seconds("{} before the third latest click"), "at most three clicks so far"),
    "cart_items": _times("item in the cart", "items in the cart", "nothing in the cart"),
    "cart_value": lambda v: f"a cart worth {v:.2f}" if v > 0 else "a cart worth nothing",
    "checkout_step": lambda v: f"checkout at step {v:.0f}" if v > 0 else "no checkout begun",
    "purchases": _times("order so far", "orders so far", "no order so far"),
    "since_add": lambda v: "nothing added lately" if v >= NEVER else _since(v),
    "type_1": _latest("the latest click"),
    "type_2": _latest("the click before"),
    "type_3": _latest("the third latest click"),
    "type_4": _latest("the fourth latest click"),
    "price_n": _times("price seen", "prices seen", "no price seen"),
    "price_mean": _known(lambda v: f"prices of {v:.2f} on average", "no price seen"),
    "price_sd": _known(lambda v: f"prices that differ by {v:.2f}", "no price seen"),
    "visitor_sessions": _times("earlier visit", "earlier visits", "no earlier visit known"),
    "source": _known(lambda v: f"came by {SOURCES[round(v)]}", "source unknown"),
    "device": _known(lambda v: f"on {DEVICES[round(v)]}", "device unknown"),
    **{f"n_{name}": say for name, say in _TIMES.items()},
}
"""For the columns of the wide view that outcome heads read."""


def _say(column: str) -> Callable[[float], str]:
    """The words for a value of a column."""
    plain = column.replace("_", " ")
    return _WORDS.get(column) or _VIEW_WORDS.get(column) or (lambda value: f"{plain} {value:g}")


def outcome_words(names: Sequence[str], value: float, condition: str) -> str:
    """Why an outcome chose an action.

    Args:
        names: of the output.
        value: of it.
        condition: that it met, as the policy says it.

    >>> outcome_words(OutputNames(["order_rest"], meaning="orders later in this visit"), 0.44, "order_rest >= 0.2")
    '44% likely: orders later in this visit (the policy asks for order_rest >= 0.2)'
    """
    meaning = names.meaning if isinstance(names, OutputNames) else ""
    said = f"{value:.0%} likely: {meaning}" if meaning else f"{names[0]} {value:.3g}"
    return f"{said} (the policy asks for {condition})"


class Explainer:
    """The strongest reasons for an output of a head.

    Args:
        contributor: the head; a bundle stands for its stage.
        columns: what it reads.
    """

    def __init__(self, contributor: Contributor, columns: Sequence[str] = FEATURES) -> None:
        self._contributor = contributor
        self._say = [_say(column) for column in columns]

    def words(
        self, X: NDArray[np.float64], outputs: NDArray[np.uint8], only_first: NDArray[np.bool_] | None = None
    ) -> list[list[str]]:
        """For each row, at most three reasons, the strongest first; columns that spoke against are left out.

        Args:
            X: rows (n, columns), NaN where missing.
            outputs: which output of the head is explained in each row, shape (n,): the stage, or 0.
            only_first: rows (n,) of which the strongest reason will do; None for none.
        """
        top = top_reasons(self._contributor.contributions(X, outputs), REASONS)
        if only_first is not None:
            top[only_first, 1:] = -1
        say = self._say
        return [[say[j](x[j]) for j in columns if j >= 0] for x, columns in zip(X.tolist(), top.tolist(), strict=True)]
