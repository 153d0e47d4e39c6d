"""Printed commands that need no server do what the page says, in the order of the page and in an empty folder."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.unit.docs.test_commands import PAGES, ROOT, printed_lines, words_of

ALONE: Final = {"train", "simulate", "calibrate", "score", "evaluate"}
"""Commands that need files alone."""
OWN_LOG: Final = "clickstage simulate --sessions 5000 --rate 0.06 --out events.jsonl"
"""A day of events: the README calls that enough. In a busy hour nobody comes back, and `train` refuses it."""
_FOR_SERVERS: Final = {"--live", "--search", "--outcomes"}
"""Options with which one needs a server, or far longer than it takes to read the page."""


def _commands(page: Path) -> list[str]:
    found = []
    for line in printed_lines(page):
        words = words_of(line, "clickstage")
        if words and words[0] in ALONE and not _FOR_SERVERS & set(words):
            found.append(line)
    return found


def _pages() -> list[Any]:
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES if _commands(page)]


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", _pages())
def test_printed_commands_run_one_after_the_other(page: Path, tmp_path: Path) -> None:
    """What an earlier command of the page writes, a later one finds; a day of the shop's own log is simulated."""
    command_file = tmp_path / "bin" / "clickstage"
    command_file.parent.mkdir()
    command_file.write_text(f'#!/bin/sh\nexec {sys.executable} -m worker "$@"\n')
    command_file.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CLICKSTAGE_")}
    environment |= {"PATH": f"{command_file.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    (tmp_path / "models").symlink_to(ROOT / "models")
    for command in [OWN_LOG, *_commands(page)]:
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2_000:]}{done.stderr[-2_000:]}"
