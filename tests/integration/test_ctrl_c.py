"""Ctrl-C reaches every process of the terminal's group; a command ends with a line that says so, and no traceback."""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Final

import pytest

from tests.proof_eshop import Stack
from tests.services import RedisServer
from tests.services.kafka_broker import Kafka

ENDS_WITHIN_S: Final = 30
"""What hangs is found by this; how fast it is shows on a machine that is not busy."""
_IN_TERMINAL: Final = (  # who starts the tests in the background has them ignore SIGINT, and their children too
    "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.executable, [sys.executable, '-m', 'worker', *sys.argv[1:]])"
)


class Terminal:
    """A command in a terminal of 80x24 of its own."""

    def __init__(self, *arguments: str) -> None:
        self._keyboard, screen = pty.openpty()
        fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _IN_TERMINAL, *arguments],
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("CLICKSTAGE_")} | {"TERM": "xterm"},
        )
        os.close(screen)
        self.shown = ""

    def wait_for(self, text: str, within_s: float = 240) -> None:
        """Read until ``text`` is on the screen."""
        until = time.monotonic() + within_s
        while text not in self.shown:
            assert time.monotonic() < until, f"{text!r} never came:\n{self.shown[-3_000:]}"
            if not self._read(1.0):
                pytest.fail(f"it ended before {text!r} came:\n{self.shown[-3_000:]}")

    def press_ctrl_c(self) -> int:
        """The exit code after Ctrl-C."""
        os.write(self._keyboard, b"\x03")
        until = time.monotonic() + ENDS_WITHIN_S
        while self._read(0.5):
            if time.monotonic() > until:
                os.killpg(self._process.pid, 9)
                pytest.fail(f"it does not end:\n{self.shown[-3_000:]}")
        os.close(self._keyboard)
        return self._process.wait(10)

    def _read(self, wait_s: float) -> bool:
        ready, _, _ = select.select([self._keyboard], [], [], wait_s)
        if not ready:
            return self._process.poll() is None
        try:
            new = os.read(self._keyboard, 65_536)
        except OSError:  # the last process that had the terminal is gone
            return False
        self.shown += new.decode(errors="replace")
        return bool(new)


@pytest.fixture
def stack(kafka: Kafka, redis_server: RedisServer, unique: str) -> Stack:
    made = Stack(kafka.bootstrap, redis_server, unique)
    made.make_topics()
    return made


def _ended(terminal: Terminal, line: str, codes: tuple[int, ...] = (130,)) -> None:
    code = terminal.press_ctrl_c()
    assert code in codes, terminal.shown[-3_000:]
    assert "Traceback" not in terminal.shown, terminal.shown[-3_000:]
    assert line in terminal.shown, terminal.shown[-3_000:]


def test_a_command_without_servers_ends_at_ctrl_c(tmp_path: Path) -> None:
    terminal = Terminal("simulate", "--live", "20")
    terminal.wait_for("session_id")
    _ended(terminal, " events")
    assert "stopped after" in terminal.shown
    terminal = Terminal("train", "--out", str(tmp_path), "--sessions", "4000")
    terminal.wait_for("run events through the fold")
    _ended(terminal, "clickstage train: stopped")
    assert not any(tmp_path.iterdir()), "a bundle is written whole, or not at all"


@pytest.mark.parametrize("flavour", ["valkey"])
def test_a_command_on_real_servers_ends_at_ctrl_c(stack: Stack, tmp_path: Path) -> None:
    s = stack.settings()
    flags = ["--kafka", s.kafka, "--topic", s.topic]
    terminal = Terminal("shoppers", "--shoppers", "5", *flags)
    terminal.wait_for("shoppers are coming")
    _ended(terminal, "the shop is closed", (0,))
    file = tmp_path / "clicks.jsonl"
    events = [{"session_id": "s", "type": "click", "ts": 1_700_000_000_000 + 500 * i} for i in range(100_000)]
    file.write_text("\n".join(map(json.dumps, events)))
    terminal = Terminal("replay", "--format", "jsonl", "--speed", "1000", str(file), *flags)
    terminal.wait_for("of 100000 events (")
    _ended(terminal, "stopped: ")
    outputs = ["--decisions-topic", s.decisions_topic, "--sessions-topic", s.sessions_topic, "--dlq-topic", s.dlq_topic]
    own = ["--group", s.group, "--redis", stack.redis.url, "--metrics-port", "0", "--metrics-host", "127.0.0.1"]
    terminal = Terminal("worker", *flags, *outputs, *own)
    terminal.wait_for("worker started")
    _ended(terminal, "worker stopped", (0,))
