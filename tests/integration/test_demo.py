"""The README's first command: the main job on the embedded stack."""

import pytest

from tests.integration.test_ctrl_c import Terminal
from worker.cli import main


def test_the_demo_runs_until_ctrl_c_and_its_self_check_agrees() -> None:
    """Its own processes end in their order: no record is left unapplied, and no client loses its server."""
    terminal = Terminal("demo", "--shoppers", "300")
    terminal.wait_for("newest decisions")
    assert terminal.press_ctrl_c() == 0, terminal.shown[-3_000:]
    assert "Traceback" not in terminal.shown, terminal.shown[-3_000:]
    assert "self-check: " in terminal.shown
    assert "has a decision" in terminal.shown


@pytest.mark.parametrize("flag", ["--seconds", "--shoppers"])
@pytest.mark.parametrize("value", ["0", "-3", "nan", "many"])
def test_what_would_not_end_or_not_begin_is_refused(flag: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["demo", f"{flag}={value}"])
    assert left.value.code == 2
    assert f"argument {flag}: '{value}' is not a" in capsys.readouterr().err
