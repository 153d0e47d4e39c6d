"""A server as a child process: started, stopped, killed, frozen and started again on the same port and folder."""

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Self

# Below the range from which the kernel takes the ports of outgoing connections: while a killed server is down, none of
# its clients' own sockets can end up on its port.
PORTS = range(15_000, 32_000)

_running: "weakref.WeakSet[ServerProcess]" = weakref.WeakSet()


class Unavailable(Exception):
    """The server cannot be had on this machine; the message says why and what to install."""


class StartError(RuntimeError):
    """The server is installed but did not come up; the message carries the end of its log."""


def free_port() -> int:
    """A TCP port on which nothing listens now."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def on_path(command: str, package: str) -> str:
    """The absolute path of `command`.

    Raises:
        Unavailable: it is not on the PATH; the message names the Debian package.
    """
    found = shutil.which(command)
    if found is None:
        raise Unavailable(f"no {command} on the PATH (Debian package: {package})")
    return found


class ServerProcess:
    """One server process in `directory`, with its output in `log`.

    Args:
        name: the log file's stem.
        directory: made if missing, and never removed: data survives `kill9` and `stop`.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        """The command line; asked for at every start."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether the server serves requests now; may raise OSError while it does not."""
        raise NotImplementedError

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    def start(self, timeout_s: float = 60) -> Self:
        """Start it and block until it answers.

        Raises:
            StartError: it ended, or did not answer in time.
        """
        if self.running:
            return self
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches pytest, which then stops the servers in order.
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
            )
        _running.add(self)
        process = self._process
        answered = wait_for(lambda: process.poll() is not None or self._try_answer(), timeout_s)
        if not answered or process.poll() is not None:
            self.kill9()
            raise StartError(f"{self.name} did not start; the end of {self.log}:\n{self.log_tail()}")
        return self

    def stop(self, timeout_s: float = 20) -> None:
        """End it in order (SIGTERM), by force after `timeout_s`; the data stays."""
        if self._process is None:
            return
        if self.running:
            self.thaw()
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._process = None

    def kill9(self) -> None:
        """End it at once, as a crash does; the data stays as it was on disk and in the page cache."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> Self:
        self.stop()
        return self.start()

    def freeze(self) -> None:
        """Stop it from running (SIGSTOP): connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it run on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _try_answer(self) -> bool:
        try:
            return self.answers()
        except OSError:
            return False


def wait_for(condition: Callable[[], bool], timeout_s: float, every_s: float = 0.05) -> bool:
    """Whether `condition` came true within `timeout_s`; blocks until then."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


@atexit.register
def _kill_what_is_left() -> None:
    for server in list(_running):
        server.kill9()
