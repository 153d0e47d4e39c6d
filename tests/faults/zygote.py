"""Starts workers in a fraction of a second: forks them from a process that has everything loaded and nothing connected.

The child runs ``clickstage worker`` as the command line does; clients are made after the fork, as they must be. One
test starts a worker by the real command, to hold the two equal.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from queue import Queue
from typing import Any

REPOSITORY = Path(__file__).parents[2]
PR_SET_PDEATHSIG = 1


class Zygote:
    """The parent of the workers under test.

    Attributes:
        exits: exit status by pid, negative for a signal.
    """

    def __init__(self, bundle: Path, log: Path) -> None:
        self.exits: dict[int, int] = {}
        self._born: Queue[int] = Queue()
        self._log = log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.zygote", str(bundle)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                cwd=REPOSITORY,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def fork(self, environment: dict[str, str], log: Path, patches: list[list[Any]]) -> int:
        """Start a worker and return its pid."""
        assert self._process.stdin is not None
        order = {"env": environment, "log": str(log), "patches": patches}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        pid = self._born.get(timeout=60)
        if pid == 0:
            raise RuntimeError(f"the zygote ended:\n{self._log.read_text()[-3000:]}")
        return pid

    def close(self) -> None:
        """End it and what it has started."""
        self._process.kill()
        self._process.wait()
        self._reader.join(5)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "born" in said:
                self._born.put(said["born"])
            else:
                self.exits[said["pid"]] = said["status"]
        self._born.put(0)


def _main(bundle: str) -> None:
    from tests.faults import patches
    from worker import cli
    from worker.checks.recompute import engine_for
    from worker.commands import worker as command  # noqa: F401 - loaded before the forks

    engine_for(Path(bundle), patches.FOLD, "t").warm_up()
    signal.signal(signal.SIGCHLD, _reap)
    while line := sys.stdin.readline():
        order = json.loads(line)
        pid = os.fork()
        if pid:
            os.write(1, f'{{"born": {pid}}}\n'.encode())
            continue
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order["env"])
        code = 70
        try:
            patches.apply(order["patches"])
            code = cli.main(["worker"])
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)


def _reap(_signal: int, _frame: object) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        os.write(1, f'{{"pid": {pid}, "status": {os.waitstatus_to_exitcode(status)}}}\n'.encode())


if __name__ == "__main__":
    _main(sys.argv[1])
