"""The outbox: what a batch produces to Kafka, kept in the same script that applies the batch.

The applied offset and the outputs are thus one: a worker that dies after the script and before Kafka has acknowledged
leaves the outbox to the next owner, which produces it again. Outboxes are kept until Kafka has acknowledged what they
hold, so no decision waits for Kafka; how many may be kept is bounded (`worker.outputs`). Outputs have derived
identities, so a second copy is the same record.

Stored: MessagePack ``[offset, [[stream, [key, ...], [value, ...]], ...]]``; stream 0 is the decisions topic, 1 the
sessions topic.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from featurestore.column import Column

DECISIONS: Final = 0
SESSIONS: Final = 1

NEVER_COMMITTED: Final = 2**53
"""Offset of outputs that no committed offset vouches for: what timers produce."""

Output = tuple[int, Sequence[str], Sequence[bytes]]
"""Stream, and the keys and values of what is produced to it, in order."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, list[tuple[int, list[str], list[bytes]]]])


def encode(offset: int, outputs: Sequence[Output]) -> bytes:
    """The outputs of a batch whose last record stood at ``offset``."""
    return _encoder.encode((offset, [(stream, _listed(keys), _listed(values)) for stream, keys, values in outputs]))


def decode(stored: bytes) -> tuple[int, Sequence[Output]]:
    """Offset and outputs."""
    return _decoder.decode(stored)


def _listed(column: Sequence[str] | Sequence[bytes]) -> list[str] | list[bytes]:
    return column.strings() if isinstance(column, Column) else list(column)  # type: ignore[return-value]
