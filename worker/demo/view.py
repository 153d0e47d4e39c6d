"""The live view in the terminal. It fits into 80 columns and 24 lines, and shows more where there is room."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from decisions.document import Decision
from featurestore.session.stages import STAGES
from featurestore.store.keys import decision_key
from worker.demo.newest import Sessions

COLOURS = {"Explorer": "cyan", "Evaluator": "yellow", "Intent Buyer": "green", "Drop-Off Risk": "red"}
LINES: Final = 24
_FIXED: Final = 5 + 6 + 2 + 8
"""Lines of the other panels: figures, stages, the frame of the newest decisions, the story."""
_BAR: Final = 40
_REASONS: Final = 22
"""Columns that are left of 80 for the strongest reason."""


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


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look further."""

    shop: str
    redis_port: int


def render(figures: Figures, sessions: Sessions, places: Places, lines: int = LINES) -> RenderableType:
    """The whole screen, ``lines`` high where that is 24 or more."""
    head = Text.assemble(
        (f"{figures.events_per_s:,.0f}", "bold"), " events/s · ",
        (f"{figures.events_applied:,}", "bold"), " applied · ",
        (f"{figures.dead_letters:,}", "bold"), " dead letters · ",
        (f"{figures.sessions:,}", "bold"), " sessions",
        "\nwalk through the shop: ", (places.shop, "bold"),
        "\n", (command(places.redis_port, sessions.story), "dim"),
        no_wrap=True, overflow="ellipsis",
    )  # fmt: skip
    latency = f"event to decision {figures.p50_ms:.1f} ms, p99 {figures.p99_ms:.1f} ms"
    title = f"Clickstage demo · {figures.seconds:.0f} s · {latency}"
    newest = list(sessions.latest)[: max(3, lines - _FIXED)]
    return Group(
        Panel(head, title=title, title_align="left"),
        Panel(_shares(sessions.stages), title="sessions by stage, now", title_align="left"),
        Panel(_table(newest), title="newest decisions", title_align="left"),
        Panel(_story(sessions.story), title=_followed(sessions.story), title_align="left", height=8),
    )


def command(redis_port: int, story: Sequence[Decision]) -> str:
    """A command to paste: what a front end reads, of the session that is followed."""
    keys = f"GET {decision_key(story[0].session_id)}" if story else "--scan --pattern 'decision:*'"
    return f"redis-cli -p {redis_port} {keys}"


def sure(confidence: float) -> str:
    """A probability in whole per cent. No model is certain: what would round to 100 is more than 99.

    >>> sure(0.874), sure(0.9961)
    ('87%', '>99%')
    """
    return ">99%" if confidence >= 0.995 else f"{confidence:.0%}"


def _shares(stages: Mapping[str, int]) -> Table:
    now = Counter(stages)
    table = Table.grid(padding=(0, 2))
    for column in ("left", "right", "right", "left"):
        table.add_column(justify=column, no_wrap=True)
    total = max(now.total(), 1)
    for stage in STAGES:
        share = now[stage] / total
        bar = "█" * round(share * _BAR)
        table.add_row(Text(stage, COLOURS[stage]), f"{now[stage]:,}", f"{share:.1%}", Text(bar, COLOURS[stage]))
    return table


def _row(table: Table, first: str, decision: Decision, last: str) -> None:
    stage = Text(decision.stage, COLOURS[decision.stage])
    table.add_row(Text(first, "dim"), stage, sure(decision.confidence), decision.action, Text(last, "dim"))


def _rows() -> Table:
    table = Table.grid(padding=(0, 2))
    for width in (9, 13, 4, 20):
        table.add_column(justify="right" if width == 4 else "left", no_wrap=True, overflow="ellipsis", width=width)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=_REASONS)
    return table


def _table(newest: Sequence[Decision]) -> Table:
    table = _rows()
    for decision in newest:
        _row(table, decision.session_id, decision, decision.route)
    return table


def _followed(story: Sequence[Decision]) -> str:
    return f"one session, followed: {story[0].session_id}" if story else "one session, followed"


def _story(story: Sequence[Decision]) -> RenderableType:
    if not story:
        return Text("waiting for a session that changes its stage", "dim")
    table = _rows()
    for turn in story:
        at = datetime.fromtimestamp(turn.event_ts / 1000, UTC).strftime("%H:%M:%S")
        _row(table, at, turn, turn.reasons[0] if turn.reasons else "")
    return table
