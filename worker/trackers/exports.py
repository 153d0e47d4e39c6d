"""Files of other trackers as clicks: Snowplow, Segment's spec (RudderStack too), GA4, a shop's event log.

What a payload means is `featurestore.contract.trackers`' business; here are files, and the time of receipt that a file
does not hold: a payload without a time happened when the one before it did.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from featurestore.contract.files import Left, csv_rows
from featurestore.contract.tables import file_events
from featurestore.contract.trackers import WHY, Mapped, encode, ga4, segment, snowplow_enriched
from worker.trackers.rows import Click, json_lines

MOST_WAITING: Final = 10_000
"""Payloads without a time that are kept until one has a time."""


def of_snowplow(path: Path, left: Left) -> Iterator[Click]:
    """Snowplow's enriched events, CSV with a column a context."""
    for number, row in csv_rows(path, left):
        yield from _clicks(number, snowplow_enriched(row), left)


def of_shop(path: Path, left: Left) -> Iterator[Click]:
    """A shop's event log, a table with a row a view, addition, removal and article of an order."""
    for value, event in file_events(path, left):
        yield Click(event.session_id, event.ts, value)


def of_segment(path: Path, left: Left) -> Iterator[Click]:
    """Segment's calls, one a line, bare, under ``message`` or in a ``batch``."""
    yield from _received(json_lines(path, left), segment, left)


def of_ga4(path: Path, left: Left) -> Iterator[Click]:
    """GA4 Measurement Protocol payloads, one a line."""
    yield from _received(json_lines(path, left), ga4, left)


def _received(
    payloads: Iterable[tuple[int, Any]], mapping: Callable[[Any, int | None], Mapped], left: Left
) -> Iterator[Click]:
    """Clicks of payloads in the order in which they were received."""
    newest: int | None = None
    waiting: list[tuple[int, Any]] = []
    for number, payload in payloads:
        made = _mapped(payload, mapping, newest)
        if newest is None and "no_time" in made.left_out and len(waiting) < MOST_WAITING:
            waiting.append((number, payload))
            continue
        if newest is None and waiting and not made.events:  # none of so many has a time: they happen now
            newest = time.time_ns() // 1_000_000
            made = _mapped(payload, mapping, newest)
        newest = max((event["ts"] for event in made.events), default=newest)
        yield from _clicks(number, made, left)
        while waiting and newest is not None:
            earlier, payload = waiting.pop()
            yield from _clicks(earlier, _mapped(payload, mapping, newest), left)
    now = time.time_ns() // 1_000_000
    for number, payload in waiting:
        yield from _clicks(number, _mapped(payload, mapping, now), left)


def _mapped(payload: Any, mapping: Callable[[Any, int | None], Mapped], received_ms: int | None) -> Mapped:
    """The events of a payload. The time of receipt replaces a missing time; it corrects no clock."""
    made = mapping(payload, None)
    if "no_time" not in made.left_out or received_ms is None:
        return made
    made = mapping(payload, received_ms)
    for event in made.events:
        event.pop("sent_ts", None)
    return made


def _clicks(number: int, made: Mapped, left: Left) -> Iterator[Click]:
    for reason in made.left_out:
        left.out(number, WHY[reason])
    for event in made.events:
        yield Click(event["session_id"], event.get("sent_ts") or event["ts"], encode(event))
