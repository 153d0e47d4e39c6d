"""The outbox: what a batch produces to Kafka, kept in the same script that applies the batch.

The applied offset and the outputs are thus one: a worker that dies after the script and before Kafka has acknowledged
leaves the outbox to the next owner, which produces it again. Outboxes are kept until Kafka has acknowledged what they
hold, so no decision waits for Kafka; how many may be kept is bounded (`worker.outputs`). Outputs have derived
identities, so a second copy is the same record.

Stored: MessagePack ``[offset, [[stream, key, value], ...]]``; stream 0 is the decisions topic, 1 the sessions topic.
"""

from typing import Final

import msgspec

DECISIONS: Final = 0
SESSIONS: Final = 1

NEVER_COMMITTED: Final = 2**53
"""Offset of outputs that no committed offset vouches for: what timers produce."""

Output = tuple[int, str, bytes]
"""Stream, key, value."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, list[Output]])


def encode(offset: int, outputs: list[Output]) -> bytes:
    """The outputs of a batch whose last record stood at ``offset``."""
    return _encoder.encode((offset, outputs))


def decode(stored: bytes) -> tuple[int, list[Output]]:
    """Offset and outputs."""
    return _decoder.decode(stored)
