"""The coupon experiment: what a session brings, and that arms and coupons are those of the product."""

import numpy as np
import pytest

from bench import coupon
from bench.coupon import HOLDOUT, INTENT, Shop, in_band, policy_text
from bench.coupon_shoppers import N_SITUATIONS, Outcome, Reaction, Terms, Visits, outcome
from decisions.experiments.stats import Clusters
from decisions.policy import Policy
from decisions.shipped import load_bundle
from featurestore.columns.hashing import hash64

TERMS = Terms(margin=0.3, discount=0.1)
MIDDLE, NOBODY = 1, 0
"""Situations in which half order, and nobody does."""


def visits(*moments: tuple[int, int, int, int], orders: tuple[tuple[int, int, float], ...]) -> Visits:
    """Moments (session, t, action, situation) and orders (session, t, value) of sessions s0, s1, ..."""
    session, t, action, situation = (np.array(column) for column in zip(*moments, strict=True))
    who, when, worth = (np.array(column) for column in zip(*orders, strict=True))
    n = int(session.max()) + 1
    return Visits(
        [f"s{i}" for i in range(n)], session, t, action, np.zeros(t.size, np.uint32), np.zeros(t.size), situation,
        who, when, worth.astype(np.float64),
    )  # fmt: skip


def reaction(response: float) -> Reaction:
    others = visits(
        (0, 1, 0, MIDDLE), (1, 1, 0, MIDDLE), (2, 1, 0, NOBODY), orders=((0, 5, 60.0), (0, 6, 20.0))
    )  # fmt: skip
    return Reaction(others, response, seed=1)


def brought(seen: Visits, response: float) -> Outcome:
    return outcome(seen, lambda action: action == 1, reaction(response), TERMS)


def test_intent_is_what_others_did() -> None:
    """The share of the moments in a situation that have an order ahead; the mean order is the worth of each."""
    made = reaction(1.0)
    assert made.intent[[MIDDLE, NOBODY]].tolist() == [0.5, 0.0]
    assert made.intent.shape == (N_SITUATIONS,)
    assert made.value == 40.0


def test_who_orders_anyway_only_costs_the_discount() -> None:
    """Once: of the next order after the first coupon. What was ordered before costs nothing."""
    seen = visits(
        (0, 10, 0, MIDDLE),
        (0, 20, 1, MIDDLE),
        (0, 30, 1, MIDDLE),
        orders=((0, 15, 100.0), (0, 25, 200.0), (0, 40, 400.0)),
    )
    got = brought(seen, 1.0)
    assert got.profit.tolist() == pytest.approx([40 * (0.3 * 3 - 0.1)])
    assert got.gain.tolist() == pytest.approx([-4.0])
    assert (got.orders.tolist(), got.coupons.tolist()) == ([3.0], [True])


def test_who_is_persuaded_brings_the_margin_less_the_discount() -> None:
    """Where it could go either way; who only looks around does not come, and without a response nobody does."""
    seen = visits((0, 10, 1, MIDDLE), (1, 10, 1, MIDDLE), (2, 10, 1, NOBODY), (3, 1, 0, MIDDLE), orders=((3, 5, 10.0),))
    got = brought(seen, 1.0)
    assert got.profit.tolist() == pytest.approx([8.0, 8.0, 0.0, 12.0])
    assert got.orders.tolist() == [1.0, 1.0, 0.0, 1.0]
    assert got.coupons.tolist() == [True, True, True, False]
    assert brought(seen, 0.0).gain.tolist() == [0.0] * 4


def test_the_middle_is_persuaded_as_often_as_was_said() -> None:
    ids = [f"s{i}" for i in range(20_000)]
    share = reaction(0.4).persuaded(ids, np.full(len(ids), MIDDLE)).mean()
    assert share == pytest.approx(0.4, abs=0.015)


def test_arms_and_coupons_are_those_of_the_policy() -> None:
    """The arm is drawn by the experiment's hash of the session; a holdout has no coupon, an arm only its own, once."""
    shop = Shop(load_bundle(None), TERMS, 400, 9)
    arms = {INTENT: coupon.TO_BUYERS, "band-1": in_band(1)}
    run = shop.run(1, arms, reaction(0.5))
    policy = Policy.from_text(policy_text(arms), outputs=shop.outputs)
    ids = run.seen.ids
    bits = policy.enrol(hash64(ids), np.zeros(len(ids), np.uint64))
    drawn = [policy.arms_of(int(one))[coupon.EXPERIMENT].partition("@")[0] for one in bits]
    assert run.arm.tolist() == drawn
    assert set(drawn) == {HOLDOUT, *arms}
    shown = {arm: set(run.coupon[run.arm == arm]) - {""} for arm in set(drawn)}
    assert shown[HOLDOUT] == set()
    assert shown["band-1"] <= in_band(1)
    assert shown[INTENT] <= coupon.TO_BUYERS
    assert all(shown[arm] for arm in arms)
    assert not run.got.coupons[run.arm == HOLDOUT].any()
    moments = np.flatnonzero(run.seen.action)
    kinds = {(int(s), int(a)) for s, a in zip(run.seen.session[moments], run.seen.action[moments], strict=True)}
    assert len(kinds) == len({s for s, _ in kinds})


def test_profit_is_compared_by_session() -> None:
    """The difference of two arms of the run, for 100 sessions, is that of their mean profits."""
    shop = Shop(load_bundle(None), TERMS, 400, 9)
    run = shop.run(1, {INTENT: coupon.TO_BUYERS, "all": coupon.ALL}, reaction(0.5))
    means = [Clusters(run.got.profit[run.arm == arm], np.ones((run.arm == arm).sum())).mean for arm in ("all", HOLDOUT)]
    found = run.against("all", HOLDOUT)
    assert found.value == pytest.approx(100 * (means[0] - means[1]))
    assert found.low < found.value < found.high
