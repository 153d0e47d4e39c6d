"""The shoppers of one block of simulated sessions, as arrays: who, when, what, and what the network does to it.

A block is a pure function of the settings and its number: blocks can be made in any order and are byte-equal each time.
Times are milliseconds since the simulation's start. One row of `VISIT_EVENT` is one transmission of one event.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featurestore.contract.event import TYPE_CODE
from models.simulator import knobs, shop
from models.simulator.personas import BOUNCER, MAX_LENGTH, PERSONAS, joint_law, type_cdf

VISIT_EVENT = np.dtype(
    [
        ("arrival", "<i8"),  # ms, when Kafka gets it
        ("ts", "<i8"),  # ms, what the event says
        ("session", "<i4"),  # index in the block
        ("number", "<i4"),  # of the event in its session; a duplicate repeats it
        ("page", "<i2"),
        ("detail", "<i2"),  # index in shop.ITEM_JSON
        ("quantity", "<i2"),  # 0: none
        ("scroll", "<i2"),  # percent, -1: none
        ("kind", "u1"),
        ("value", "<f8"),  # of a purchase, else NaN
    ]
)


class Traffic(NamedTuple):
    """What a block is made of; see `simulator.SimConfig` for the meaning of each."""

    sessions_per_s: float
    mix: Mapping[str, float]
    drift: Mapping[str, float]
    regulars: int
    newcomers: float
    anonymous: float
    bots: float
    duplicates: float
    late: float
    very_late: float


class Block(NamedTuple):
    """Events (`VISIT_EVENT`, by session and time, duplicates last) and one row a session."""

    events: NDArray[np.void]
    persona: NDArray[np.int64]  # len(PERSONAS) is a bot
    visitor: NDArray[np.int64]  # -1: anonymous
    device: NDArray[np.int64]
    source: NDArray[np.int64]
    country: NDArray[np.int64]


_T: Final = TYPE_CODE
BOT: Final = len(PERSONAS)
_ON_ITEM: Final = np.array([_T[name] for name in ("view_item", "select_item", "select_promotion")])
_ABOUT_ITEM: Final = np.array(
    [
        _T[name]
        for name in (
            "add_to_cart",
            "remove_from_cart",
            "add_to_wishlist",
            "share",
            "ask_question",
            "view_reviews",
        )
    ]
)
_FUNNEL: Final = np.array(
    [_T["view_cart"], _T["begin_checkout"], _T["add_shipping_info"], _T["add_payment_info"], _T["purchase"]]
)
_SHORTEST_CHECKOUT: Final = 2 + _FUNNEL.size
"""Interactions of the shortest session with an order: a landing, an addition, the funnel."""
_STOPS_CDF: Final = np.cumsum([0.45, 0.3, 0.25])
"""Where a checkout that fails stops: after begin_checkout, add_shipping_info or add_payment_info."""
_STAYS: Final = (0.4, 0.25)
"""Share of the shoppers who go on after a checkout that failed, and after an order."""
_STAYS_MEAN: Final = 4.0
"""How many interactions they go on for, on average, if the session is long enough."""
_LANDING: Final = np.array([_T["page_view"], _T["view_item_list"], _T["view_item"], _T["view_item"]])
_SPECIAL_OF_KIND: Final = np.full(256, -1, np.int64)
for _kind, _page in shop.SPECIAL_PAGE.items():
    _SPECIAL_OF_KIND[_kind] = _page
_PASSIVE_SHARE: Final = ((_T["scroll"], 0.25), (_T["view_promotion"], 0.05))
_NETWORK_MS: Final = 15
_TYPE_CDF: Final = type_cdf()
_GAP_S: Final = np.array([*(p.gap_s for p in PERSONAS), 0.7])
_SLOW_GAP_S: Final = np.array([*(p.slow_gap_s for p in PERSONAS), 1.0])
_SLOW_SHARE: Final = np.array([*(p.slow_share for p in PERSONAS), 0.0])
_ADDS: Final = np.array([*(p.adds for p in PERSONAS), 0.0])
_BUYS: Final = np.array([*(p.buys for p in PERSONAS), 0.0])
_FAILS: Final = np.array([*(p.fails for p in PERSONAS), 0.0])
_FOCUS: Final = np.array([*(p.focus for p in PERSONAS), 0.7])
_RETURNS: Final = np.array([*(p.returns for p in PERSONAS), 0.0])
_POPULAR: Final = np.array([*(p.popular for p in PERSONAS), 1.2])
DEVICES: Final = ("mobile", "desktop", "tablet", "tv")
SOURCES: Final = ("organic", "direct", "paid", "social", "email", "referral", "podcast")
COUNTRIES: Final = ("DE", "US", "GB", "FR", "PL", "NL", "AT", "CZ", "IT", "ES")
_CONTEXT_CDF: Final = tuple(
    np.cumsum(shares)
    for shares in (
        [0.58, 0.34, 0.075, 0.005],
        [0.38, 0.22, 0.2, 0.09, 0.06, 0.04, 0.01],
        [0.3, 0.2, 0.12, 0.1, 0.08, 0.06, 0.05, 0.04, 0.03, 0.02],
    )
)


def make_block(traffic: Traffic, rng: np.random.Generator, first_index: int, n: int, start_ms: float) -> Block:
    """Session ``first_index`` and ``n - 1`` more, starting in the ``n / sessions_per_s`` seconds after ``start_ms``."""
    persona, length = _people(traffic, rng, n)
    starts = (start_ms + np.sort(rng.random(n)) * (n / traffic.sessions_per_s * 1000.0)).astype(np.int64)
    lead = knobs.lead_ms(traffic.drift, rng, n)
    first = np.cumsum(length) - length
    session = np.repeat(np.arange(n), length)
    at = np.arange(session.size) - first[session]
    gaps = _gaps(traffic, rng, persona, length, session, at)
    elapsed = np.cumsum(gaps)
    landed = starts + lead + rng.integers(0, 300, n)
    t = landed[session] + np.rint(1000.0 * (elapsed - elapsed[first][session])).astype(np.int64)
    events = np.zeros(session.size, VISIT_EVENT)
    events["session"], events["ts"], events["scroll"] = session, t, -1
    events["kind"] = _kinds(rng, persona, length, session, at)
    _places(rng, events, persona, first, session)
    adds = events["kind"] == _T["add_to_cart"]
    events["quantity"][adds] = 1 + np.searchsorted([0.85, 0.96], rng.random(int(adds.sum())))
    knobs.scale_carts(traffic.drift, rng, events, n)
    knobs.scale_pages(traffic.drift, rng, events, n)
    events["value"] = np.nan
    _purchases(events)
    events = np.concatenate([events, *_passive(traffic, rng, events, starts, lead)])
    events = events[np.lexsort((events["ts"], events["session"]))]
    counts = np.bincount(events["session"], minlength=n)
    events["number"] = np.arange(events.size) - (np.cumsum(counts) - counts)[events["session"]]
    events = _network(traffic, rng, events)
    context = [np.searchsorted(cdf, rng.random(n) * cdf[-1]) for cdf in _CONTEXT_CDF]
    return Block(events, persona, _visitors(traffic, rng, persona, first_index), *context)


def _people(traffic: Traffic, rng: np.random.Generator, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Persona and number of interactions of each session."""
    cdf = np.cumsum(joint_law(dict(traffic.mix)).ravel())
    drawn = np.searchsorted(cdf, rng.random(n) * cdf[-1])
    length, persona = drawn // len(PERSONAS) + 1, drawn % len(PERSONAS)
    length = knobs.scale_lengths(traffic.drift, rng, length, MAX_LENGTH)
    bot = rng.random(n) < traffic.bots
    persona[bot] = BOT
    length[bot] = rng.integers(260, 500, int(bot.sum()))
    return persona.astype(np.int64), length.astype(np.int64)


def _gaps(
    traffic: Traffic,
    rng: np.random.Generator,
    persona: NDArray[np.int64],
    length: NDArray[np.int64],
    session: NDArray[np.int64],
    at: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Seconds before each interaction: a pace per shopper, a slow end for abandoners, rare interruptions."""
    n = session.size
    pace = _GAP_S[persona] * np.exp(rng.normal(0.0, 0.25, persona.size))
    gaps = pace[session] * np.exp(rng.normal(0.0, 0.55, n))
    slow_from = length - np.ceil(_SLOW_SHARE[persona] * (length - 1))
    slow = at >= slow_from[session]
    slow_pace = _SLOW_GAP_S[persona] * np.exp(rng.normal(0.0, 0.25, persona.size))
    gaps = np.where(slow, np.maximum(slow_pace[session] * np.exp(rng.normal(0.0, 0.35, n)), 35.0), gaps)
    human = persona[session] != BOT
    u = rng.random(n)
    away = human & (u < 0.012)
    gaps[away] = 45.0 * np.exp(rng.random(int(away.sum())) * 2.6)  # 45 s to 10 min: the phone rings
    gone = human & (u > 0.9992)
    gaps[gone] = 1_830.0 + 1_500.0 * rng.random(int(gone.sum()))  # past the session's end: a new session, same id
    gaps = knobs.scale_gaps(traffic.drift, gaps, at)
    gaps = np.maximum(gaps, 0.15)
    gaps[at == 0] = 0.0
    return gaps


def _kinds(
    rng: np.random.Generator,
    persona: NDArray[np.int64],
    length: NDArray[np.int64],
    session: NDArray[np.int64],
    at: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Event type of each interaction: a landing, the persona's habits, and for some an addition and a checkout."""
    who = np.where(persona == BOT, BOUNCER, persona)
    n_types = _TYPE_CDF.shape[1]
    laws = (_TYPE_CDF + np.arange(len(PERSONAS))[:, None]).ravel()
    drawn = np.searchsorted(laws, who[session] + rng.random(session.size) * (1 - 1e-9), side="right")
    kinds = np.minimum(drawn - who[session] * n_types, n_types - 1)
    kinds[at == 0] = _LANDING[rng.integers(0, _LANDING.size, persona.size)]
    start, steps = _checkouts(rng, persona, length)
    latest = np.where(steps > 0, start - 1, length - 1)
    first_add = np.clip((length * (0.25 + 0.35 * rng.random(persona.size))).astype(np.int64), 1, np.maximum(latest, 1))
    adds = ((rng.random(persona.size) < _ADDS[persona]) & (length >= 3)) | (steps > 0)
    kinds[adds[session] & (at == first_add[session])] = _T["add_to_cart"]
    step = at - start[session]
    in_funnel = (step >= 0) & (step < steps[session])
    kinds[in_funnel] = _FUNNEL[step[in_funnel]]
    return np.asarray(kinds, np.int64)


def _checkouts(
    rng: np.random.Generator, persona: NDArray[np.int64], length: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each session's checkout starts, and its steps from view_cart on: 0 without one, all of them for an order.

    Most checkouts are the end of the session; some shoppers go on afterwards.
    """
    n = persona.size
    begins = (rng.random(n) < _BUYS[persona]) & (length >= _SHORTEST_CHECKOUT)
    fails = rng.random(n) < _FAILS[persona]
    stop = 2 + np.searchsorted(_STOPS_CDF, rng.random(n) * _STOPS_CDF[-1], side="right")
    steps = np.where(begins, np.where(fails, stop, _FUNNEL.size), 0)
    stays = rng.random(n) < np.where(fails, *_STAYS)
    after = np.where(stays, rng.geometric(1 / _STAYS_MEAN, n), 0)
    return length - steps - np.clip(after, 0, np.maximum(length - steps - 2, 0)), steps


def _places(
    rng: np.random.Generator,
    events: NDArray[np.void],
    persona: NDArray[np.int64],
    first: NDArray[np.int64],
    session: NDArray[np.int64],
) -> None:
    """Fill page and detail by intent: articles of a favourite category or the favourite one, other pages by type."""
    n = session.size
    kinds = events["kind"]
    who = persona[session]
    taste = rng.integers(0, len(shop.CATEGORIES), first.size)
    category = np.where(rng.random(n) < _FOCUS[who], taste[session], rng.integers(0, len(shop.CATEGORIES), n))
    item = category + len(shop.CATEGORIES) * (18 * rng.random(n) ** _POPULAR[who]).astype(np.int64)
    favourite = taste + len(shop.CATEGORIES) * (18 * rng.random(first.size) ** _POPULAR[persona]).astype(np.int64)
    item = np.where(rng.random(n) < _RETURNS[who], favourite[session], item)
    query = rng.integers(0, len(shop.QUERIES), n)
    on_item, lists = np.isin(kinds, _ON_ITEM), kinds == _T["view_item_list"]
    landing, search = kinds == _T["page_view"], kinds == _T["search"]
    page = _SPECIAL_OF_KIND[kinds]
    page[on_item] = shop.FIRST_ITEM + item[on_item]
    page[lists] = shop.FIRST_CATEGORY + category[lists]
    page[landing] = np.where(rng.random(n) < 0.5, shop.HOME, shop.FIRST_CATEGORY + category)[landing]
    page[search] = shop.FIRST_QUERY + query[search]
    index = np.arange(n)
    events["page"] = page[np.maximum(np.maximum.accumulate(np.where(page >= 0, index, -1)), first[session])]
    seen = np.maximum.accumulate(np.where(on_item, index, -1))
    about = np.isin(kinds, _ABOUT_ITEM)
    item = np.where(about & (seen >= first[session]), item[np.maximum(seen, 0)], item)
    detail = np.zeros(n, np.int64)
    detail[on_item | about] = 1 + item[on_item | about]
    detail[lists] = shop.CATEGORY_DETAIL + category[lists]
    detail[search] = shop.QUERY_DETAIL + query[search]
    events["detail"] = detail


def _purchases(events: NDArray[np.void]) -> None:
    """The value of an order: everything added to the cart before; the rows are grouped by session, in order."""
    orders = np.flatnonzero(events["kind"] == _T["purchase"])
    if orders.size == 0:
        return
    adds = events["kind"] == _T["add_to_cart"]
    worth = np.zeros(events.size)
    worth[adds] = shop.PRICES[events["detail"][adds] - 1] * events["quantity"][adds]
    total = np.cumsum(worth)
    before = np.searchsorted(events["session"], events["session"][orders])
    events["value"][orders] = np.round(total[orders] - total[before] + worth[before], 2)


def _passive(
    traffic: Traffic,
    rng: np.random.Generator,
    events: NDArray[np.void],
    starts: NDArray[np.int64],
    lead: NDArray[np.int64],
) -> list[NDArray[np.void]]:
    """Events that are no interaction: the session's start, scrolling and promotions shown while a page is read."""
    n = events.size
    dwell = np.full(n, 8_000, np.int64)
    same = events["session"][1:] == events["session"][:-1]
    dwell[:-1][same] = np.minimum(np.diff(events["ts"])[same], 60_000)
    out = []
    for kind, share in _PASSIVE_SHARE:
        chosen = rng.random(n) < share
        rows = events[chosen]
        rows["ts"] += (rng.random(rows.size) * 0.8 * dwell[chosen]).astype(np.int64)
        out.append(_blank(rows, kind))
    out.append(_blank(knobs.promoted_pages(traffic.drift, rng, events, starts.size), _T["view_promotion"]))
    out[0]["scroll"] = 5 * rng.integers(1, 21, out[0].size)
    begun = np.flatnonzero((rng.random(starts.size) < 0.9) | (lead > 0))
    rows = events[np.searchsorted(events["session"], begun)]
    rows["ts"] = starts[begun]
    out.append(_blank(rows, _T["session_start"]))
    return out


def _blank(rows: NDArray[np.void], kind: int) -> NDArray[np.void]:
    rows["kind"], rows["detail"], rows["quantity"], rows["value"] = kind, 0, 0, np.nan
    return rows


def _network(traffic: Traffic, rng: np.random.Generator, events: NDArray[np.void]) -> NDArray[np.void]:
    """Delays, late and very late events, and events sent twice."""
    n = events.size
    delay = np.full(n, float(_NETWORK_MS))
    u = rng.random(n)
    late = u < traffic.late
    delay[late] += 1_000.0 * np.exp(rng.random(int(late.sum())) * np.log(120.0))
    very_late = u > 1 - traffic.very_late
    delay[very_late] += 310_000.0 + 600_000.0 * rng.random(int(very_late.sum()))
    events["arrival"] = events["ts"] + delay.astype(np.int64)
    again = events[rng.random(n) < traffic.duplicates]
    again["arrival"] += rng.integers(50, 20_000, again.size)
    return np.concatenate([events, again])


def _visitors(
    traffic: Traffic, rng: np.random.Generator, persona: NDArray[np.int64], first_index: int
) -> NDArray[np.int64]:
    """Who it is: nobody known, a newcomer, or a regular; some regulars leave at once more often than others.

    Regulars are few enough to be known after the first tenth of a run, so the share of sessions with a history is
    steady from then on.
    """
    n = persona.size
    pair = (traffic.regulars * rng.random((2, n)) ** 1.3).astype(np.int64)
    restless = (pair * 0.6180339887498949) % 1.0
    swap = restless[0] < restless[1]
    high, low = np.where(swap, pair[1], pair[0]), np.where(swap, pair[0], pair[1])
    factor = traffic.drift.get("bounce_rate", 1.0)
    restless_share = np.where(persona == BOUNCER, 1.0, min(0.3 * factor, 1.0))
    visitor = np.where(rng.random(n) < restless_share, high, low)
    kind = rng.random(n) * np.where(persona == BOUNCER, factor, min(1.0, 0.5 + 0.5 / factor))
    visitor = np.where(
        kind < traffic.anonymous + traffic.newcomers, traffic.regulars + first_index + np.arange(n), visitor
    )
    return np.where(kind < traffic.anonymous, -1, visitor)
