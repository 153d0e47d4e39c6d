"""The demo's processes: they end when the demo ends them, whatever the terminal sends."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

_ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP)


def end(process: "subprocess.Popen[Any]", wait_s: float) -> int:
    """Ask a process to end, and kill it after ``wait_s``, or when Ctrl-C comes meanwhile; its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(wait_s)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()
    return int(process.returncode)


@contextmanager
def endings_as_ctrl_c() -> Iterator[None]:
    """Take SIGTERM and a closed terminal for Ctrl-C: else the demo would go and leave its processes."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in _ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
