"""Who gets the coupon: profit of a coupon for Intent Buyers, and of one where it changes the outcome. For outcomes.md.

python -m bench.coupon [--sessions 200000] [--margin 0.3] [--discount 0.1] [--response 0.5]

1. Learn: simulated shoppers, one arm of an experiment for each band of ``order_rest``. A shopper gets the coupon on
   coming into the band of the arm; a holdout gets none. The bands whose profit is above zero beyond doubt are kept.
2. Compare, on other shoppers: three arms, a holdout, ``intent-buyers`` (the stage says so) and ``changes`` (the kept
   bands, whatever the stage). The profit of each is compared with the holdout's.

Every event is scored and decided by the worker's own core, and the arms are drawn by the policy's experiment. What is
made up is how shoppers answer: see `bench.coupon_shoppers.Reaction`. All shares are flags. The last column of a table
is the truth, which the simulator knows of every shopper with and without the coupon: intervals should contain it.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.coupon_shoppers import Outcome, Reaction, Terms, Visits, first_rows, outcome, visits
from decisions.core import Judge
from decisions.experiments.stats import Clusters, Interval, mean_difference, sample_ratio
from decisions.policy import Policy
from decisions.policy.conditions import HeadOutputs
from decisions.shipped import load_bundle, load_policy
from models.bundle.bundle import Bundle
from models.simulator.simulator import SimConfig

HEAD: Final = "order_rest"
EDGES: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.01)
BANDS: Final = tuple(range(len(EDGES) - 1))
EXPERIMENT: Final = "coupon"
HOLDOUT: Final = "holdout"
INTENT: Final = "intent-buyers"
CHANGES: Final = "changes"
REFERENCE_SESSIONS: Final = 50_000
FEWEST: Final = 100
"""Sessions on either side of a comparison: with fewer the normal limits mean nothing."""

Arms = dict[str, frozenset[str]]
"""Arm → the coupons that it shows."""


def in_band(band: int) -> frozenset[str]:
    """The coupons of a band, of Intent Buyers and of everybody else."""
    return frozenset({f"buyer-{band}", f"other-{band}"})


ALL: Final = frozenset[str]().union(*map(in_band, BANDS))
TO_BUYERS: Final = frozenset(f"buyer-{band}" for band in BANDS)


def policy_text(arms: Arms, *, holdout: bool = True) -> str:
    """A policy in which each arm shows its coupons, at most one a session.

    Every coupon stands for the same discount; its name says the band, and whether the stage was Intent Buyer, with the
    confidence that the presets ask for.
    """
    actions = "\n".join(f"  {name}: {{label: A coupon, persuasive: true}}" for name in sorted(ALL))
    rules = {who: "\n".join(_rule(f"{who}-{band}", band) for band in BANDS) for who in ("buyer", "other")}
    stages = "\n".join(
        f"  {stage}:\n    threshold: 0\n    rules:\n{rules['other']}"
        for stage in ("Explorer", "Evaluator", "Drop-Off Risk")
    )
    share = 1 / (len(arms) + holdout)
    drawn = "\n".join(
        f"      {arm}: {{share: {share}, replace: {{{', '.join(f'{name}: none' for name in sorted(ALL - shown))}}}}}"
        for arm, shown in arms.items()
    )
    if holdout:
        drawn += f"\n      {HOLDOUT}: {{share: {1 - share * len(arms)}, holdout: true}}"
    return f"""version: "1"
actions:
{actions}
guardrails: {{persuasive_per_session: 1, persuasive_per_visitor: null}}
stages:
{stages}
  Intent Buyer:
    threshold: 0.7
    rules:
{rules["buyer"]}
    fallback: Evaluator
experiments:
  {EXPERIMENT}:
    unit: session
    arms:
{drawn}
"""


def _rule(name: str, band: int) -> str:
    return f"      - {{show: {name}, when: {HEAD} >= {EDGES[band]} and {HEAD} < {EDGES[band + 1]}}}"


class Run(NamedTuple):
    """A simulated shop under a policy.

    Attributes:
        seen: its visits.
        got: what each session brought.
        arm: of each session, as the policy drew it.
        coupon: name of each session's coupon, "" for none.
    """

    seen: Visits
    got: Outcome
    arm: NDArray[np.str_]
    coupon: NDArray[np.str_]

    def mean(self, values: NDArray[np.float64], mask: NDArray[np.bool_]) -> Clusters:
        """The mean of some sessions."""
        some = values[mask]
        return Clusters(some, np.ones(some.size))

    def against(self, arm: str, other: str, mask: NDArray[np.bool_] | None = None) -> Interval:
        """Profit of 100 sessions in an arm less that in another, of the sessions of ``mask`` only."""
        mask = np.ones(self.arm.size, np.bool_) if mask is None else mask
        one, base = (self.mean(100 * self.got.profit, mask & (self.arm == name)) for name in (arm, other))
        return mean_difference(base, one)


class Shop:
    """Plays simulated shops through the worker's core; ``rate`` of sessions that begin per second."""

    def __init__(self, bundle: Bundle, terms: Terms, sessions: int, seed: int) -> None:
        self._bundle, self._terms, self._sessions, self._seed = bundle, terms, sessions, seed
        self.outputs: HeadOutputs = bundle.heads.variables

    def visits(self, seed: int, policy: Policy, sessions: int | None = None) -> Visits:
        """The visits of a shop under a policy; another seed means other shoppers."""
        config = SimConfig(sessions=sessions or self._sessions, seed=self._seed + seed)
        judge = Judge(self._bundle, policy, self._bundle.rules.fold_config(), self._bundle.heads)
        return visits(config, judge, HEAD)

    def run(self, seed: int, arms: Arms, reaction: Reaction, *, holdout: bool = True) -> Run:
        """The same with what each session brought."""
        policy = Policy.from_text(policy_text(arms, holdout=holdout), outputs=self.outputs)
        return played(self.visits(seed, policy), policy, reaction, self._terms)


def played(seen: Visits, policy: Policy, reaction: Reaction, terms: Terms) -> Run:
    """What the sessions of visits under a policy brought."""
    names = np.array(["" if name == "none" else name for name in policy.action_names])
    coupons: Callable[[NDArray[np.int64]], NDArray[np.bool_]] = lambda action: names[action] != ""  # noqa: E731 # one line
    got = outcome(seen, coupons, reaction, terms)
    s = len(seen.ids)
    bits = np.zeros(s, np.uint32)
    bits[seen.session] = seen.arms
    which, inverse = np.unique(bits, return_inverse=True)
    arms = np.array([policy.arms_of(int(one)).get(EXPERIMENT, "").partition("@")[0] for one in which.tolist()])
    at = first_rows(seen, coupons(seen.action))
    coupon = np.full(s, "", names.dtype)
    coupon[seen.session[at]] = names[seen.action[at]]
    return Run(seen, got, arms[inverse], coupon)


def learn(shop: Shop, reaction: Reaction, show: Callable[[str], None]) -> frozenset[int]:
    """Print what a coupon brings in each band; the bands where that is above zero beyond doubt."""
    run = shop.run(1, {f"band-{band}": in_band(band) for band in BANDS}, reaction)
    show(f"1. Learn: {len(run.seen.ids):,} sessions, a coupon on coming into a band; {_ratio(run)}")
    show("| `order_rest` | sessions | order anyway | orders by 100 coupons | profit by 100 coupons | give | truth |")
    show("|---|---|---|---|---|---|---|")
    kept = set()
    for band in BANDS:
        mask, anyway = _came_into(run.seen, band)
        added = mean_difference(
            run.mean(100 * run.got.orders, mask & (run.arm == HOLDOUT)),
            run.mean(100 * run.got.orders, mask & (run.arm == f"band-{band}")),
        )
        profit = run.against(f"band-{band}", HOLDOUT, mask)
        if profit.low > 0:
            kept.add(band)
        held = mask & (run.arm == HOLDOUT)
        truth = 100 * run.got.gain[mask & (run.arm == f"band-{band}")].mean()
        show(
            f"| {_band(band)} | {int(mask.sum()):,} | {anyway[held].mean():.0%} | {_shown(added)} | {_shown(profit)} | "
            f"{'yes' if profit.low > 0 else 'no'} | {truth:+.0f} |"
        )
    return frozenset(kept)


def _came_into(seen: Visits, band: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of each session: whether it was ever in the band, and whether it ordered after it first was."""
    inside = (seen.score >= EDGES[band]) & (seen.score < EDGES[band + 1])
    at = first_rows(seen, inside)
    came = np.zeros(len(seen.ids), np.bool_)
    came[seen.session[at]] = True
    when = np.full(len(seen.ids), np.iinfo(np.int64).max)
    when[seen.session[at]] = seen.t[at]
    return came, np.asarray(seen.orders_after(when) > 0, np.bool_)


def compare(shop: Shop, reaction: Reaction, kept: frozenset[int], show: Callable[[str], None]) -> Run:
    """Print the three arms, and where each policy's coupons go; the run."""
    changes = frozenset[str]().union(*map(in_band, sorted(kept)))
    arms = {INTENT: TO_BUYERS, CHANGES: changes}
    run = shop.run(2, arms, reaction)
    show(f"\n2. Compare: {len(run.seen.ids):,} other sessions; {_ratio(run)}")
    show("| arm | sessions | coupons of 100 | orders of 100 | profit of 100 sessions | above the holdout | truth |")
    show("|---|---|---|---|---|---|---|")
    for arm in (HOLDOUT, *arms):
        mask = run.arm == arm
        above = "" if arm == HOLDOUT else _shown(run.against(arm, HOLDOUT))
        show(
            f"| {arm} | {int(mask.sum()):,} | {100 * run.got.coupons[mask].mean():.1f} | "
            f"{100 * run.got.orders[mask].mean():.2f} | {100 * run.got.profit[mask].mean():.0f} | {above} | "
            f"{100 * run.got.gain[mask].mean():+.0f} |"
        )
    show(f"\n`{CHANGES}` above `{INTENT}`, 100 sessions: {_shown(run.against(CHANGES, INTENT))}")
    show(
        "\n| `order_rest` at the coupon | "
        + " | ".join(f"{arm}: coupons of 100 | profit of 100" for arm in arms)
        + " |"
    )
    show("|---" * (1 + 2 * len(arms)) + "|")
    would = {
        arm: shop.run(2, {arm: shown, "too": shown}, reaction, holdout=False).coupon for arm, shown in arms.items()
    }
    for band in BANDS:
        cells = []
        for arm in arms:
            mask = np.isin(would[arm], sorted(in_band(band)))
            given = 100 * mask[run.arm == arm].mean()
            enough = min((mask & (run.arm == name)).sum() for name in (arm, HOLDOUT)) >= FEWEST
            cells.append(f"{given:.2f} | {_shown(run.against(arm, HOLDOUT, mask)) if enough else ''}")
        show(f"| {_band(band)} | {' | '.join(cells)} |")
    return run


def _ratio(run: Run) -> str:
    counts = np.unique(run.arm, return_counts=True)[1].tolist()
    return f"sample ratio p {sample_ratio(counts, [1.0] * len(counts))[1]:.2f}"


def _band(band: int) -> str:
    return f"{EDGES[band]:g} to {min(EDGES[band + 1], 1):g}"


def _shown(x: Interval) -> str:
    decimals = 1 if abs(x.value) < 20 else 0
    return f"{x.value:+.{decimals}f} ({x.low:+.{decimals}f} to {x.high:+.{decimals}f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=200_000, help="simulated, to learn, and again to compare")
    parser.add_argument("--margin", type=float, default=0.3, help="share of an order that the shop earns (0.3)")
    parser.add_argument("--discount", type=float, default=0.1, help="share of an order that the coupon takes off (0.1)")
    parser.add_argument(
        "--response", type=float, default=0.5,
        help="of those who would not order, where as many would as would not: the share that a coupon persuades (0.5)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=4_000, help="another one draws other shoppers")
    options = parser.parse_args(arguments)
    shop = Shop(load_bundle(None), Terms(options.margin, options.discount), options.sessions, options.seed)
    others = shop.visits(0, load_policy(None, shop.outputs), REFERENCE_SESSIONS)
    reaction = Reaction(others, options.response, options.seed)
    print(
        f"Every order counts as the mean one, {reaction.value:.0f}; the shop earns {options.margin:.0%} of it, "
        f"the coupon takes {options.discount:.0%}, and persuades {options.response:.0%} at most. "
        "How shoppers answer is made up; two other forms, tried first, left no band worth a coupon."
    )
    compare(shop, reaction, learn(shop, reaction, print), print)


if __name__ == "__main__":
    main()
