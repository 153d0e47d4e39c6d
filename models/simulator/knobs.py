"""Drift knobs: shift the distribution of mainly one feature by a factor.

The nine features are not independent (engagement is clicks per duration), so a knob moves what it must and leaves
alone what it can: carts grow together with the pages of the sessions that have one, so their ratio stays; pages change
only where the cart is empty; the duration grows by an earlier start, so the gaps stay; the bounce rate changes by who
the shoppers are, not by what they do. docs/simulator.md prints the PSI of every feature under every knob.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from featurestore.contract.event import TYPE_CODE
from models.simulator import shop

KNOBS: Final = (
    "session_duration",
    "num_clicks",
    "pages_viewed",
    "cart_additions",
    "time_between_clicks",
    "bounce_rate",
    "engagement_score",
    "cart_ratio",
    "idle_time",
)
"""The features that can be shifted. The bounce rate is turned in `models.simulator.visits`, the rest here."""

_ADD: Final = TYPE_CODE["add_to_cart"]
_CLICK: Final = TYPE_CODE["click"]


def scale_lengths(
    drift: Mapping[str, float], rng: np.random.Generator, length: NDArray[np.int64], longest: int
) -> NDArray[np.int64]:
    """``num_clicks``: interactions per session."""
    factor = drift.get("num_clicks", 1.0)
    if factor == 1.0:
        return length
    return np.clip(_rounded(rng, length * factor), 1, longest)


def scale_gaps(drift: Mapping[str, float], gaps: NDArray[np.float64], at: NDArray[np.int64]) -> NDArray[np.float64]:
    """``time_between_clicks`` and ``engagement_score``: every gap; ``idle_time``: gaps after the fifth interaction."""
    gaps = gaps * (drift.get("time_between_clicks", 1.0) / drift.get("engagement_score", 1.0))
    factor = drift.get("idle_time", 1.0)
    if factor != 1.0:
        gaps = np.where(at >= 5, gaps * factor, gaps)
    shorter = min(drift.get("session_duration", 1.0), 1.0)
    return gaps * shorter


def lead_ms(drift: Mapping[str, float], rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """``session_duration`` above 1: the session starts earlier than its first interaction."""
    factor = drift.get("session_duration", 1.0)
    if factor <= 1.0:
        return np.zeros(n, np.int64)
    return (60_000.0 * (factor - 1.0) * np.exp(rng.normal(0.0, 0.5, n))).astype(np.int64)


def scale_carts(drift: Mapping[str, float], rng: np.random.Generator, events: NDArray[np.void], n: int) -> None:
    """``cart_additions``: items per addition, in place; an addition of nothing becomes a click."""
    factor = drift.get("cart_additions", 1.0)
    if factor == 1.0:
        return
    adds = events["kind"] == _ADD
    quantity = _rounded(rng, events["quantity"][adds] * factor)
    events["quantity"][adds] = quantity
    nothing = np.flatnonzero(adds)[quantity == 0]
    events["kind"][nothing] = _CLICK
    events["detail"][nothing] = 0
    _more_pages(rng, events, factor - 1.0, _with_cart(events, n))


def scale_pages(drift: Mapping[str, float], rng: np.random.Generator, events: NDArray[np.void], n: int) -> None:
    """Where the cart is empty ``pages_viewed`` below 1, where it is not ``cart_ratio``, inversely; in place."""
    pages, ratio = drift.get("pages_viewed", 1.0), drift.get("cart_ratio", 1.0)
    if pages >= 1.0 and ratio == 1.0:
        return
    with_cart = _with_cart(events, n)
    for factor, where in ((min(pages, 1.0), ~with_cart), (1.0 / ratio, with_cart)):
        if factor > 1.0:
            _more_pages(rng, events, factor - 1.0, where)
        elif factor < 1.0:
            fewer = where & (rng.random(events.size) > factor**2)  # squared: one page of many is missed by few rows
            fewer &= (
                np.diff(events["session"], prepend=-1) == 0
            )  # the landing page stays, or the bounce rates would rise
            events["page"][fewer] = shop.HOME


def promoted_pages(
    drift: Mapping[str, float], rng: np.random.Generator, events: NDArray[np.void], n: int
) -> NDArray[np.void]:
    """``pages_viewed`` above 1: promotions that bring new pages, without a click, to sessions with an empty cart.

    ``events`` must be grouped by session, each of the ``n`` with at least one.
    """
    factor = drift.get("pages_viewed", 1.0)
    if factor <= 1.0:
        return events[:0]
    times = _rounded(rng, np.full(events.size, 0.7 * (factor - 1.0)))
    first = np.flatnonzero(np.diff(events["session"], prepend=-1))
    alike = np.maximum.reduceat(events["page"], first) == np.minimum.reduceat(events["page"], first)
    bounced = np.zeros(n, np.bool_)
    bounced[events["session"][first]] = alike
    times[_with_cart(events, n) | bounced[events["session"]]] = 0  # bounced: or the bounce rates would fall
    rows = np.repeat(events, times)
    rows["page"] = shop.FIRST_EXTRA + rng.integers(0, shop.N_EXTRA, rows.size)
    return rows


def _more_pages(rng: np.random.Generator, events: NDArray[np.void], share: float, where: NDArray[np.bool_]) -> None:
    """Send ``share`` of the rows (at most all) to pages nobody saw before."""
    rows = np.flatnonzero(where & (rng.random(events.size) < share))
    events["page"][rows] = shop.FIRST_EXTRA + rows % shop.N_EXTRA


def _with_cart(events: NDArray[np.void], n: int) -> NDArray[np.bool_]:
    has = np.zeros(n, np.bool_)
    has[events["session"][events["kind"] == _ADD]] = True
    return np.asarray(has[events["session"]], np.bool_)


def _rounded(rng: np.random.Generator, values: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Round up or down at random so that the mean stays."""
    return np.floor(values + rng.random(values.size)).astype(np.int64)
