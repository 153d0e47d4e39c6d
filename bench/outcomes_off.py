"""outcomes_off: how often the alert ClickstageOutcomesOff is wrong, and how soon it is right. For docs/outcomes.md.

python -m bench.outcomes_off [--sessions 20000] [--days 2000] [--json FILE]

Sessions are simulated, run through the worker's own fold and scored by the bundle that ships. A day draws whole
sessions: rows of one session share their answer, so independent rows would flatter.

outcomes_off.false_alarms: days of N sessions of the shop that the bundle knows; share of days on which observed for one
expected is outside 0.8 to 1.25, and further from 1 than chance would bring it. Below 100 expected the alert is silent.
The column "by the ratio alone" leaves out the second condition.
outcomes_off.delay: from one moment on half of the buyers stay away; hours until the last day's ratio has been outside
for an hour. Median over 100 changes.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from decisions.shipped import load_bundle
from models.bundle.bundle import Bundle
from models.heads.scoring import N_TENTHS, variables
from models.rules import StageRules
from models.simulator.simulator import SimConfig, simulate
from models.training.dataset import observe_log
from models.training.outcomes import outcome_rows

LIMIT: Final = math.log(1.25)
FEWEST_EXPECTED: Final = 100
CHANCE: Final = 45.0
"""Squared difference for one expected that chance does not reach: three standard deviations, squared, times five. A
session is counted in some five tenths, and all of them get the same answer, so the variance is five times Poisson's."""
SIZES: Final = (500, 1_000, 2_000, 5_000, 20_000)
CHANGES: Final = 100
HOURS: Final = 24
WATCHED_H: Final = 72


class Sums(NamedTuple):
    """Expected and observed outcomes of each session, both (n,)."""

    expected: NDArray[np.float64]
    observed: NDArray[np.float64]


def per_session(bundle: Bundle, sessions: int, seed: int, mix: dict[str, float]) -> dict[str, Sums]:
    """By head, of the finished visits of a simulated shop: as a worker counts, at the first event in each tenth."""
    config = SimConfig(sessions=sessions, seed=seed, sessions_per_s=0.25, mix=mix)
    rules = StageRules()
    rows = outcome_rows(observe_log([list(chunk) for chunk in simulate(config)], rules, wide=True), rules)
    at_event = ~rows.silent
    visit = np.unique(rows.visit[at_event], return_inverse=True)[1]
    found = {}
    for head in bundle.heads.others:
        if head.name not in [outcome.name for outcome in rows.outcomes]:
            continue
        outcome = next(o for o in rows.outcomes if o.name == head.name)
        p = head.score(head.read(rows.wide[at_event]))[:, 0]
        y = rows.label(head.name)[at_event].astype(np.float64)
        asked = np.flatnonzero(outcome.eligible(rows.wide[at_event]))
        tenth = np.searchsorted(np.array(variables(head)[0].tenths), p[asked], side="right")
        first = asked[np.unique(visit[asked] * N_TENTHS + tenth, return_index=True)[1]]  # rows of a visit are in order
        sums = (np.bincount(visit[first], values[first], int(visit.max()) + 1) for values in (p, y))
        found[head.name] = Sums(*(one.astype(np.float64) for one in sums))
    return found


def outside(expected: NDArray[np.float64], observed: NDArray[np.float64], chance: float = CHANCE) -> NDArray[np.bool_]:
    """Whether the alert's condition holds; ``chance`` 0 for the ratio alone."""
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.abs(np.log(observed / expected)) > LIMIT
    surely = (observed - expected) ** 2 > chance * expected
    return np.asarray((expected >= FEWEST_EXPECTED) & far & surely, np.bool_)


def false_alarms(sums: Sums, size: int, days: int, rng: np.random.Generator) -> dict[str, float]:
    """Of days of ``size`` sessions: share outside, and share with enough expected to judge."""
    wrong = by_ratio = judged = 0
    for _ in range(days):
        drawn = rng.integers(0, sums.expected.size, size)
        expected, observed = sums.expected[drawn].sum(), sums.observed[drawn].sum()
        judged += expected >= FEWEST_EXPECTED
        wrong += bool(outside(expected, observed))
        by_ratio += bool(outside(expected, observed, 0.0))
    return {"share": wrong / days, "by_ratio": by_ratio / days, "judged": judged / days}


def delay_h(before: Sums, after: Sums, size: int, rng: np.random.Generator) -> float:
    """Median hours from the change to the alert; infinity if it does not come within three days."""
    found = []
    per_hour = max(size // HOURS, 1)
    for _ in range(CHANGES):
        hours = []
        for hour in range(-HOURS, WATCHED_H):
            source = before if hour < 0 else after
            drawn = rng.integers(0, source.expected.size, per_hour)
            hours.append((source.expected[drawn].sum(), source.observed[drawn].sum()))
        window = np.array(hours)
        sums = np.array([window[end - HOURS : end].sum(axis=0) for end in range(HOURS + 1, len(hours) + 1)])
        holds = outside(sums[:, 0], sums[:, 1])
        both = np.flatnonzero(holds[1:] & holds[:-1])  # at two hours in a row: it held for one
        found.append(float(both[0] + 2) if both.size else math.inf)
    return float(np.median(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=20_000, help="simulated, of each shop")
    parser.add_argument("--days", type=int, default=2_000, help="drawn for each figure")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    bundle, rng = load_bundle(None), np.random.default_rng(7)
    known = per_session(bundle, options.sessions, 77, {})
    halved = per_session(bundle, options.sessions, 78, {"buyer": 0.5})
    results: dict[str, Any] = {}
    columns = "observed for one expected", "halved buyers", "sessions a day", "false alarms", "by the ratio alone"
    print(f"| head | {' | '.join(columns)} | judged | delay |")
    print("|---|---|---|---|---|---|---|---|")
    for name, sums in known.items():
        ratios = [float(s.observed.sum() / s.expected.sum()) for s in (sums, halved[name])]
        for size in SIZES:
            wrong = false_alarms(sums, size, options.days, rng)
            delay = delay_h(sums, halved[name], size, rng)
            results[f"{name}.{size}"] = {**wrong, "delay_h": delay if math.isfinite(delay) else None}
            told = f"{delay:.0f} h" if math.isfinite(delay) else "never"
            print(
                f"| `{name}` | {ratios[0]:.2f} | {ratios[1]:.2f} | {size:,} | {wrong['share']:.1%} of days | "
                f"{wrong['by_ratio']:.1%} | {wrong['judged']:.0%} | {told} |"
            )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
