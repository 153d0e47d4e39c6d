"""A generated log of the size and mix of L: 21,896 sessions, 12 action types, 3.14 % buy, 6 % abandon a cart.

L's log is not public, and its paper gives counts only. This log has those counts: sessions of 3 to 250 actions, about
11.8 on average, the three kinds of sessions in their shares, actions that count at most 600 s. What a session does
within them is made up here: a shopper has a focus, which decides how much is looked at articles instead of the shop's
lists; those who fill a cart do so somewhere in the middle, go on looking, and buy or leave. Figures on it rank families
of models. They predict no shop's accuracy.
"""

import json
from typing import Final, NamedTuple

import numpy as np

from models.simulator.simulator import SimEvent

SESSIONS: Final = 21_896
MIX: Final = (("browse", 0.9086), ("abandon", 0.06), ("buy", 0.0314))
START_MS: Final = 1_767_225_600_000
SPAN_S: Final = 30 * 86_400

LISTS: Final = ("page_view", "view_item_list", "search", "login")
ARTICLES: Final = ("view_item", "view_reviews", "compare", "add_to_wishlist")
ACTIONS: Final = (*LISTS, *ARTICLES, "add_to_cart", "remove_from_cart", "begin_checkout", "purchase")
"""The twelve types."""

_LIST_WEIGHTS: Final = (0.3, 0.45, 0.2, 0.05)
_ARTICLE_WEIGHTS: Final = (0.78, 0.09, 0.07, 0.06)
_SHORTEST: Final = {"browse": 3, "abandon": 4, "buy": 6}


class _Kind(NamedTuple):
    """How one kind of session differs."""

    mu: float  # of the log of the length
    sigma: float
    focus: tuple[float, float]  # of a beta distribution
    gap_s: float  # median gap


_KINDS: Final = {
    "browse": _Kind(1.86, 0.90, (1.8, 2.8), 23.0),
    "abandon": _Kind(2.50, 0.70, (2.6, 2.2), 24.0),
    "buy": _Kind(3.20, 0.50, (4.2, 1.9), 17.0),
}


def generate(seed: int = 42, sessions: int = SESSIONS) -> list[SimEvent]:
    """The events, in the order of their time; the same seed gives the same log."""
    rng = np.random.default_rng([seed, 31])
    names, shares = [name for name, _ in MIX], np.array([share for _, share in MIX])
    kinds = rng.choice(len(names), sessions, p=shares / shares.sum())
    starts = START_MS + (np.sort(rng.random(sessions)) * SPAN_S * 1000).astype(np.int64)
    events = []
    for number, (kind, start) in enumerate(zip(kinds.tolist(), starts.tolist(), strict=True)):
        events += _session(rng, names[kind], number, start)
    return sorted(events, key=lambda event: event[2])


def _session(rng: np.random.Generator, kind: str, number: int, start: int) -> list[SimEvent]:
    shape = _KINDS[kind]
    length = 0
    while not _SHORTEST[kind] <= length <= 250:
        length = round(float(np.exp(rng.normal(shape.mu, shape.sigma))))
    actions = _browse(rng, length, rng.beta(*shape.focus))
    if kind != "browse":
        _fill_cart(rng, actions, buys=kind == "buy")
    pace = shape.gap_s * np.exp(rng.normal(0.0, 0.4))
    gaps = np.minimum(pace * np.exp(rng.normal(0.0, 0.9, length)), 600.0)
    times = start + (1000 * np.cumsum(gaps)).astype(np.int64)
    session = f"l-{number}"
    return [
        (session.encode(), _event(session, name, t, i), t)
        for i, (name, t) in enumerate(zip(actions, times.tolist(), strict=True))
    ]


def _browse(rng: np.random.Generator, length: int, focus: float) -> list[str]:
    """Lists and articles: after an article another one with chance ``focus``."""
    chance = 0.25 + 0.6 * focus
    article = rng.random(length) < chance
    article[0] = rng.random() < 0.3
    lists = rng.choice(len(LISTS), length, p=_LIST_WEIGHTS)
    articles = rng.choice(len(ARTICLES), length, p=_ARTICLE_WEIGHTS)
    return [
        ARTICLES[b] if on else LISTS[a]
        for on, a, b in zip(article.tolist(), lists.tolist(), articles.tolist(), strict=True)
    ]


def _fill_cart(rng: np.random.Generator, actions: list[str], *, buys: bool) -> None:
    """Put an addition, what follows it, and for buyers the order, into ``actions``."""
    length = len(actions)
    after = int(rng.geometric(0.35)) if rng.random() < 0.3 else 0
    end = max(length - 1 - after, 4) if buys else length - 1
    end = min(end, length - 1)
    first = 1 + int((end - 3) * (rng.beta(1.5, 3.0) if buys else rng.beta(2.0, 2.0)))
    actions[first] = "add_to_cart"
    for i in range(first + 1, end - 2 if buys else length):
        drawn = rng.random()
        if drawn < (0.13 if buys else 0.05):
            actions[i] = "add_to_cart"
        elif drawn < (0.155 if buys else 0.09):
            actions[i] = "remove_from_cart"
    if buys:
        actions[end - int(rng.integers(1, 3))] = "begin_checkout"
        actions[end] = "purchase"
    elif rng.random() < 0.12 and first + 1 < length:
        actions[int(rng.integers(first + 1, length))] = "begin_checkout"


def _event(session: str, name: str, t: int, number: int) -> bytes:
    return json.dumps({"session_id": session, "type": name, "ts": t, "event_id": f"{session}.{number}"}).encode()
