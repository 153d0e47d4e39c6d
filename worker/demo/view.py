"""The live view in the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from decisions.document import Decision
from featurestore.session.stages import STAGES

COLOURS = {"Explorer": "cyan", "Evaluator": "yellow", "Intent Buyer": "green", "Drop-Off Risk": "red"}


@dataclass(frozen=True, slots=True)
class Figures:
    """What the view shows; also what ``--json`` writes."""

    seconds: float
    events_produced: int
    events_applied: int
    dead_letters: int
    sessions: int
    decisions: int
    events_per_s: float
    p50_ms: float
    p99_ms: float
    lag: float
    stages: dict[str, float]


def render(figures: Figures, latest: Sequence[Decision], story: Sequence[Decision]) -> RenderableType:
    """The whole screen."""
    head = Text.assemble(
        (f" {figures.events_per_s:,.0f} ", "bold"), "events/s   ",
        (f"{figures.events_applied:,}", "bold"), f" of {figures.events_produced:,} applied   ",
        (f"{figures.dead_letters}", "bold"), " dead letters   ",
        (f"{figures.sessions:,}", "bold"), " sessions   event to decision ",
        (f"{figures.p50_ms:.1f} ms", "bold"), " median, ",
        (f"{figures.p99_ms:.1f} ms", "bold"), " p99",
    )  # fmt: skip
    return Group(
        Panel(head, title=f"Clickstage demo · {figures.seconds:.0f} s", title_align="left"),
        Panel(_shares(figures.stages), title="decisions by stage", title_align="left"),
        Panel(_table(list(latest)), title="newest decisions", title_align="left"),
        Panel(_story(story), title="one session, followed", title_align="left"),
    )


def _shares(stages: dict[str, float]) -> Table:
    table = Table.grid(padding=(0, 2))
    total = sum(stages.values()) or 1.0
    for stage in STAGES:
        share = stages.get(stage, 0.0) / total
        table.add_row(Text(stage, COLOURS[stage]), f"{share:6.1%}", Text("█" * round(share * 50), COLOURS[stage]))
    return table


def _table(latest: Sequence[Decision]) -> Table:
    table = Table(box=None, padding=(0, 2), expand=False)
    for name in ("session", "stage", "sure", "action", "route"):
        table.add_column(name, justify="right" if name == "sure" else "left", style="dim" if name == "session" else "")
    for decision in latest:
        table.add_row(
            decision.session_id,
            Text(decision.stage, COLOURS[decision.stage]),
            f"{decision.confidence:.0%}",
            decision.action,
            decision.route,
        )
    return table


def _story(story: Sequence[Decision]) -> RenderableType:
    if not story:
        return Text("waiting for a session that changes its stage", "dim")
    table = Table.grid(padding=(0, 2))
    table.add_row(Text(story[0].session_id, "dim"), "", "", "", "")
    for decision in story[-7:]:
        at = datetime.fromtimestamp(decision.event_ts / 1000, UTC).strftime("%H:%M:%S")
        table.add_row(
            at,
            Text(decision.stage, COLOURS[decision.stage]),
            f"{decision.confidence:.0%}",
            decision.action,
            Text("; ".join(decision.reasons), "dim"),
        )
    return table
