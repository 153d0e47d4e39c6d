"""Reading a file that somebody else wrote: a regular one, of a bounded size."""

import os
import stat
from pathlib import Path


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a file. Never waits, as reading a FIFO or a terminal would.

    Raises:
        OSError: it cannot be read, is no regular file, or has more than ``most`` bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(None, "not a regular file", str(path))
        if found.st_size > most:
            raise OSError(None, f"more than {most} bytes", str(path))
        return file.read(most)
