"""Reading an event that is not quite one: a bad optional field costs that field, never the click.

`read` is the definition of what a value means; `scan` is its compiled twin for values without a fault. What is wrong in
``session_id``, ``type`` or ``ts`` makes a dead letter; everything else is repaired where its meaning is plain (a number
in quotes, a number as an id), lost where it is not, and counted either way.
"""

import json
import math
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from featurestore.contract.event import FIELDS, MAX_TS, MAX_VALUE_BYTES, Event, Field, Item
from featurestore.contract.foreign import tracker_of
from featurestore.contract.junk import is_junk
from featurestore.errors import InvalidEvent

OUTCOMES: Final = ("repaired", "lost", "junk")
"""What became of a field: repaired, left out, or an id that stands for no id."""

IDS: Final = ("visitor_id", "event_id", "transaction_id")
"""Optional ids, ignored where they are `junk`."""

_strict: Final = msgspec.json.Decoder(Event).decode
decode_unchecked: Final = _strict
"""For events that are known to be without a fault: raises msgspec's errors."""
_ids: Final = attrgetter(*IDS)
_NOTHING: Final = object()
"""What cannot be read."""


class Read(NamedTuple):
    """An event and what was wrong with it.

    Attributes:
        event: as it counts.
        problems: field, and an entry of `OUTCOMES`.
    """

    event: Event
    problems: tuple[tuple[str, str], ...]


def read(value: bytes) -> Read:
    """Decode one record's value.

    Raises:
        InvalidEvent: with a reason of `event.REASONS` and what is wrong, never the content.
    """
    if len(value) > MAX_VALUE_BYTES:
        raise InvalidEvent("too_large", f"the value has {len(value)} bytes, at most {MAX_VALUE_BYTES} are read")
    try:
        event = _strict(value)
        value.isascii() or value.decode()  # unknown fields are skipped unread, and must be UTF-8 all the same
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _repaired(_object(value))
    if is_junk(event.session_id):
        raise _junk_session()
    junk = [name for name, text in zip(IDS, _ids(event), strict=True) if text is not None and is_junk(text)]
    if not junk:
        return Read(event, ())
    return Read(msgspec.structs.replace(event, **dict.fromkeys(junk)), tuple((name, "junk") for name in junk))


def decode(value: bytes) -> Event:
    """`read`, for those to whom the event is enough."""
    return read(value).event


def _object(value: bytes) -> dict[str, Any]:
    try:
        told = json.loads(value.decode(), parse_constant=lambda _: _NOTHING, parse_int=_integer)
    except (ValueError, RecursionError):
        raise InvalidEvent("not_json", _not_json(value)) from None
    if not isinstance(told, dict):
        raise InvalidEvent("schema", "the value is JSON, but no object: an event is one JSON object")
    return told


def _not_json(value: bytes) -> str:
    if value.count(b"\t") > 100:
        return (
            "the value is a line of Snowplow's enriched format, not JSON: send enriched events as CSV with "
            "`clickstage replay --format snowplow`"
        )
    return "the value is not one JSON object in UTF-8"


def _integer(text: str) -> Any:
    return int(text) if len(text) <= 40 else _NOTHING


def _repaired(told: dict[str, Any]) -> Read:
    required = {}
    problems: list[tuple[str, str]] = []
    for name in ("session_id", "type", "ts"):
        if told.get(name) is None:
            raise InvalidEvent("schema", tracker_of(told) or f"the object has no `{name}`, which every event needs")
        made, whole = _value(FIELDS[name], told[name])
        if made is _NOTHING:
            raise InvalidEvent("schema", tracker_of(told) or f"`$.{name}` must be {FIELDS[name].wanted}")
        required[name] = made
        problems += [] if whole else [(name, "repaired")]
    if is_junk(required["session_id"]):
        raise _junk_session()
    known: dict[str, Any] = {}
    for name, field in FIELDS.items():
        if name in required or told.get(name) is None:
            problems += [(name, "lost")] if name == "v" and name in told else []  # the one that null is no value of
            continue
        made, whole = _value(field, told[name])
        if made is _NOTHING:
            problems.append((name, "lost"))
        elif name in IDS and is_junk(made):
            problems.append((name, "junk"))
        else:
            known[name] = made
            problems += [] if whole else [(name, "repaired")]
    return Read(Event(**required, **known), tuple(problems))


def _junk_session() -> InvalidEvent:
    return InvalidEvent(
        "junk_session_id", "`$.session_id` is what programs write when they have none; send the visit's own id"
    )


def _value(field: Field, value: Any) -> tuple[Any, bool]:
    """The value as its field wants it (`_NOTHING` where that cannot be), and whether it was so already."""
    if field.kind == "items":
        return _items(value)
    made = _READERS[field.kind](field, value)
    return made, made is not _NOTHING and _same(made, value)


def _same(made: Any, value: Any) -> bool:
    """Whether a value needed no repair. JSON has one kind of number: 2.0 is a whole one."""
    if isinstance(value, bool) or isinstance(made, bool):
        return made is value
    if isinstance(made, (int, float)):
        return isinstance(value, (int, float)) and made == value
    return bool(made == value)


def _text(field: Field, value: Any) -> Any:
    if isinstance(value, float) and field.is_id and value.is_integer() and abs(value) < MAX_TS:
        value = int(value)
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not field.low <= len(text) <= field.high:
        return _NOTHING
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return _NOTHING
    return text


def _number(field: Field, value: Any) -> Any:
    if isinstance(value, str):
        value = _quoted(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _NOTHING
    return float(value) if field.low <= value <= field.high else _NOTHING  # NaN lies nowhere


def _whole(field: Field, value: Any) -> Any:
    number = _number(field, value)
    return int(number) if number is not _NOTHING and number == int(number) else _NOTHING


def _time(field: Field, value: Any) -> Any:
    """Epoch ms; browsers know parts of a millisecond, which are cut off."""
    if isinstance(value, str):
        value = _quoted(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _NOTHING
    return math.floor(value) if field.low <= value <= field.high else _NOTHING


def _quoted(text: str) -> Any:
    """The number in a text that holds a number as JSON writes it and nothing else."""
    try:
        value = json.loads(text.strip(), parse_constant=lambda _: None, parse_int=_integer)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, (int, float)) else None


def _consent(_field: Field, value: Any) -> Any:
    """Anything but true is a withdrawal: ``"denied"``, ``"false"``, 0 and what nobody has thought of."""
    return value is True


def _items(value: Any) -> tuple[Any, bool]:
    """What can be read of a list of items, without entries that are no objects and without bad fields of an entry."""
    if not isinstance(value, list):
        return _NOTHING, False
    items, whole = [], True
    for entry in value:
        if not isinstance(entry, dict):
            whole = False
            continue
        read = {name: _value(kind, entry[name]) for name, kind in _ITEM.items() if entry.get(name) is not None}
        whole &= all(same for _, same in read.values())
        items.append(Item(**{name: made for name, (made, _) in read.items() if made is not _NOTHING}))
    return items, whole


_ITEM: Final = {name: FIELDS[name] for name in ("item_id", "category", "price", "quantity")}
_READERS: Final[dict[str, Callable[[Field, Any], Any]]] = {
    "text": _text,
    "number": _number,
    "whole": _whole,
    "time": _time,
    "consent": _consent,
}
