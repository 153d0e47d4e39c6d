"""What the figures were measured on: no host name, no date."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("confluent-kafka", "hiredis", "llvmlite", "msgspec", "numba", "numpy", "redis")


def facts() -> dict[str, object]:
    """Processor, cores, memory, kernel, interpreter and library versions."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(int((_field("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) / 2**20),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def _field(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
