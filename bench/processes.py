"""What a process has used, out of /proc."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """CPU seconds since a process began: all its threads, and its main thread alone."""

    cpu_s: float
    main_s: float


def usage(pid: int) -> Usage:
    """Of a running process; children not included."""
    return Usage(_cpu_s(Path(f"/proc/{pid}/stat")), _cpu_s(Path(f"/proc/{pid}/task/{pid}/stat")))


def give_way(pid: int = 0) -> None:
    """All threads of a process, 0 for this one, wait for a free core rather than push others off theirs.

    What stands for another machine (the broker, the web tier, the front end) would otherwise interrupt the worker
    thousands of times a second.
    """
    for task in Path(f"/proc/{pid or 'self'}/task").iterdir():
        with suppress(ProcessLookupError):  # a thread that has ended meanwhile
            os.sched_setscheduler(int(task.name), os.SCHED_BATCH, os.sched_param(0))


def rss_mb(pid: int) -> float:
    """Resident memory, MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessLookupError(pid)


def _cpu_s(path: Path) -> float:
    fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
