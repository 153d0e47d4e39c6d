"""Records that could not be read, kept for a while so that somebody can look at them.

A worker that meets one goes on without it: a session begins anew, a visitor is unknown, an outbox is not produced. The
bytes go to a list of the shard, in the same fenced write that replaces or drops them. The list is bounded and expires;
an erasure in the shard deletes it.

Stored: the version (a byte), then MessagePack ``[kind, name, at_ms, record]``.
"""

from typing import Final, Literal, NamedTuple, get_args

import msgspec

from featurestore.errors import CorruptRecord
from featurestore.versions import RECORD_VERSION

Kind = Literal["session", "profile", "outbox", "cross_slot", "tombstone"]
KINDS: Final = get_args(Kind)

MOST: Final = 1_000
"""Records that are kept of a shard: the latest."""
LIFE_S: Final = 7 * 86_400
MOST_BYTES: Final = 500_000
"""Of a record that are kept."""

_MARK: Final = bytes([RECORD_VERSION])
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[Kind, str, int, bytes])


class SetAside(NamedTuple):
    """A record that could not be read.

    Attributes:
        kind: of the record; a tombstone is counted only, and stays where it is.
        name: session id, key of the profile, field of a hash; "" for an outbox.
        at_ms: when a worker met it, epoch ms.
        record: as it was stored, up to `MOST_BYTES`.
    """

    kind: Kind
    name: str
    at_ms: int
    record: bytes

    def encoded(self) -> bytes:
        """As it is stored."""
        return _MARK + _encoder.encode(self._replace(record=self.record[:MOST_BYTES]))


def decode(stored: bytes) -> SetAside:
    """A stored entry.

    Raises:
        CorruptRecord: the bytes are none.
    """
    if not stored.startswith(_MARK):
        raise CorruptRecord("what was set aside is not of a version that this release reads")
    try:
        return SetAside(*_decoder.decode(memoryview(stored)[1:]))
    except msgspec.MsgspecError as error:
        raise CorruptRecord(f"what was set aside cannot be read ({type(error).__name__})") from None
