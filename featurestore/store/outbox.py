"""The outbox: what a batch produces to Kafka, kept in the same script that applies the batch.

The applied offset and the outputs are thus one: a worker that dies after the script and before Kafka has acknowledged
leaves the outbox to the next owner, which produces it again. Outboxes are kept until Kafka has acknowledged what they
hold, so no decision waits for Kafka; how many may be kept is bounded (`worker.pipeline.outputs`). Outputs have derived
identities, so a second copy is the same record.

Stored: MessagePack ``[offset, [packed, ...], [[stream, [key, ...], [value, ...]], ...]]``: decisions as `packed`, which
are shorter than their documents, and what is not packed as it is; ``stream`` is a code of `featurestore.store.streams`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from featurestore.store.packed import PackedDecisions
from featurestore.store.streams import DECISIONS, stream_of

NEVER_COMMITTED: Final = 2**53
"""Offset of outputs that no committed offset vouches for: what timers produce."""


class Output(NamedTuple):
    """What is produced to one stream, in order.

    Attributes:
        stream: code of a `Stream`.
        keys: of the records.
        values: documents.
        packed: the same documents packed, where the stream's codec says so.
    """

    stream: int
    keys: Sequence[str]
    values: Sequence[bytes]
    packed: PackedDecisions | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, list[bytes], list[tuple[int, list[str], list[bytes]]]])


def encode(offset: int, outputs: Sequence[Output]) -> bytes:
    """The outputs of a batch whose last record stood at ``offset``."""
    decisions = [packed.packed() for *_, packed in outputs if packed is not None]
    plain = [(stream, list(keys), list(values)) for stream, keys, values, packed in outputs if packed is None]
    return _encoder.encode((offset, decisions, plain))


def decode(stored: bytes) -> tuple[int, list[Output]]:
    """Offset and outputs.

    Raises:
        UnknownStream: a later release has put in what this one cannot produce.
    """
    offset, stored_decisions, plain = _decoder.decode(stored)
    decisions = map(PackedDecisions.unpacked, stored_decisions)
    outputs = [Output(DECISIONS, packed.names, packed.logged(packed.documents()), packed) for packed in decisions]
    return offset, [*outputs, *(Output(stream_of(code).code, keys, values) for code, keys, values in plain)]
