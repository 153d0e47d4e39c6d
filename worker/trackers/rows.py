"""Rows on their way to a topic, and files that hold them."""

import gzip
import json
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

import msgspec

from featurestore.errors import SettingsError


class Click(NamedTuple):
    """One event on its way to the topic.

    Attributes:
        session_id: the record's key.
        ts: event time, epoch ms.
        value: the event as JSON.
    """

    session_id: str
    ts: int
    value: bytes


_encoder: Final = msgspec.json.Encoder()


def click(session_id: str, kind: str, ts: int, **fields: Any) -> Click:
    """An event with the fields that are known; None and "" are left out."""
    known = {name: value for name, value in fields.items() if value not in {None, ""}}
    return Click(session_id, ts, _encoder.encode({"session_id": session_id, "type": kind, "ts": ts, **known}))


def byte_lines(path: Path) -> IO[bytes]:
    """A file, unpacked where its name ends in .gz."""
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def text_lines(path: Path) -> TextIOWrapper:
    """The same as UTF-8, line ends as they are."""
    return TextIOWrapper(byte_lines(path), encoding="utf-8", newline="")


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Number and content of each line that is not blank.

    Raises:
        SettingsError: a line is not JSON.
    """
    with byte_lines(path) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except json.JSONDecodeError:
                    raise SettingsError(f"{path}, line {number}: not JSON") from None
