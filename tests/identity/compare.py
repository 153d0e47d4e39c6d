"""What two runs produced, in a form in which equal means equal bytes, and what differs between them.

Nothing here quotes an event: a difference is told by its kind and by the names of the fields that differ.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final

from confluent_kafka import Message

TIMES: Final = re.compile(rb'"(decided_at|expires_at)":\d+')
"""Times of computing. The names stay, so that a field that moves or goes is a difference."""

CODE_NAMES: Final = frozenset({"__connect.errors.class.name"})
"""Headers that name a module of the code, which may move."""

SEQ_STEP: Final = 256
"""``seq`` is the offset of the last event times this, plus silences since; the largest rest is the session's end."""


@dataclass
class Document:
    """One record of an output, without times of computing."""

    seq: int
    value: bytes
    rest: tuple[object, ...]


@dataclass
class Difference:
    """How two outputs differ; falsy if they do not.

    Attributes:
        missing: documents of the base that the candidate lacks.
        extra: documents that only the candidate has.
        other: documents in the same place with other bytes.
        fields: names of the fields in which those differ, how often.
        where: the sessions, keys or places with a difference.
    """

    missing: int = 0
    extra: int = 0
    other: int = 0
    fields: Counter[str] = field(default_factory=Counter)
    where: set[str] = field(default_factory=set)

    @property
    def count(self) -> int:
        return self.missing + self.extra + self.other

    def __bool__(self) -> bool:
        return self.count > 0


def timeless(value: bytes) -> bytes:
    """A document with zero for every time of computing.

    >>> timeless(b'{"stage":"Explorer","decided_at":1790000000000,"expires_at":1790000060000}')
    b'{"stage":"Explorer","decided_at":0,"expires_at":0}'
    """
    return TIMES.sub(rb'"\1":0', value)


def by_session(messages: Iterable[Message]) -> tuple[dict[str, list[Document]], int]:
    """The documents of each session in the order of the topic, and how many equal repeats were left out.

    A repeat that is not equal stays, so that it differs.
    """
    sessions: dict[str, list[Document]] = defaultdict(list)
    seen: dict[tuple[str, int], set[bytes]] = defaultdict(set)
    repeats = 0
    for message in messages:
        value = timeless(message.value() or b"")
        told = json.loads(value)
        name, seq = told["session_id"], told["seq"]
        if value in seen[name, seq]:
            repeats += 1
            continue
        seen[name, seq].add(value)
        sessions[name].append(Document(seq, value, (message.partition(), message.key(), headers_of(message))))
    return sessions, repeats


def by_place(messages: Iterable[Message]) -> dict[str, list[Document]]:
    """Dead letters by the partition and offset that they had, so that each differs or is missing by itself."""
    letters: dict[str, list[Document]] = defaultdict(list)
    for message in messages:
        headers = headers_of(message)
        told = dict(headers)
        place = b"%b/%b" % (told["__connect.errors.partition"], told["__connect.errors.offset"])
        letters[place.decode()].append(Document(0, message.value() or b"", (message.key(), headers)))
    return letters


def by_key(stored: Mapping[str, bytes]) -> dict[str, list[Document]]:
    """What Redis holds, by key."""
    return {key: [Document(0, timeless(value), ())] for key, value in stored.items()}


def headers_of(message: Message) -> tuple[tuple[str, bytes], ...]:
    """A message's headers but for names of code."""
    pairs: Any = message.headers() or []
    return tuple((name, bytes(value or b"")) for name, value in pairs if name not in CODE_NAMES)


def compare(base: Mapping[str, Sequence[Document]], candidate: Mapping[str, Sequence[Document]]) -> Difference:
    """What differs, document by document in the order of each session."""
    found = Difference()
    for name in base.keys() | candidate.keys():
        for one, two in zip_longest(base.get(name, ()), candidate.get(name, ())):
            if one != two:
                found.where.add(name)
            if one is None:
                found.extra += 1
            elif two is None:
                found.missing += 1
            elif one != two:
                found.other += 1
                found.fields.update(_differing(one, two))
    return found


def _differing(one: Document, two: Document) -> list[str]:
    """Names of the fields that differ, dotted where a field is an object itself."""
    names = ["(key, partition or headers)"] if one.rest != two.rest else []
    if one.value == two.value:
        return names
    try:
        left, right = _flat(json.loads(one.value)), _flat(json.loads(two.value))
    except (ValueError, AttributeError):
        return [*names, "(bytes)"]
    differing = [name for name in left.keys() | right.keys() if left.get(name, ...) != right.get(name, ...)]
    return [*names, *(sorted(differing) or ["(order or spelling)"])]


def _flat(document: dict[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": told for inner, told in value.items()}
        else:
            flat[name] = value
    return flat
