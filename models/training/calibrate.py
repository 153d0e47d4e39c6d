"""``clickstage calibrate``: thresholds and idle deadline proposed from a shop's own sessions.

The defaults fit a shop whose shoppers click every ten seconds or so; where a click comes every two minutes they would
call everyone a Drop-Off. Each proposal is a quantile that a person can check:

- idle: the ``active`` share of rows at events that were followed by another interaction lies below ``idle_s``
- silence: of the shoppers who are silent for ``idle_after_s``, the share ``gone`` does not come back within the session
- Evaluators: the pages, clicks and seconds that the ``evaluators`` share of sessions reaches in all three
- Buyers: the number of items that tells buyers from others best; in a log without purchases two items, unless almost
  nobody (then one) or a large part of the sessions (then more) adds that many
- short sessions: all but the longest twentieth

Sessions that the end of the log cut off are not finished: nobody knows how they went on.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from featurestore.contract.decode import decode_unchecked
from featurestore.contract.event import PASSIVE
from featurestore.contract.trackers import TYPE_HELP, own_types
from featurestore.errors import SettingsError
from featurestore.session.features import FEATURES
from featurestore.session.layout import N_GAPS
from featurestore.session.observation import EVENT_ROW
from featurestore.session.stages import INTENT_BUYER, STAGES
from models.rules import StageRules, save_rules
from models.simulator.simulator import SimEvent
from models.training.dataset import Observed, Recording, observe_log, record, recording_of
from models.training.eventfile import read_events
from models.training.train import TrainConfig, split_rows
from models.training.visit_outcomes import VisitOutcomes, items_of_buyers, visit_outcomes

SESSION_GAP_S: Final = 1_800.0
_FEWEST_VISITS: Final = 100
_COLUMN: Final = {name: i for i, name in enumerate(FEATURES)}
_MARGIN: Final = 1.1
"""``idle_mean_s`` over ``idle_s``: silence is scored where the model is sure."""
_MOST_BUYERS: Final = 0.3
_FEWEST_BUYERS: Final = 0.005


class Aims(NamedTuple):
    """What the thresholds are to give; shares between 0 and 1."""

    active: float = 0.95
    gone: float = 0.75
    evaluators: float = 0.05


class Gaps(NamedTuple):
    """Times between interactions of one visit, seconds, and how many visits are known to have ended."""

    seconds: NDArray[np.float64]
    endings: int

    def gone(self, silent_s: float) -> float:
        """Share that does not come back, of the shoppers who were silent for ``silent_s``."""
        back = int((self.seconds >= silent_s).sum())
        return self.endings / (self.endings + back) if self.endings + back else 0.0


class Calibration(NamedTuple):
    """A proposal: the rules, why each threshold, and what they make of the shop's sessions.

    Attributes:
        refused: why ``clickstage train`` would refuse the log under these rules; "" if it would not.
    """

    rules: StageRules
    why: dict[str, str]
    visits: int
    cut_off: int
    events: int
    median_gap_s: float
    mean_gap_s: float
    default_shares: dict[str, dict[str, float]]
    shares: dict[str, dict[str, float]]
    examples: dict[str, list[dict[str, Any]]]
    before: VisitOutcomes
    after: VisitOutcomes
    warnings: list[str]
    refused: str


def calibrate(events: list[SimEvent], aims: Aims = Aims()) -> Calibration:  # noqa: B008 (immutable)
    """Propose rules for the shop that these events (by time) come from.

    Raises:
        SettingsError: if there are too few visits to say anything.
    """
    gaps = visit_gaps(events)
    if gaps.endings < _FEWEST_VISITS or gaps.seconds.size < _FEWEST_VISITS:
        raise SettingsError(
            f"{gaps.endings} finished visits with {gaps.seconds.size} gaps between clicks; "
            f"thresholds need at least {_FEWEST_VISITS} of each, so give events of a longer time"
        )
    seen = observe_log([events], StageRules())
    before = finished_recording(seen, StageRules())
    rules, why = _propose(events, seen, before, gaps, aims)
    seen_after = observe_log([events], rules)
    after = finished_recording(seen_after, rules)
    shares = stage_shares(after)
    outcomes = visit_outcomes(seen, StageRules())
    return Calibration(
        rules,
        why,
        int(before.finished.t.size),
        outcomes.cut_off,
        len(events),
        float(np.median(gaps.seconds)),
        float(gaps.seconds.mean()),
        stage_shares(before),
        shares,
        _examples(after),
        outcomes,
        visit_outcomes(seen_after, rules),
        list(_warnings(shares, with_carts=bool(before.live.X[:, _COLUMN["cart_additions"]].any()))),
        _refused(after),
    )


def finished_recording(seen: Observed, rules: StageRules) -> Recording:
    """The recording of a log without the sessions that its end cut off among the finished ones."""
    whole = recording_of(seen, rules)
    return whole._replace(finished=whole.finished.take(whole.finished.t <= seen.last_ms))


def _refused(recording: Recording) -> str:
    try:
        split_rows(recording, TrainConfig())
    except SettingsError as error:
        return str(error)
    return ""


def _warnings(shares: dict[str, dict[str, float]], *, with_carts: bool) -> Iterator[str]:
    for stage, share in shares.items():
        if stage == STAGES[INTENT_BUYER] and not with_carts:
            yield (
                f"nobody adds anything to a cart, so nobody is an {stage}: `clickstage train` makes a model of the "
                "other three stages. If the shop has carts, send add_to_cart"
            )
        elif share["rows"] < 0.002:
            yield f"{stage} gets {share['rows']:.2%} of the rows: `clickstage train` may refuse to learn it from so few"


def visit_gaps(events: list[SimEvent]) -> Gaps:
    """Gaps between the interactions of each session id, and the visits whose 30 minutes of silence the log covers."""
    sessions: dict[bytes, list[int]] = {}
    for key, value, t in events:
        if decode_unchecked(value).type not in PASSIVE:
            sessions.setdefault(key, []).append(t)
    if not sessions:
        return Gaps(np.empty(0), 0)
    all_gaps = np.concatenate([np.diff(np.sort(times)) for times in sessions.values()]) / 1000.0
    horizon = events[-1][2] - 1000.0 * SESSION_GAP_S
    ended = sum(max(times) <= horizon for times in sessions.values())
    splits = all_gaps >= SESSION_GAP_S
    return Gaps(all_gaps[~splits], int(ended + splits.sum()))


def stage_shares(recording: Recording) -> dict[str, dict[str, float]]:
    """Share of each stage among the rows a worker would score and among finished sessions."""
    return {
        name: {
            "rows": float((recording.live.stages == stage).mean()),
            "finished": float((recording.finished.stages == stage).mean()) if recording.finished.t.size else 0.0,
        }
        for stage, name in enumerate(STAGES)
    }


def _propose(
    events: list[SimEvent], seen: Observed, before: Recording, gaps: Gaps, aims: Aims
) -> tuple[StageRules, dict[str, str]]:
    default = StageRules()
    cap = default.gap_cap_s
    idle = _active_idle(before, aims.active)
    if idle * _MARGIN * N_GAPS > cap:  # a slow shop: five capped gaps could not reach the threshold
        cap = 1_799.0
        idle = _active_idle(record([events], StageRules(gap_cap_s=cap)), aims.active)
        idle = min(idle, cap / N_GAPS / _MARGIN)
        cap = min(cap, _ceil(idle * _MARGIN * N_GAPS * 1.25))
    idle = max(_nice(idle), 1.0)
    idle_mean = min(_nice(idle * _MARGIN), cap / N_GAPS)
    longest = min(cap, SESSION_GAP_S / 2)
    after = next((x for x in np.geomspace(idle, longest, 60) if gaps.gone(x) >= aims.gone), longest)
    finished = before.finished
    several = finished.X[:, _COLUMN["num_clicks"]] >= 2
    short = max(60.0, _nice(float(np.quantile(finished.X[several, 0], 0.95))) if several.any() else 0.0)
    pages, clicks, duration, reached = _evaluator(finished.X, aims.evaluators)
    items, buyers = items_of_buyers(seen, default) or _buyer(finished.X[:, _COLUMN["cart_additions"]])
    rules = StageRules(
        idle_s=idle,
        engagement_below_per_s=default.engagement_below_per_s,
        short_session_s=short,
        buyer_cart_additions=items,
        evaluator_pages=pages,
        evaluator_clicks=clicks,
        evaluator_duration_s=duration,
        idle_after_s=_nice(float(after)),
        gap_cap_s=cap,
        idle_mean_s=max(idle_mean, idle),
    )
    return rules, {
        "idle_s": f"{aims.active:.0%} of the rows of shoppers who went on clicking lie below",
        "engagement_below_per_s": "kept: it only exempts inhuman bursts",
        "short_session_s": "95% of the sessions with two clicks or more are shorter",
        "buyer_cart_additions": buyers,
        "evaluator_pages": f"{reached:.1%} of the finished sessions reach pages, clicks and duration",
        "evaluator_clicks": "as above",
        "evaluator_duration_s": "as above",
        "idle_after_s": f"of the shoppers silent for so long, {gaps.gone(float(after)):.0%} do not come back",
        "gap_cap_s": "kept" if cap == default.gap_cap_s else "raised: five gaps must be able to reach idle_mean_s",
        "idle_mean_s": f"{_MARGIN} times idle_s, so that the model is sure",
    }


def _active_idle(recording: Recording, share: float) -> float:
    """The ``share`` quantile of idle_time at events that another event of the session followed in time."""
    live = recording.live
    order = np.argsort(live.session, kind="stable")
    session, kind = live.session[order], live.kind[order]
    idle = live.X[order, _COLUMN["idle_time"]]
    went_on = np.append((session[1:] == session[:-1]) & (kind[1:] == EVENT_ROW), False)
    chosen = went_on & (kind == EVENT_ROW) & (live.X[order, _COLUMN["time_between_clicks"]] > 0)
    if not chosen.any():
        raise SettingsError("no shopper went on after a second click; give events of longer visits")
    return float(np.quantile(idle[chosen], share))


def _evaluator(X: NDArray[np.float64], share: float) -> tuple[int, int, float, float]:
    """Pages, clicks and seconds at the highest common quantile at which ``share`` of the sessions reach all three."""
    columns = X[:, [_COLUMN["pages_viewed"], _COLUMN["num_clicks"], _COLUMN["session_duration"]]]
    best = (1, 2, 1.0, 0.0)
    for q in np.linspace(0.999, 0.5, 500):
        pages, clicks, duration = np.quantile(columns, q, axis=0)
        limits = (min(64, max(3, int(pages))), max(5, int(clicks)), max(10.0, _nice(float(duration))))
        reached = float((columns >= limits).all(axis=1).mean())
        best = (*limits, reached)
        if reached >= share:
            break
    return best


def _buyer(additions: NDArray[np.float64]) -> tuple[int, str]:
    """Items from which on a session is a Buyer's where no purchase tells, and the share of sessions that reach it."""
    items = 2
    if not additions.any():
        return items, "kept: nobody adds anything to a cart"
    if float((additions >= 2).mean()) < _FEWEST_BUYERS:
        items = 1
    while float((additions >= items).mean()) > _MOST_BUYERS:
        items += 1
    return items, f"{float((additions >= items).mean()):.1%} of the finished sessions reach it"


def _examples(recording: Recording, each: int = 3) -> dict[str, list[dict[str, Any]]]:
    """Some sessions of each stage, as they were at their last scored row of that stage; long ones and short ones."""
    live = recording.live
    examples = {}
    for stage, name in enumerate(STAGES):
        rows = np.flatnonzero(live.stages == stage)
        last = {int(live.session[row]): int(row) for row in rows}
        chosen = list(last.values())
        picked = [chosen[i] for i in np.unique(np.linspace(0, len(chosen) - 1, each).astype(int))] if chosen else []
        examples[name] = [
            {"session_id": recording.names[int(live.session[row])]}
            | {
                feature: round(float(live.X[row, j]), 2)
                for feature, j in _COLUMN.items()
                if not np.isnan(live.X[row, j])
            }
            for row in picked
        ]
    return examples


def _nice(value: float) -> float:
    """Two significant digits."""
    return float(f"{value:.2g}")


def _ceil(value: float) -> float:
    return float(np.ceil(value / 60.0) * 60.0)


def main(arguments: Sequence[str]) -> int:
    """``clickstage calibrate``: print the proposal, write it if asked to; returns the exit code.

    Raises:
        SettingsError: if the events cannot be read or are too few, or an option is wrong.
    """
    aims = Aims()
    parser = argparse.ArgumentParser(prog="clickstage calibrate", description="Thresholds from a shop's own sessions.")
    parser.add_argument(
        "events", type=Path, metavar="EVENTS", help="events of the contract, one a line (or .gz), or a table of events"
    )
    parser.add_argument("--type", action="append", default=[], metavar="NAME=TYPE", help=TYPE_HELP)
    parser.add_argument(
        "--max-bad-lines", type=int, metavar="N", help="leave out, count and name up to N lines that are no events"
    )
    parser.add_argument("--out", type=Path, metavar="RULES.yaml", help="write the rule file (.yaml or .json)")
    parser.add_argument("--active", type=float, default=aims.active, help="share of active rows below idle_s (0.95)")
    parser.add_argument("--gone", type=float, default=aims.gone, help="share of the silent that stay away (0.75)")
    parser.add_argument("--evaluators", type=float, default=aims.evaluators, help="share of Evaluators (0.05)")
    options = parser.parse_args(arguments)
    aims = Aims(options.active, options.gone, options.evaluators)
    for name, share in aims._asdict().items():
        if not 0 < share < 1:
            raise SettingsError(f"--{name} {share:g}: give a share between 0 and 1")
    proposal = calibrate(read_events(options.events, options.max_bad_lines, own_types(options.type)), aims)
    show(proposal, Console())
    if options.out is not None:
        save_rules(proposal.rules, options.out)
        Console().print(f"Wrote {options.out}. {_next(proposal, options)}", soft_wrap=True)
    return 0


def _next(proposal: Calibration, options: argparse.Namespace) -> str:
    if not proposal.refused:
        own = "".join(f" --type {told}" for told in options.type)
        return f"Next: clickstage train --rules {options.out} --events {options.events}{own}"
    return (
        f"This log is too short to train on, and `clickstage train` would refuse it:\n{proposal.refused}\n"
        f"Next: record a longer one, a day if you can, and run clickstage calibrate on it again"
    )


def show(proposal: Calibration, console: Console) -> None:
    """The proposal as tables."""
    console.print(
        f"{proposal.events:,} events, {proposal.visits:,} finished sessions, {proposal.cut_off:,} cut off by the end "
        f"of the log and not counted as finished; "
        f"{proposal.median_gap_s:.1f} s between clicks (median), {proposal.mean_gap_s:.1f} s (mean)"
    )
    thresholds = Table("threshold", "default", "proposed", "why", title="Rules")
    default = StageRules()
    for name, why in proposal.why.items():
        thresholds.add_row(name, f"{getattr(default, name):g}", f"{getattr(proposal.rules, name):g}", why)
    console.print(thresholds)
    shares = Table(
        "stage", "rows, default", "rows", "finished, default", "finished", title="What they make of this shop"
    )
    for stage in STAGES:
        old, new = proposal.default_shares[stage], proposal.shares[stage]
        shares.add_row(
            stage, *(f"{share:.1%}" for share in (old["rows"], new["rows"], old["finished"], new["finished"]))
        )
    console.print(shares)
    console.print(_outcome_table(proposal.before, proposal.after))
    examples = Table(
        "stage", "session", "seconds", "clicks", "pages", "added", "idle s", title="Sessions of each stage"
    )
    for stage, rows in proposal.examples.items():
        for row in rows:
            values = (row[name] for name in FEATURES[:4])
            examples.add_row(stage, row["session_id"], *(f"{v:g}" for v in values), f"{row['idle_time']:g}")
    console.print(examples)
    for warning in proposal.warnings:
        console.print(f"Note: {warning}")


def _outcome_table(before: VisitOutcomes, after: VisitOutcomes) -> Table:
    """What became of shoppers, beside what the rules said of them."""
    table = Table("of", "share who", "default", "proposed", title=f"By outcome ({before.buyers:,} sessions bought)")
    for of, who, name in (
        ("Drop-Off Risk", "came back unaided: false alarms", "returned"),
        ("buyers", "were Intent Buyers before they bought", "reached"),
        ("Intent Buyers", "then bought", "precise"),
    ):
        shares = [getattr(outcomes, name) for outcomes in (before, after)]
        table.add_row(of, who, *("-" if np.isnan(share) else f"{share:.1%}" for share in shares))
    return table
