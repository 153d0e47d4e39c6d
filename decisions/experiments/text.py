"""An experiment's size and its report, as text and as JSON."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from decisions.experiments import stats
from decisions.experiments.report import SRM_P, ByShown, Population, Report
from decisions.experiments.stats import Interval

SHOWN: Final = "- by shown"
"""The rows of those who were really shown the benefit."""


def render(report: Report, bound: float | None = None) -> str:
    """A report as text; ``bound`` is the |z| of a sequential look."""
    lines = [
        f"experiment {report.experiment}, salt {report.salt_version}, by {report.unit}, against {report.control!r}"
    ]
    lines += [f"  left out: {n:,} {what}" for what, n in report.dropped.items()]
    for population in report.populations:
        lines += ["", f"{'all sessions' if population.name == 'all' else f'sessions that were in {population.name}'}"]
        lines += _population_lines(population, report.control, bound)
    if report.benefit:
        shown = ", ".join(report.benefit)
        lines += ["", f"who was shown {shown}: share against the highest group, four-fifths rule"]
        for g in report.groups:
            share = f"{g.shown / g.sessions:.1%}" if g.sessions else "-"
            ratio = (
                "" if math.isnan(g.ratio.value) else f"{g.ratio.value:.2f} ({g.ratio.low:.2f} .. {g.ratio.high:.2f})"
            )
            lines.append(f"  {g.grouping:8} {g.name:12} {g.sessions:>8,} {share:>7}  {ratio:22} {g.verdict}")
    return "\n".join(line.rstrip() for line in lines)


def _population_lines(population: Population, control: str, bound: float | None) -> Iterator[str]:
    verdict = "ok" if population.srm_p >= SRM_P else "MISMATCH: do not trust the figures below"
    yield f"  sample ratio: chi-square {population.srm_chi_square:.2f}, p {_p(population.srm_p)}: {verdict}"
    n, bought = population.counts[control]
    yield f"  {'arm':14} {'sessions':>9} {'bought':>7} {'rate':>7}  {'lift (95 %)':28} {'difference in points':26} p"
    yield f"  {control:14} {n:>9,} {bought:>7,} {_rate(bought, n):>7}"
    if population.comparisons and (first := population.comparisons[0].by_shown) is not None:
        n, bought = first.control_sessions, first.control_bought
        yield f"  {SHOWN:14} {n:>9,} {bought:>7,} {_rate(bought, n):>7}"
    for c in population.comparisons:
        lift = _percent(c.lift, "%", 100)
        difference = _percent(c.difference, "", 100, 2)
        stop = "" if bound is None else f"  |z| {abs(c.z):.2f}, stop from {bound:.2f}"
        yield (
            f"  {c.arm:14} {c.sessions:>9,} {c.bought:>7,} {_rate(c.bought, c.sessions):>7}  {lift:28} {difference:26} "
            f"{_p(c.p)}{stop}"
        )
        if c.by_shown is not None:
            yield _shown_line(c.by_shown)
        yield f"  {'':14} order value per session {_percent(c.value_per_session, '', 1, 2)}"


def _shown_line(shown: ByShown) -> str:
    lift, difference = _percent(shown.lift, "%", 100), _percent(shown.difference, "", 100, 2)
    n, bought = shown.sessions, shown.bought
    return f"  {SHOWN:14} {n:>9,} {bought:>7,} {_rate(bought, n):>7}  {lift:28} {difference:26}"


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.0005 else "<0.001"


def _rate(hits: int, n: int) -> str:
    return f"{hits / n:.2%}" if n else "-"


def _percent(x: Interval, unit: str, scale: float, digits: int = 1) -> str:
    if math.isnan(x.value):
        return "too few"
    value, low, high = (f"{v * scale:+.{digits}f}" for v in (x.value, x.low, x.high))
    return f"{value}{unit and ' ' + unit} ({low} .. {high})"


def render_size(size: stats.Size, looks: int) -> str:
    """The text of ``clickstage experiment size``."""
    asked = f"baseline {size.baseline:.2%}, relative lift {size.lift:.0%}"
    lines = [
        f"{asked}, alpha {size.alpha:g} two-sided, power {size.power:g}",
        f"one look: {size.per_arm:,} sessions per arm",
    ]
    if looks > 1:
        plan = stats.sequential_size(size, looks)
        bounds = "  ".join(f"{b:.3f}" for b in plan.bounds)
        lines += [
            f"{looks} looks (O'Brien-Fleming spending): at most {plan.per_arm:,} per arm ({plan.inflation - 1:+.1%})",
            f"  stop when |z| reaches: {bounds}",
            f"  on average {plan.expected_lift:,} per arm if the lift is real, {plan.expected_null:,} if there is none",
        ]
    return "\n".join(lines)


def to_json(reports: Sequence[Report]) -> str:
    """The reports as JSON, with null for what cannot be computed."""
    plain = json.loads(msgspec.json.encode(reports))
    return json.dumps(plain, indent=2)
