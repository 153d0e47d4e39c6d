"""What a batch writes outside its bucket's slot on Redis Cluster: decisions and visitor profiles.

It is kept in the bucket, in the script that applies the batch, and then written where it belongs. A worker that dies in
between leaves it to the next owner, which writes it before anything else. Each piece may be written again, by anybody
and late: a decision gives way to a newer one (`cluster_decide.lua`), a profile knows its sessions.

Stored: a hash, each value behind the version (a byte; version 1 had none). Field ``life``: a decision's life in ms,
decimal. Field of a decision's key: ``=`` and the document, or ``-<seq> <source>`` for a deletion of everything up
to that seq. Field of a profile's key: ``+`` and its entries.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from featurestore.session.observation import SEQ_STEP
from featurestore.session.visitors import ENTRY
from featurestore.store.keys import Namespace
from featurestore.store.protocols import ShardWrite
from featurestore.versions import RECORD_VERSION, VERSION_BEFORE

LIFE: Final = "life"
SET: Final = b"="
DELETE: Final = b"-"
EXTEND: Final = b"+"
LIFE_UNKNOWN_MS: Final = 1_800_000
"""Life of a decision where the stored one cannot be read."""
_MARK: Final = bytes([RECORD_VERSION])
_ENTRY: Final = ENTRY.itemsize

Fields = dict[str, bytes]
"""The fields of the hash, without `LIFE`."""


def of(write: ShardWrite, namespace: Namespace) -> Fields:
    """What a batch writes to other slots."""
    pairs = zip(write.decided, write.decisions, strict=True)
    fields = {namespace.decision(session): SET + document for session, document in pairs}
    if write.undecided:
        fields.update(dict.fromkeys(map(namespace.decision, write.undecided), DELETE + gone(namespace, write.applied)))
    for key, entry in write.profiles:
        fields[key] = fields.get(key, EXTEND) + entry
    return fields


def gone(namespace: Namespace, applied: int | None) -> bytes:
    """A deletion of what was decided up to an offset: a session's next life begins after it.

    >>> gone(Namespace("prod", "group", "topic"), 1)
    b'511 topic'
    """
    last = SEQ_STEP * ((-1 if applied is None else applied) + 1) - 1
    # As documents spell it, which the script compares with.
    source = msgspec.json.encode(namespace.source)[1:-1]
    return b"%d %b" % (max(last, 0), source)


def flat(fields: Fields, decision_life_ms: int, version: int = RECORD_VERSION) -> list[str | bytes | int]:
    """Field, value, field, value, ... as stored; nothing for nothing."""
    if not fields:
        return []
    mark = b"" if version == VERSION_BEFORE else _MARK
    named = {LIFE: b"%d" % decision_life_ms, **fields}
    return [part for field, value in named.items() for part in (field, mark + value)]


class Left(NamedTuple):
    """A stored hash.

    Attributes:
        fields: what is to be written to other slots.
        life_ms: of a decision.
        corrupt: fields whose values cannot be read, as they are stored.
    """

    fields: Fields
    life_ms: int
    corrupt: dict[bytes, bytes]


def stored(reply: Mapping[bytes, bytes] | list[bytes]) -> Left:
    """A stored hash of this version or the one before, as either protocol answers it."""
    pairs: Iterable[tuple[bytes, bytes]] = (
        reply.items() if isinstance(reply, Mapping) else zip(reply[::2], reply[1::2], strict=True)
    )
    left = Left({}, LIFE_UNKNOWN_MS, {})
    for field, value in pairs:
        name, plain = field.decode(errors="replace"), value.removeprefix(_MARK)
        if name == LIFE and plain.isdigit():
            left = left._replace(life_ms=int(plain))
        elif name != LIFE and _readable(plain):
            left.fields[name] = plain
        else:
            left.corrupt[field] = value
    return left


def _readable(value: bytes) -> bool:
    action, what = value[:1], value[1:]
    if action == DELETE:
        seq, _, source = what.partition(b" ")
        return seq.isdigit() and bool(source)
    return (action == SET and what.startswith(b"{")) or (action == EXTEND and len(what) % _ENTRY == 0)


def pieces(fields: Fields) -> Iterator[tuple[str, bytes, bytes]]:
    """Key, what to do, with what."""
    return ((key, value[:1], value[1:]) for key, value in fields.items())
