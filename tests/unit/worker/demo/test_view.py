"""The demo's screen is whole in a terminal of 80x24, and says what is so."""

import io
import shlex

import pytest
from rich.console import Console

from decisions.document import Decision
from featurestore.session.stages import STAGES
from worker.demo.newest import GONE_MS, TOLD, Sessions
from worker.demo.view import Figures, Places, render

T = 1_790_000_000_000
PLACES = Places("http://127.0.0.1:8200/", 41_234)
FIGURES = Figures(61.0, 1_234_567, 1_234_560, 812, 21_345, 1_200_000, 2_345.0, 12.3, 145.6, 7.0, {})


def _decision(session: str, stage: str, at: int = T, action: str = "timed-discount") -> Decision:
    return Decision(
        v=1, session_id=session, stage=stage, confidence=0.9961, probabilities=[0.0, 0.0, 0.996, 0.004], action=action,
        route="act", model="m-1", policy="p", event_ts=at, decided_at=at, source="x", seq=1, expires_at=at,
        reasons=["12 items added to the cart", "2.00 cart additions a page", "317 s idle on average"],
    )  # fmt: skip


def _screen(sessions: Sessions, lines: int = 24) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=80, height=lines, color_system=None).print(render(FIGURES, sessions, PLACES, lines))
    return out.getvalue().splitlines()


def test_the_followed_session_is_whole_at_80_by_24() -> None:
    sessions = Sessions()
    for number in range(30):
        sessions.take(_decision(f"s2a-{number}", "Explorer"))
    for turn in range(TOLD):
        sessions.take(_decision("s2a-99", STAGES[turn % 4], T + 1_000 * turn, f"action-{turn}"))
    screen = _screen(sessions)
    assert len(screen) <= 24
    assert all(len(line) <= 80 for line in screen)
    text = "\n".join(screen)
    assert all(text.count(f" action-{turn} ") >= 1 for turn in range(TOLD)), text
    assert "redis-cli -p 41234 GET decision:s2a-99 " in text
    assert "http://127.0.0.1:8200/" in text
    assert text.count(" s2a-") > 3
    assert len(_screen(sessions, 50)) > 24, "a larger terminal shows more of the newest"


def test_before_the_first_story_the_command_can_be_pasted_as_well() -> None:
    [line] = [line for line in _screen(Sessions()) if "redis-cli" in line]
    assert shlex.split(line.strip("│ "))[-1] == "decision:*"


def test_shares_are_of_sessions_by_the_stage_that_they_are_in() -> None:
    """A shopper who clicks a hundred times is one session; one who is gone for half an hour is none."""
    sessions = Sessions()
    for _ in range(100):
        sessions.take(_decision("busy", "Explorer"))
    sessions.take(_decision("buyer", "Intent Buyer"))
    sessions.take(_decision("busy", "Evaluator"))
    assert +sessions.stages == {"Evaluator": 1, "Intent Buyer": 1}
    assert any("Evaluator" in line and "50.0%" in line for line in _screen(sessions))
    sessions.take(_decision("late", "Explorer", T + GONE_MS + 1))
    assert +sessions.stages == {"Explorer": 1}


@pytest.mark.parametrize("turns", [TOLD + 1, 3 * TOLD])
def test_a_session_with_more_turns_than_lines_is_not_followed(turns: int) -> None:
    """Its end would be missing."""
    sessions = Sessions()
    sessions.take(_decision("short", "Explorer"))
    sessions.take(_decision("short", "Evaluator"))
    for turn in range(turns):
        sessions.take(_decision("long", STAGES[turn % 3], T + turn, f"a{turn}"))
        assert turn in {0, 1} or turn >= TOLD or sessions.story[0].session_id == "long"
    assert {d.session_id for d in sessions.story} == {"short"}
