"""The contract as JSON Schema (2020-12).

What the schema accepts is read without any repair; where it complains about an optional field, `decode` repairs or
loses that field and keeps the event.
"""

from typing import Any, Final

import msgspec

from featurestore.contract.decode import IDS
from featurestore.contract.event import EVENT_TYPES, Event
from featurestore.contract.junk import pattern

REQUIRED: Final = ("session_id", "type", "ts")
NO_JUNK: Final = ("session_id", *IDS)


def json_schema() -> dict[str, Any]:
    """The schema of one event."""
    schema: dict[str, Any] = msgspec.json.schema(Event)
    definition = schema["$defs"]["Event"]
    definition["properties"]["type"]["examples"] = list(EVENT_TYPES)
    for name in NO_JUNK:
        definition["properties"][name]["not"] = {"type": "string", "pattern": pattern()}
    others = {name: part for name, part in schema["$defs"].items() if name != "Event"}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Clickstage event"}
    return {**definition, **head, "$defs": others}
