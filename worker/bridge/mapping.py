"""What one record of another tracker becomes: events of the contract, and why something of it became none. Pure.

The mapping itself is `featurestore.contract.trackers`, the same that the edge and ``clickstage replay`` use.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from featurestore.contract.decode import decode
from featurestore.contract.trackers import Mapped, encode, ga4, segment, snowplow_enriched, snowplow_tracker
from featurestore.errors import InvalidEvent

NOT_JSON: Final = "not_json"
WHY: Final = {
    "no_object": "an entry is not an object",
    "no_session": "an entry has no id of a session or a visitor",
    "no_time": "an entry has no time",
    "no_action": "an entry does not say what happened",
}
"""Texts for `trackers.LEFT_OUT`."""


class Bridged(NamedTuple):
    """What a record became.

    Attributes:
        events: key and value of each record for `clicks`.
        problem: why something of it became no event: the first reason; None where all did, or was no action by nature.
    """

    events: list[tuple[str, bytes]]
    problem: InvalidEvent | None


def _snowplow(payload: Any, received_ms: int | None) -> Mapped:
    """A collector's payload or one event of the tracker protocol, else an enriched event as JSON."""
    if isinstance(payload, dict) and "e" not in payload and not isinstance(payload.get("data"), list):
        return snowplow_enriched(payload)
    return snowplow_tracker(payload, received_ms)


FORMATS: Final[dict[str, Callable[[Any, int | None], Mapped]]] = {
    "ga4": ga4,
    "segment": segment,
    "snowplow": _snowplow,
}


def bridged(kind: str, value: bytes, received_ms: int) -> Bridged:
    """Map a record's value.

    Args:
        kind: a name of `FORMATS`.
        value: JSON in UTF-8.
        received_ms: time of the record, epoch ms: when the tracker's collector had it.
    """
    try:
        payload = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Bridged([], InvalidEvent(NOT_JSON, f"the value is not JSON in UTF-8, which --from {kind} reads"))
    mapped = FORMATS[kind](payload, received_ms)
    problems = [InvalidEvent(reason, WHY[reason]) for reason in mapped.left_out]
    events: list[tuple[str, bytes]] = []
    for made in mapped.events:
        coded = encode(made)
        try:
            events.append((decode(coded).session_id, coded))
        except InvalidEvent as error:
            problems.append(error.kept())
    return Bridged(events, problems[0] if problems else None)
