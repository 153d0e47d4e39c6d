"""The whole embedded stack: Kafka and Valkey in this process, a worker and an edge in processes of their own."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from featurestore.errors import SettingsError
from worker.demo.gauges import scrape
from worker.demo.mock_kafka import MockKafka
from worker.demo.ports import free_port
from worker.demo.processes import end
from worker.demo.storefront import StorefrontEdge
from worker.demo.valkey import EmbeddedValkey
from worker.errors import ExitCode

TOPICS: Final = {"clicks": 4, "decisions": 4, "sessions": 4, "exposures": 4, "clicks.dlq": 1}
STACKS: Final = re.compile(
    r"Timeout \(|(Current t|T)hread 0x|  File \"|  \.\.\.|  Garbage-collecting|Extension modules:|$"
)
"""Begins of lines that Python's fault handler writes of a process that hangs, and empty ones: for developers."""
HUNG: Final = (ExitCode.STUCK, ExitCode.SHUTDOWN, 1)
"""Codes of a worker that got no further: its watchdog, its stop or its start took too long."""
START_S: Final = 600.0
"""Compiling takes minutes on a busy machine. A worker that hangs ends by itself long before."""
STOP_S: Final = 15.0
STOP_EARLY_S: Final = 2.0
"""A worker that is still compiling has nothing to lose, and does not look at signals for long."""


class EmbeddedStack:
    """Starts everything, and blocks until clicks are collected and decided; leaving it ends everything.

    The edge starts when the worker runs: both need the same compiled functions, and so the first start on a machine
    compiles them once, not twice.

    Args:
        folder: takes the logs.
        settings: more settings of worker and edge, as environment variables.

    Attributes:
        kafka, valkey: the servers.
        worker: the worker's process, `WorkerProcess`.
        edge: serves the shop.

    Raises:
        SettingsError: something did not start; the end of its log says why.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        with ExitStack() as stack:
            self.kafka = MockKafka(TOPICS)
            stack.callback(self.kafka.close)
            self.valkey = EmbeddedValkey()
            stack.callback(self.valkey.close)
            environment = {
                "CLICKSTAGE_OUTCOMES": "all",  # the storefront's drawer shows them; a setting from outside stands
                # The demo's mix (`shop.MIX`) is not the training's, on purpose: its drift says nothing of the model.
                "CLICKSTAGE_DRIFT_MIN_SESSIONS": "1000000",
                **os.environ,
                "CLICKSTAGE_KAFKA": self.kafka.bootstrap,
                "CLICKSTAGE_REDIS": self.valkey.url,
                "CLICKSTAGE_TOPIC_ID": "demo",
                "CLICKSTAGE_ENV": "demo",
                **(settings or {}),
            }
            self.worker = WorkerProcess(environment, folder / "worker.log")
            stack.callback(self.worker.stop)
            self.worker.wait()
            self.edge = StorefrontEdge(environment, folder / "edge.log")
            stack.callback(self.edge.stop)
            self.edge.wait()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        """The stack itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """End everything, the edge first."""
        self._stack.close()


class WorkerProcess:
    """``clickstage worker`` on the embedded servers.

    Args:
        environment: where Kafka and Redis are.
        log_file: takes what it says.
    """

    def __init__(self, environment: Mapping[str, str], log_file: Path) -> None:
        self.port = free_port()
        self._log_file = log_file
        self._started = False
        own = {"CLICKSTAGE_METRICS_HOST": "127.0.0.1", "CLICKSTAGE_METRICS_PORT": str(self.port)}
        with log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker", "worker"],
                env={**environment, **own},
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C is for the demo, which ends this one in its turn
            )

    def wait(self) -> None:
        """Block until it reads.

        Raises:
            SettingsError: it ended, or did not get ready in time.
        """
        deadline = time.monotonic() + START_S
        while not self._started:
            self._started = scrape(self.port) is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise SettingsError(f"the worker did not start{hint(self._process.returncode)}:\n{self.log_tail()}")
            time.sleep(0.1)

    def check(self) -> None:
        """Raise `SettingsError` if it has ended by itself."""
        if self._process.poll() is not None:
            code = self._process.returncode
            raise SettingsError(f"the worker ended by itself with code {code}{hint(code)}:\n{self.log_tail()}")

    def stop(self) -> int:
        """End it; its exit code."""
        return end(self._process, STOP_S if self._started else STOP_EARLY_S)

    def log_tail(self, lines: int = 15) -> str:
        """The end of what it said."""
        return said(self._log_file.read_text(encoding="utf-8", errors="replace"), lines)


def said(log: str, lines: int) -> str:
    r"""The last lines of a worker's log that are for people: without the stacks of one that hung.

    >>> said('started\nTimeout (0:02:00)!\nThread 0x7f (most recent call first):\n  File "a.py", line 1 in f\n', 15)
    'started'
    """
    return "\n".join([line for line in log.splitlines() if not STACKS.match(line)][-lines:])


def hint(code: int | None) -> str:
    """What to do about a worker that hung; nothing for another end."""
    if code not in HUNG:
        return ""
    return " (it hung: other processes took the machine's processors; close some, then start the demo again)"
