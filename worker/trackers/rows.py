"""Rows on their way to a topic, and files that hold them."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from featurestore.contract.decode import decode
from featurestore.contract.files import MAX_LINE_BYTES, Left, byte_lines
from featurestore.errors import InvalidEvent


class Click(NamedTuple):
    """One event on its way to the topic.

    Attributes:
        session_id: the record's key.
        ts: of the record, epoch ms: when the event arrived, which for a file is when it was sent, or else happened.
        value: the event as JSON.
    """

    session_id: str
    ts: int
    value: bytes


_encoder: Final = msgspec.json.Encoder()


def click(session_id: str, kind: str, ts: int, **fields: Any) -> Click:
    """An event with the fields that are known; None and "" are left out.

    Raises:
        ValueError: it would not be an event of the contract.
    """
    known = {name: value for name, value in fields.items() if value not in {None, ""}}
    value = _encoder.encode({"session_id": session_id, "type": kind, "ts": ts, **known})
    try:
        decode(value)
    except InvalidEvent as error:
        raise ValueError(str(error)) from None
    return Click(session_id, ts, value)


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
