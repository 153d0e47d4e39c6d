"""A worker in a process of its own: asked over HTTP, stopped, frozen, killed."""

import os
import re
import signal
import urllib.error
import urllib.request
from pathlib import Path

from tests.faults.zygote import Zygote
from tests.services.process import wait_for


class Worker:
    """A worker process.

    Attributes:
        may_fail: the test makes it end with a traceback.
    """

    def __init__(self, zygote: Zygote, pid: int, log: Path) -> None:
        self._zygote = zygote
        self.pid = pid
        self.path = log
        self.may_fail = False

    @property
    def status(self) -> int | None:
        """Exit status, None while it runs; negative for a signal."""
        return self._zygote.exits.get(self.pid)

    @property
    def log(self) -> str:
        return self.path.read_text() if self.path.exists() else ""

    def signal(self, number: int) -> None:
        if self.status is None:
            os.kill(self.pid, number)

    def kill9(self) -> None:
        """End it as a crash does."""
        self.signal(signal.SIGKILL)
        self.ended(10)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM, and the exit status within the 15 s that a worker has."""
        self.signal(signal.SIGTERM)
        return self.ended(15)

    def ended(self, timeout_s: float) -> int:
        """Wait for its end.

        Raises:
            TimeoutError: it did not come.
        """
        if not wait_for(lambda: self.status is not None, timeout_s):
            raise TimeoutError(f"worker {self.pid} did not end within {timeout_s} s:\n{self.tail()}")
        assert self.status is not None
        return self.status

    def frozen(self) -> bool:
        """Whether it is stopped by SIGSTOP."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return False
        return state == "T"

    def metrics(self) -> dict[str, float]:
        """What /metrics says, by name with labels and without the prefix."""
        text = self.http("/metrics")
        found = {}
        for line in text.splitlines():
            if line.startswith("clickstage_"):
                name, _, value = line.rpartition(" ")
                found[name.removeprefix("clickstage_")] = float(value)
        return found

    def http(self, path: str) -> str:
        """A page of the health server, an error's body too."""
        match = re.search(r"metrics on port (\d+)", self.log)
        if match is None:
            raise RuntimeError(f"worker {self.pid} has not started:\n{self.tail()}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{match[1]}{path}", timeout=5) as page:
                return str(page.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.read().decode())

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.splitlines()[-lines:])
