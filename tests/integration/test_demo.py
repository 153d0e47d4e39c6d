"""The README's first command: the main job on the embedded stack."""

import subprocess
import sys


def test_the_demo_runs_and_its_self_check_agrees() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "worker", "demo", "--seconds", "4"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "self-check:" in done.stdout + done.stderr
