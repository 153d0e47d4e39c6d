"""What works, for all processes behind the port: whoever asks ``/readyz`` reaches any of them, and traffic all of them.

Each process writes what works in it to a file of its own, each second, beside their metrics. One that has written
nothing for `FRESH_S` does not work: it has not begun, or it hangs, or it died.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

FRESH_S: Final = 5.0
PREFIX: Final = "ready-"


class Works(msgspec.Struct, frozen=True):
    """Whether it takes events, reaches Kafka, and decides inline."""

    events: bool
    kafka: bool
    decisions: bool


class Readiness:
    """What works, here and in the processes beside.

    Args:
        directory: that they share; "" for one process alone.
        processes: how many there are to be.
    """

    def __init__(self, directory: str, processes: int) -> None:
        self._directory = Path(directory) if directory else None
        self._processes = processes

    def tell(self, works: Works) -> None:
        """Write what works here. Blocks for a small file."""
        if self._directory is not None:
            own = self._directory / f"{PREFIX}{os.getpid()}"
            new = own.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(works))
            new.replace(own)

    def of_all(self, works: Works) -> Works:
        """What works in every process; ``works`` is what does in this one."""
        if self._directory is None:
            return works
        self.tell(works)
        fresh = [told for path in self._directory.glob(f"{PREFIX}*") if (told := _fresh(path)) is not None]
        whole = len(fresh) >= self._processes
        return Works(*(whole and all(values) for values in zip(*map(msgspec.structs.astuple, fresh), strict=True)))


def _fresh(path: Path) -> Works | None:
    """What a living process told lately."""
    pid = path.name.removeprefix(PREFIX)
    if not pid.isdigit():
        return None  # being written
    with suppress(OSError, msgspec.DecodeError):
        os.kill(int(pid), 0)
        if time.time() - path.stat().st_mtime < FRESH_S:
            return msgspec.json.decode(path.read_bytes(), type=Works)
    return None
