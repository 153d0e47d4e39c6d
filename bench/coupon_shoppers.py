"""Shoppers who answer to a coupon, for `bench.coupon`: simulated visits, and what a coupon does to those who get one.

The simulator's shoppers do not react to what they see, so their visits say what they do *without* a coupon. `Reaction`
adds what they would do with one. It knows nothing of any head or policy.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from decisions.core import Judge
from decisions.intake import Records, decode, plan
from decisions.log_pass import LogPass
from featurestore.columns.hashing import hash64
from featurestore.contract.event import TYPE_CODE
from featurestore.session.stages import STAGES
from featurestore.session.views import WIDE
from models.simulator.simulator import SimConfig, simulate

_PURCHASE: Final = TYPE_CODE["purchase"]
_STEP: Final = WIDE.index("checkout_step")
_CLICKS: Final = 1
_CLICK_BANDS: Final = (4, 7, 12)
_STEPS: Final = 5
N_SITUATIONS: Final = 2 * _STEPS * (len(_CLICK_BANDS) + 1)
"""Empty cart or not, step of the checkout, clicks so far: what a shop assistant could see."""


class Visits(NamedTuple):
    """Simulated visits as a worker judged them: n moments and k orders of s sessions, both in log order.

    Attributes:
        ids: (s,) session ids.
        session: (n,) which session each moment belongs to.
        t: (n,) epoch ms.
        action: (n,) number of the policy's action.
        arms: (n,) packed arms of the policy's experiments.
        score: (n,) the outcome head that was asked for.
        situation: (n,) below `N_SITUATIONS`.
        order_session: (k,) which session each order belongs to.
        order_t: (k,) epoch ms.
        order_value: (k,) money.
    """

    ids: list[str]
    session: NDArray[np.int64]
    t: NDArray[np.int64]
    action: NDArray[np.int64]
    arms: NDArray[np.uint32]
    score: NDArray[np.float64]
    situation: NDArray[np.int64]
    order_session: NDArray[np.int64]
    order_t: NDArray[np.int64]
    order_value: NDArray[np.float64]

    def orders_after(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of each session, how many orders it has after ``at`` (epoch ms, shape (s,))."""
        later = self.order_t > at[self.order_session]
        return np.bincount(self.order_session[later], minlength=len(self.ids))

    def orders_ahead(self) -> NDArray[np.bool_]:
        """Of each moment, whether its session orders later."""
        latest = np.full(len(self.ids), -1, np.int64)
        np.maximum.at(latest, self.order_session, self.order_t)
        return np.asarray(latest[self.session] > self.t, np.bool_)


def visits(config: SimConfig, judge: Judge, head: str) -> Visits:
    """Simulate, and judge every event as a worker would; the log is clean, so that an order is one order.

    A coupon that comes in silence changes nothing: who has left sees none. So the moments are those of events.
    """
    if judge.others is None:
        raise ValueError("the bundle has no outcome heads")
    output = [names[0] for names in judge.others.variables[len(STAGES) :]].index(head)
    run = LogPass(judge)
    number: dict[str, int] = {}
    moments: list[tuple[NDArray[np.generic], ...]] = []
    orders: list[tuple[NDArray[np.generic], ...]] = []
    for chunk in simulate(config.clean()):
        records = Records(0, [value for _, value, _ in chunk], range(len(chunk)), [at for *_, at in chunk])
        batch = plan(decode([records]), 1, lambda _: -(1 << 62))
        found, names = run.judge(batch)
        whose = np.array([number.setdefault(name, len(number)) for name in names])
        rows, seen = found.observations.rows, found.observations
        told = np.flatnonzero(found.scored & (rows["kind"] == 0))
        situation = _situation(seen.context["cart_items"], seen.wide[:, _STEP], seen.features[:, _CLICKS])
        moments.append(
            (
                whose[rows["session_index"][told]],
                rows["t"][told],
                found.decisions["action"][told],
                found.decisions["arms"][told],
                found.outputs[told, output],
                situation[told],
            )
        )
        bought = batch.events[batch.events["kind"] == _PURCHASE]
        orders.append((whose[bought["session_index"]], bought["arrival"], np.nan_to_num(bought["value"])))
        run.let_time_pass(max(records.record_ms))
    columns = [np.concatenate(parts) for parts in zip(*moments, strict=True)]
    bought_columns = [np.concatenate(parts) for parts in zip(*orders, strict=True)]
    session, t, action, arms, score, where = columns
    return Visits(
        list(number), session.astype(np.int64), t.astype(np.int64), action.astype(np.int64), arms.astype(np.uint32),
        score.astype(np.float64), where.astype(np.int64),
        bought_columns[0].astype(np.int64), bought_columns[1].astype(np.int64), bought_columns[2].astype(np.float64),
    )  # fmt: skip


def _situation(
    cart_items: NDArray[np.generic], step: NDArray[np.float64], clicks: NDArray[np.float64]
) -> NDArray[np.int64]:
    steps = np.clip(step.astype(np.int64), 0, _STEPS - 1)
    band = np.digitize(clicks, _CLICK_BANDS)
    return np.asarray(((cart_items != 0) * _STEPS + steps) * (len(_CLICK_BANDS) + 1) + band, np.int64)


class Reaction:
    """What a coupon does to a shopper who would not have ordered otherwise.

    The intent q of a shopper in a situation is the share of other simulated shoppers in it who order later. Somebody
    who orders anyway takes the coupon along. Of those who would not, the share ``response * (4 q (1 - q))**2``
    orders: most where it could go either way, hardly anybody who is only looking around.

    Args:
        others: visits of other shoppers, without coupons.
        response: the share at q = 0.5.
        seed: of the draw, one for each shopper.
    """

    def __init__(self, others: Visits, response: float, seed: int) -> None:
        counts = np.bincount(others.situation, minlength=N_SITUATIONS)
        ordered = np.bincount(others.situation, others.orders_ahead(), N_SITUATIONS)
        self.intent = ordered / np.maximum(counts, 1)
        self.value = float(others.order_value.mean())
        self._response, self._seed = response, seed

    def persuaded(self, ids: list[str], situation: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a coupon in this situation makes each shopper order who would not have."""
        q = self.intent[situation]
        draws = hash64([f"{self._seed}:{name}" for name in ids]) / 2.0**64
        return np.asarray(draws < self._response * (4 * q * (1 - q)) ** 2, np.bool_)


class Outcome(NamedTuple):
    """What each session brought, (s,).

    ``gain`` is what its coupon changed, which no shop knows of its own shoppers.
    """

    profit: NDArray[np.float64]
    gain: NDArray[np.float64]
    orders: NDArray[np.float64]
    coupons: NDArray[np.bool_]


class Terms(NamedTuple):
    """Shares of an order's worth: what the shop earns of it, and what the coupon takes off."""

    margin: float
    discount: float


def outcome(
    seen: Visits,
    given: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
    reaction: Reaction,
    terms: Terms,
) -> Outcome:
    """The profit of each session: margin of its orders, less the discount where a coupon was used.

    The first coupon of a session counts, and is used once, for the next order. Every order counts as the mean one, so
    that a few large carts do not decide.

    Args:
        seen: the visits under the policy.
        given: which action numbers are coupons.
        reaction: of the shoppers.
        terms: of the shop.
    """
    s = len(seen.ids)
    orders = np.bincount(seen.order_session, minlength=s).astype(np.float64)
    without = terms.margin * reaction.value * orders
    at = first_rows(seen, given(seen.action))
    who = seen.session[at]
    when = np.full(s, np.iinfo(np.int64).max)
    when[who] = seen.t[at]
    anyway = seen.orders_after(when)[who] > 0
    won = ~anyway & reaction.persuaded([seen.ids[i] for i in who.tolist()], seen.situation[at])
    orders[who[won]] += 1
    used = np.zeros(s)
    used[who] = anyway | won
    coupons = np.zeros(s, np.bool_)
    coupons[who] = True
    profit = reaction.value * (terms.margin * orders - terms.discount * used)
    return Outcome(profit, profit - without, orders, coupons)


def first_rows(seen: Visits, which: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first moment of each session among those of ``which``; sessions without one are left out."""
    at = np.flatnonzero(which)
    return at[np.unique(seen.session[at], return_index=True)[1]]
