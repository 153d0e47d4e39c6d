"""The worker's memory: what a batch frees, the next batch uses again.

glibc gives memory above its thresholds back to the kernel as soon as it is free, and takes it anew for the next batch:
every page of a batch's arrays is then a page fault, which clears 4 KiB and, on a virtual machine, costs microseconds.
"""

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
"""Numbers of ``mallopt``: see ``malloc.h``."""

KEPT_BYTES: Final = 32 << 20
"""Free memory that stays with the process: several times what the arrays of the largest batch take."""


def keep_freed_memory() -> bool:
    """Let the allocator keep up to `KEPT_BYTES` of free memory; False, and no change, where it is not glibc's."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, KEPT_BYTES) and mallopt(_TRIM_THRESHOLD, KEPT_BYTES))
