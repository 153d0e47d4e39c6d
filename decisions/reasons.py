"""Reasons in words that marketing understands: the features that spoke most for the stage, with their values."""

import math
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from featurestore.session.features import FEATURES


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


def _words(feature: str, value: float) -> str:
    words = _WORDS.get(feature)
    return f"{feature.replace('_', ' ')} {value:g}" if words is None else words(value)


class Explainer:
    """Top three reasons for an output of a head.

    Args:
        contributor: the head; a bundle stands for its stage.
        columns: what it reads.
    """

    def __init__(self, contributor: Contributor, columns: Sequence[str] = FEATURES) -> None:
        self._contributor = contributor
        self._columns = columns

    def words(self, X: NDArray[np.float64], outputs: NDArray[np.uint8]) -> list[list[str]]:
        """For each row, at most three reasons, the strongest first; columns that spoke against are left out.

        Args:
            X: rows (n, columns), NaN where missing.
            outputs: which output of the head is explained in each row, shape (n,): the stage, or 0.
        """
        contributions = self._contributor.contributions(X, outputs)
        order = np.argsort(-contributions, axis=1, kind="stable")[:, :3]
        rows = []
        for x, c, top in zip(X.tolist(), contributions.tolist(), order.tolist(), strict=True):
            rows.append([_words(self._columns[j], x[j]) for j in top if c[j] > 0])
        return rows
