"""A batch's arrays lie in memory that the batch before them used."""

import ctypes
import subprocess
import sys

import pytest

from worker.memory import KEPT_BYTES

FAULTS = """
import resource, sys
import numpy as np
from worker.memory import keep_freed_memory

def fill():
    [np.ones(1 << 18) for _ in range(12)]

kept = keep_freed_memory() if sys.argv[1] == "keep" else None
fill()
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fill()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(mode: str) -> tuple[str, int]:
    """What `keep_freed_memory` answered, and the page faults of twelve arrays of 2 MiB once memory has been used."""
    done = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True, timeout=60)
    kept, faults = done.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the allocator is not glibc's")
def test_the_next_batch_uses_the_memory_of_the_one_before() -> None:
    assert KEPT_BYTES > 12 * (2 << 20)
    kept, faults = _faults("keep")
    assert kept == "True"
    assert faults < 100, "fewer faults than one array has pages"
