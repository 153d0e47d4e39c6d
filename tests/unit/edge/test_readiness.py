"""Readiness speaks for every process behind the port."""

import os
import subprocess
from pathlib import Path

from edge.readiness import FRESH_S, PREFIX, Readiness, Works

ALL = Works(events=True, kafka=True, decisions=True)
NONE = Works(events=False, kafka=False, decisions=False)
BEFORE_KAFKA = Works(events=True, kafka=False, decisions=False)


def _beside(directory: Path, works: Works, age_s: float = 0.0, pid: int = 0) -> None:
    """What another process told."""
    Readiness(str(directory), 2).tell(works)
    told = (directory / f"{PREFIX}{os.getpid()}").rename(directory / f"{PREFIX}{pid or os.getppid()}")
    at = told.stat().st_mtime - age_s
    os.utime(told, (at, at))


def test_a_process_alone_speaks_for_itself() -> None:
    assert Readiness("", 1).of_all(BEFORE_KAFKA) == BEFORE_KAFKA


def test_what_works_works_in_all_processes(tmp_path: Path) -> None:
    _beside(tmp_path, ALL)
    assert Readiness(str(tmp_path), 2).of_all(ALL) == ALL
    _beside(tmp_path, BEFORE_KAFKA)
    assert Readiness(str(tmp_path), 2).of_all(ALL) == BEFORE_KAFKA


def test_while_a_process_is_missing_hangs_or_died_nothing_works(tmp_path: Path) -> None:
    assert Readiness(str(tmp_path), 2).of_all(ALL) == NONE
    _beside(tmp_path, ALL, FRESH_S + 1)
    assert Readiness(str(tmp_path), 2).of_all(ALL) == NONE
    with subprocess.Popen(["true"]) as died:
        died.wait()
    _beside(tmp_path, ALL, pid=died.pid)
    assert Readiness(str(tmp_path), 2).of_all(ALL) == NONE
