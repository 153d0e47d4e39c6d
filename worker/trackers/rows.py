"""Rows on their way to a topic, and files that hold them.

People's files are untidy: a line that cannot be read is left out, counted and said, up to a limit. Nothing in a file's
content ends in a traceback.
"""

import csv
import gzip
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

import msgspec

from featurestore.errors import SettingsError

log = logging.getLogger(__name__)

MAX_LINE_BYTES: Final = 1_048_576
"""A longer line is not read."""
MAX_BAD_LINES: Final = 1_000
"""More lines that cannot be read than this, and the file is refused."""


class Click(NamedTuple):
    """One event on its way to the topic.

    Attributes:
        session_id: the record's key.
        ts: of the record, epoch ms: when the event arrived, which for a file is when it happened.
        value: the event as JSON.
    """

    session_id: str
    ts: int
    value: bytes


class Left:
    """Counts what is left out of a file.

    Args:
        path: the file.
        most: lines that may be left out.
    """

    def __init__(self, path: Path, most: int = MAX_BAD_LINES) -> None:
        self._path = path
        self._most = most
        self._count = 0
        self.first = ""

    def out(self, number: int, why: str) -> None:
        """Leave a line out.

        Raises:
            SettingsError: too many are.
        """
        self._count += 1
        self.first = self.first or f"line {number}: {why}"
        if self._count > self._most:
            raise SettingsError(
                f"{self._path}: more than {self._most} lines cannot be read, the first is {self.first}. "
                "Is --format right? --max-bad-lines lets more pass"
            )

    def say(self) -> None:
        """Log how many were left out."""
        if self._count:
            log.warning("%s: left out %d lines, the first is %s", self._path.name, self._count, self.first)


_encoder: Final = msgspec.json.Encoder()


def click(session_id: str, kind: str, ts: int, **fields: Any) -> Click:
    """An event with the fields that are known; None and "" are left out."""
    known = {name: value for name, value in fields.items() if value not in {None, ""}}
    return Click(session_id, ts, _encoder.encode({"session_id": session_id, "type": kind, "ts": ts, **known}))


def byte_lines(path: Path, left: Left) -> Iterator[tuple[int, bytes]]:
    """Number and content of each line that is not blank; a file whose name ends in .gz is unpacked."""
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


def json_lines(path: Path, left: Left) -> Iterator[tuple[int, Any]]:
    """Number and content of each line that is JSON."""
    for number, line in byte_lines(path, left):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):  # no JSON, no UTF-8, an integer of thousands of digits, thousands of [
            left.out(number, "not JSON")
        else:
            yield number, value


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
