"""A shop's own events from a file: JSON lines of the contract, or its event log as CSV."""

import zlib
from collections.abc import Iterator
from pathlib import Path

from featurestore.contract.decode import decode
from featurestore.contract.files import Left, byte_lines
from featurestore.contract.trackers import encode, shop_events
from featurestore.errors import InvalidEvent, SettingsError
from models.simulator.simulator import SimEvent


def read_events(path: Path, max_bad_lines: int | None = None) -> list[SimEvent]:
    """Events of the contract, one JSON object a line (.gz too), sorted by their time; blank lines are skipped.

    Args:
        path: the file, for example a dump of the topic (``kcat -C``). A ``.csv`` is a shop's event log
            (`featurestore.contract.trackers.shop_rows`).
        max_bad_lines: lines that are no events are left out and named; more than this, and the file is refused. None
            for the limits of `featurestore.contract.files`.

    Raises:
        SettingsError: if the file cannot be read, holds no event, or too many lines that are none.
    """
    left = Left(path, max_bad_lines)
    table = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    try:
        events = list(_of_csv(path, left) if table.lower() == ".csv" else _of_lines(path, left))
    except (OSError, EOFError, zlib.error) as error:
        raise SettingsError(f"{path}: cannot be read ({type(error).__name__})") from None
    if not events:
        why = f"; {left.named[0]}" if left.named else ""
        raise SettingsError(f"{path}: holds no event{why}; write one JSON object of the event contract a line")
    left.say()
    events.sort(key=lambda event: event[2])
    return events


def _of_lines(path: Path, left: Left) -> Iterator[SimEvent]:
    for number, line in byte_lines(path, left):
        value = line.strip()
        try:
            event = decode(value)
        except InvalidEvent as error:
            left.out(number, str(error))
        else:
            yield event.session_id.encode(), value, event.ts


def _of_csv(path: Path, left: Left) -> Iterator[SimEvent]:
    for made in shop_events(path, left):
        yield made["session_id"].encode(), encode(made), made["ts"]
