"""A shop's own events from a file of JSON lines."""

import gzip
from pathlib import Path

from featurestore.contract.decode import decode
from featurestore.errors import InvalidEvent, SettingsError
from models.simulator.simulator import SimEvent


def read_events(path: Path) -> list[SimEvent]:
    """Events of the contract, one JSON object a line (.gz too), sorted by their time; blank lines are skipped.

    Raises:
        SettingsError: if the file cannot be read, holds no event, or a line is no event (naming the line).
    """
    events = []
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                value = line.strip()
                if not value:
                    continue
                try:
                    event = decode(value)
                except InvalidEvent as error:
                    raise SettingsError(f"{path}, line {number}: {error}") from None
                events.append((event.session_id.encode(), value, event.ts))
    except (OSError, EOFError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    if not events:
        raise SettingsError(f"{path}: holds no event; write one JSON object of the event contract a line")
    events.sort(key=lambda event: event[2])
    return events
