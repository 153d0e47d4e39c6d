"""Events on their way to a topic, and JSON lines that hold them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from featurestore.contract.decode import decode
from featurestore.contract.files import Left, byte_lines
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
