"""The edge of the demo: it serves the shop that a person can walk through, between the simulated shoppers."""

import math
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from featurestore.errors import SettingsError
from worker.demo.ports import free_port, is_free
from worker.demo.processes import end

PORT: Final = 8200
START_S: Final = 600.0
"""What only the edge needs is compiled at its first start."""
STAYS_S: Final = 200.0
"""A shopper who is quiet for so long has left; longer than the silence that the demo shows."""
SENT: Final = {
    ("clickstage_edge_events_total", ("accepted",)),
    ("clickstage_edge_events_total", ("repaired",)),
    ("clickstage_edge_requests_total", ("/v1/sessions/{session_id}", "204")),
}
"""Series of the edge's metrics that count records for ``clicks``: name and label values."""
STOP_S: Final = 15.0


class StorefrontEdge:
    """``clickstage edge`` with the demonstration shop, in a process of its own.

    Args:
        environment: where Kafka and Redis are.
        log_file: takes what it says.
    """

    def __init__(self, environment: Mapping[str, str], log_file: Path) -> None:
        self.port = PORT if is_free(PORT) else free_port()
        self._log_file = log_file
        flags = ["--edge-port", str(self.port), "--edge-storefront", "true"]
        with log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker", "edge", *flags],
                env=dict(environment),
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C is for the demo, which ends this one in its turn
            )

    @property
    def address(self) -> str:
        """Of the shop."""
        return f"http://127.0.0.1:{self.port}/"

    def wait(self) -> None:
        """Block until it takes events and decides.

        Raises:
            SettingsError: it ended, or did not get ready in time.
        """
        deadline = time.monotonic() + START_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise SettingsError(f"the edge did not start:\n{self._log_file.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def collected(self) -> int:
        """Records that it has sent to Kafka for people in the shop: their events, and one a withdrawal."""
        try:
            page = self._get("metrics")
        except OSError:
            return 0
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
        return sum(int(sample.value) for sample in samples if (sample.name, tuple(sample.labels.values())) in SENT)

    def leave(self) -> None:
        """Ask it to end, without waiting; `stop` waits."""
        if self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """End it."""
        end(self._process, STOP_S)

    def _ready(self) -> bool:
        try:
            self._get("readyz")
        except OSError:
            return False
        return True

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(self.address + path, timeout=2) as answer:
            text: str = answer.read().decode()
        return text


class Visitors:
    """People in the shop, by what their pages send."""

    def __init__(self, edge: StorefrontEdge) -> None:
        self._edge = edge
        self._clicks = 0
        self._last = -math.inf

    def clicks(self) -> int:
        """What they have sent until now; never less than before."""
        now = self._edge.collected()
        if now > self._clicks:
            self._clicks, self._last = now, time.monotonic()
        return self._clicks

    def around(self) -> bool:
        """Whether somebody has done something lately."""
        return time.monotonic() - self._last < STAYS_S
