"""Lines of a file of events. A line that cannot be read is left out, counted and named, up to a limit.

Nothing in a file ends in a traceback, and no line takes more than `MAX_LINE_BYTES` of memory, packed or not.
"""

import csv
import gzip
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, cast

from featurestore.errors import SettingsError

log = logging.getLogger(__name__)

MAX_LINE_BYTES: Final = 1_048_576
"""A longer line is not read."""
MAX_BAD_LINES: Final = 1_000
MAX_BAD_SHARE: Final = 0.02
"""A file is refused once more than so many lines, and more than this share of those read, are left out."""
NAMED: Final = 5
"""Lines that a message names."""


class Left:
    """Counts what is left out of a file.

    Args:
        path: the file.
        most: lines that may be left out; None for `MAX_BAD_LINES`, or `MAX_BAD_SHARE` of the lines if that is more.

    Attributes:
        named: the first lines that were left out, each with the reason.
    """

    def __init__(self, path: Path, most: int | None = None) -> None:
        self._path = path
        self._most = most
        self._count = 0
        self.named: list[str] = []

    def out(self, number: int, why: str) -> None:
        """Leave a line out.

        Raises:
            SettingsError: too many are.
        """
        self._count += 1
        if len(self.named) < NAMED:
            self.named.append(f"line {number}: {why}")
        most = max(MAX_BAD_LINES, int(number * MAX_BAD_SHARE)) if self._most is None else self._most
        if self._count > most:
            raise SettingsError(
                f"{self._path}: more than {most} lines cannot be read, the first is {self.named[0]}. "
                "Is it the right file, and the right format? --max-bad-lines lets more pass"
            )

    def say(self) -> None:
        """Log how many were left out, and the first of them."""
        if self._count:
            more = "" if self._count <= NAMED else f"; and {self._count - NAMED} more"
            log.warning("%s: left out %d lines (%s%s)", self._path.name, self._count, "; ".join(self.named), more)


def byte_lines(path: Path, left: Left) -> Iterator[tuple[int, bytes]]:
    """Number and content of each line that is not blank; a file whose name ends in .gz is unpacked as it is read."""
    with cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb") as lines:
        number = 0
        while line := lines.readline(MAX_LINE_BYTES):
            number += 1
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                left.out(number, f"longer than {MAX_LINE_BYTES} bytes")
                while line and not line.endswith(b"\n"):
                    line = lines.readline(MAX_LINE_BYTES)
            elif not line.isspace():
                yield number, line


def csv_rows(path: Path, left: Left, delimiter: str = ",") -> Iterator[tuple[int, dict[str, Any]]]:
    """Number of the last line, and cells by column, of each row; a missing cell is None."""
    csv.field_size_limit(MAX_LINE_BYTES)
    lines = (line.decode(errors="replace") for _, line in byte_lines(path, left))
    reader = csv.DictReader(lines, delimiter=delimiter)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            left.out(reader.line_num, "not CSV")
        else:
            row.pop(None, None)  # where more cells than columns go
            yield reader.line_num, row
