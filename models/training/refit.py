"""A bundle whose heads expect as many outcomes as come now: new intercepts, the same trees.

When observed and expected part by a factor that is the same in all tenths, the order of shoppers still holds and only
the base rate moved. Then a head needs no new trees: the intercept of its calibration is moved until as many outcomes
are expected as came. The ends of the tenths move with it, so ``in top 20 %`` keeps meaning a fifth.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import JsonValue

from featurestore.errors import SettingsError
from models.bundle.bundle import Bundle, write_bundle
from models.heads.head import Golden, Head
from models.heads.outcomes import BUILT_IN, Outcome
from models.simulator.simulator import SimEvent
from models.training.dataset import observe_log
from models.training.outcome_fit import FEWEST_POSITIVE_VISITS, refit_intercept
from models.training.outcome_heads import deciles
from models.training.outcomes import OutcomeRows, outcome_rows


class Moved(NamedTuple):
    """One head: outcomes that came, and that were expected before and after; why it stays, if it does."""

    name: str
    observed: float
    before: float
    after: float
    stays: str = ""


def refit(
    bundle: Bundle, events: Sequence[SimEvent], version: str, directory: Path, created: str,
    outcomes: Sequence[Outcome] = BUILT_IN,
) -> tuple[Path, list[Moved]]:  # fmt: skip
    """Write the bundle under another version, with intercepts that fit the visits of ``events``.

    Args:
        bundle: to begin from.
        events: in order of time; visits that the end of the log cuts off are left out.
        version: of the new bundle.
        directory: where bundles are kept.
        created: any date or text.
        outcomes: what heads ask, by name; a head that is not among them stays as it is.

    Raises:
        SettingsError: the log has no visit that ended.
        BundleError: the bundle exists or cannot be written.
    """
    rows = outcome_rows(observe_log([events], bundle.rules, wide=True), bundle.rules, outcomes)
    if rows.visit.size == 0:
        raise SettingsError("the events hold no visit that ended; take a longer log")
    asked = {outcome.name: outcome for outcome in outcomes}
    heads, moved = [bundle.stage], []
    for head in bundle.heads.others:
        if head.name not in asked:
            heads.append(head)
            moved.append(Moved(head.name, np.nan, np.nan, np.nan, "its question is not known here"))
            continue
        fitted, told = _refitted(head, rows, asked[head.name])
        heads.append(fitted)
        moved.append(told)
    manifest = bundle.manifest
    path = write_bundle(
        directory, name=bundle.name, version=version, created=created, heads=heads, rules=bundle.rules,
        seed=manifest.seed, training=manifest.training, segments=bundle.segments,
    )  # fmt: skip
    return path, moved


def _refitted(head: Head, rows: OutcomeRows, outcome: Outcome) -> tuple[Head, Moved]:
    at = np.flatnonzero(outcome.eligible(rows.wide) & ~rows.silent)
    y = rows.label(outcome.name)[at]
    X = head.read(rows.wide[at])
    p = head.score(X)[:, 0]
    visits = int(np.unique(rows.visit[at][y]).size)
    if visits < FEWEST_POSITIVE_VISITS or y.all():
        stays = f"{visits} visits have it, {FEWEST_POSITIVE_VISITS} are needed"
        return head, Moved(head.name, float(y.sum()), float(p.sum()), float(p.sum()), stays)
    with np.errstate(divide="ignore"):
        odds = np.log(p) - np.log1p(-p)
    z = (odds - head.calibration.intercept) / head.calibration.slope
    calibration = refit_intercept(z, y, head.calibration)
    fresh = replace(head, calibration=calibration, golden=Golden(head.golden.rows, head.golden.expected.copy()))
    fresh.golden.expected[:] = fresh.score(fresh.golden.rows)
    now = fresh.score(X)[:, 0]
    known = int(np.unique(rows.visit[at]).size)
    training: dict[str, JsonValue] = {**head.training, "deciles": [*deciles(now)], "refitted_on_visits": known}
    return replace(fresh, training=training), Moved(head.name, float(y.sum()), float(p.sum()), float(now.sum()))
