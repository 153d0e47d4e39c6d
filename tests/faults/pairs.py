"""What differs between the documents that workers made and those of the recompute, for whoever reads a failed test."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from confluent_kafka import Message

from worker.checks.recompute import Difference, Identity

SHOWN: Final = 5
"""So many of a kind are shown."""


def pairs(
    difference: Difference,
    expected: Mapping[Identity, dict[str, Any]],
    documents: Iterable[bytes],
    log: Sequence[Message],
) -> str:
    """Of each document that differs: the fields in which it does, when it was decided, and its session's records.

    Args:
        difference: as `worker.checks.recompute.compare` found it.
        expected: by the recompute.
        documents: of the topic.
        log: the clicks.
    """
    made = [msgspec.json.decode(document) for document in documents]
    lines = []
    for kind in ("missing", "extra", "wrong", "unequal"):
        for identity in sorted(getattr(difference, kind))[:SHOWN]:
            found = [d for d in made if Identity(d["source"], d["session_id"], d["seq"]) == identity]
            lines.append(f"{kind} {identity.session_id} seq {identity.seq}")
            lines += [f"  decided at {one.get('decided_at')}: {_fields(expected.get(identity), one)}" for one in found]
            lines.append(f"  records at (their time, their event's ts): {_times(identity.session_id, log)}")
    return "\n".join(lines)


def _fields(wanted: dict[str, Any] | None, found: dict[str, Any]) -> str:
    if wanted is None:
        return str(found)
    return "; ".join(
        f"{name} is {found.get(name)!r}, recomputed {value!r}"
        for name, value in wanted.items()
        if found.get(name) != value
    )


def _times(session: str, log: Sequence[Message]) -> str:
    key = session.encode()
    mine = sorted((m for m in log if m.key() == key), key=lambda m: m.offset() or 0)
    return ", ".join(f"{m.timestamp()[1]} ({msgspec.json.decode(m.value() or b'{}').get('ts')})" for m in mine)
