"""A shop's own events from a file: JSON lines of the contract, or its event log as a table."""

import logging
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from featurestore.contract.event import TYPE_CODE
from featurestore.contract.files import Left
from featurestore.contract.tables import OTHER_FILES, file_events
from featurestore.errors import SettingsError
from models.simulator.simulator import SimEvent

log = logging.getLogger(__name__)

_NAMED: Final = 10


def read_events(
    path: Path, max_bad_lines: int | None = None, types: Mapping[str, str] = MappingProxyType({})
) -> list[SimEvent]:
    """Events of the contract, one JSON object a line (.gz too), sorted by their time; blank lines are skipped.

    Args:
        path: the file, for example a dump of the topic (``kcat -C``), or a shop's event log as CSV, Parquet or JSON
            lines (`featurestore.contract.tables`).
        max_bad_lines: lines that are no events are left out and named; more than this, and the file is refused. None
            for the limits of `featurestore.contract.files`.
        types: what the shop's own names of types mean (`featurestore.contract.trackers.own_types`).

    Raises:
        SettingsError: if the file cannot be read, holds no event, or too many lines that are none.
    """
    left = Left(path, max_bad_lines)
    strange: Counter[str] = Counter()
    events: list[SimEvent] = []
    try:
        for value, event in file_events(path, left, types):
            events.append((event.session_id.encode(), value, event.ts))
            if event.type not in TYPE_CODE:
                strange[event.type] += 1
    except (OSError, EOFError, zlib.error) as error:
        raise SettingsError(f"{path}: cannot be read ({type(error).__name__})") from None
    if not events:
        why = f"; {left.named[0]}" if left.named else ""
        raise SettingsError(
            f"{path}: holds no event{why}. Write one JSON object of the contract a line, or a table; {OTHER_FILES}"
        )
    left.say()
    if strange:
        told = ", ".join(f"{name} ({count:,})" for name, count in strange.most_common(_NAMED))
        log.warning(
            "%s: names that are no type of the contract count as clicks: %s; --type NAME=TYPE says what one means",
            path.name,
            told,
        )
    events.sort(key=lambda event: event[2])
    return events
