"""What a batch writes outside its bucket's slot on Redis Cluster: decisions and visitor profiles.

It is kept in the bucket, in the script that applies the batch, and then written where it belongs. A worker that dies in
between leaves it to the next owner, which writes it before anything else. Each piece may be written again, by anybody
and late: a decision gives way to a newer one (`cluster_decide.lua`), a profile knows its sessions.

Stored: a hash. Field ``life``: a decision's life in ms, decimal. Field ``decision:<session id>``: ``=`` and the
document, or ``-<seq> <source>`` for a deletion of everything up to that seq. Field of a profile's key: ``+`` and its
entries.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from featurestore.session.fold import SEQ_STEP
from featurestore.store.keys import Namespace, decision_key
from featurestore.store.protocols import ShardWrite

LIFE: Final = "life"
SET: Final = b"="
DELETE: Final = b"-"
EXTEND: Final = b"+"

Fields = dict[str, bytes]
"""The fields of the hash, without `LIFE`."""


def of(write: ShardWrite, namespace: Namespace) -> Fields:
    """What a batch writes to other slots."""
    pairs = zip(write.decided, write.decisions, strict=True)
    fields = {decision_key(session): SET + document for session, document in pairs}
    if write.undecided:
        fields.update(dict.fromkeys(map(decision_key, write.undecided), DELETE + gone(namespace, write.applied)))
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


def flat(fields: Fields, decision_life_ms: int) -> list[str | bytes | int]:
    """Field, value, field, value, ...; nothing for nothing."""
    if not fields:
        return []
    return [LIFE, decision_life_ms, *(part for pair in fields.items() for part in pair)]


def stored(reply: Mapping[bytes, bytes] | list[bytes]) -> tuple[Fields, int]:
    """A stored hash, as either protocol answers it: the fields, and a decision's life."""
    pairs: Iterable[tuple[bytes, bytes]] = (
        reply.items() if isinstance(reply, Mapping) else zip(reply[::2], reply[1::2], strict=True)
    )
    fields = {field.decode(): value for field, value in pairs}
    return fields, int(fields.pop(LIFE, b"0"))


def pieces(fields: Fields) -> Iterator[tuple[str, bytes, bytes]]:
    """Key, what to do, with what."""
    return ((key, value[:1], value[1:]) for key, value in fields.items())
