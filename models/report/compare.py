"""Ours beside the published figure, with the deviation in points, and words for each one beyond two points."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from models.report.html import DASH, MINUS, Markup, badge, bullets, table, text

LIMIT_POINTS: Final = 2.0


@dataclass(frozen=True)
class Figure:
    """One compared figure: both as fractions. ``why`` must explain a deviation beyond two points, should there be one.

    Raises:
        ValueError: without a reason, so that no deviation can go unexplained.
    """

    label: str
    ours: float
    published: float
    why: str
    percent: bool = True

    def __post_init__(self) -> None:
        if not self.why.strip():
            raise ValueError(f"{self.label}: say why it may deviate from P")

    @property
    def points(self) -> float:
        """Ours minus the published one, in percentage points."""
        return 100 * (self.ours - self.published)

    @property
    def deviates(self) -> bool:
        return abs(round(self.points, 2)) > LIMIT_POINTS


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as percent without the sign, or a dash."""
    return DASH if value is None or math.isnan(value) else f"{100 * value:.{digits}f}"


def fraction(value: float | None, digits: int = 3) -> str:
    """A fraction as .123, or a dash."""
    if value is None or math.isnan(value):
        return DASH
    shown = f"{value:.{digits}f}"
    return shown[1:] if shown.startswith("0.") else shown


def signed(points: float) -> str:
    """Points with their sign."""
    return f"{points:+.1f}".replace("-", MINUS)


def deviation(figure: Figure) -> Markup:
    """The deviation, marked where it needs an explanation."""
    return badge(signed(figure.points), "far" if figure.deviates else "near")


def comparison(figures: Iterable[Figure], caption: str = "", name: str = "") -> Markup:
    """A table of the figures and, below it, the reasons for those that deviate."""
    rows = list(figures)
    shown = table(
        (name, "ours", "P", "deviation, points"),
        [(row.label, _show(row, row.ours), _show(row, row.published), deviation(row)) for row in rows],
        caption,
    )
    return Markup(shown + reasons(rows))


def matrix(head: Iterable[str], lines: Iterable[tuple[str, list[Figure]]], caption: str = "") -> Markup:
    """Several figures a line, each as ours, P's and the deviation; the reasons below."""
    shown = list(lines)
    rows = [(name, *(_cell(row) for row in figures)) for name, figures in shown]
    return Markup(table(tuple(head), rows, caption) + reasons(row for _, figures in shown for row in figures))


def reasons(figures: Iterable[Figure]) -> Markup:
    """Each reason once, with the figures it explains; empty if nothing deviates."""
    labels: dict[str, list[str]] = {}
    for row in figures:
        if row.deviates:
            labels.setdefault(row.why, []).append(f"{row.label} {signed(row.points)}")
    if not labels:
        return Markup('<p class="fine">No deviation beyond two points.</p>')
    return bullets(
        (Markup(f"<b>{text('; '.join(names))}.</b> {text(why)}") for why, names in labels.items()), kind="why"
    )


def _cell(row: Figure) -> Markup:
    return Markup(f"{_show(row, row.ours)}<small>P {_show(row, row.published)}</small>{deviation(row)}")


def _show(row: Figure, value: float) -> str:
    return percent(value) + " %" if row.percent else fraction(value)
