"""The outbox: what a batch produces to Kafka, kept in the same script that applies the batch.

The applied offset and the outputs are thus one: a worker that dies after the script and before Kafka has acknowledged
leaves the outbox to the next owner, which produces it again. Outboxes are kept until Kafka has acknowledged what they
hold, so no decision waits for Kafka; how many may be kept is bounded (`worker.pipeline.outputs`). Outputs have derived
identities, so a second copy is the same record.

Stored: the version (a byte), the CRC-32 of what follows (4 bytes, little-endian), then MessagePack
``[offset, [packed, ...], [[stream, [key, ...], [value, ...]], ...]]``: decisions as `packed`, which are shorter than
their documents, and what is not packed as it is; ``stream`` is a code of `featurestore.store.streams`. Version 1 had
the MessagePack alone.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from featurestore.errors import CorruptRecord
from featurestore.store.packed import PackedDecisions
from featurestore.store.streams import DECISIONS, stream_of
from featurestore.versions import RECORD_VERSION, VERSION_BEFORE

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


_MARK: Final = bytes([RECORD_VERSION])
_HEAD: Final = Struct("<BI")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, list[bytes], list[tuple[int, list[str], list[bytes]]]])


def encode(offset: int, outputs: Sequence[Output], version: int = RECORD_VERSION) -> bytes:
    """The outputs of a batch whose last record stood at ``offset``."""
    # What version 1 cannot hold packed goes as it is: releases of that time produce it all the same.
    fits = [packed is not None and (version == RECORD_VERSION or packed.plain) for *_, packed in outputs]
    some = list(zip(outputs, fits, strict=True))
    decisions = [output.packed.packed(version) for output, fit in some if fit and output.packed is not None]
    plain = [(one.stream, list(one.keys), list(one.values)) for one, fit in some if not fit]
    body = _encoder.encode((offset, decisions, plain))
    return body if version == VERSION_BEFORE else _HEAD.pack(RECORD_VERSION, crc32(body)) + body


def decode(stored: bytes) -> tuple[int, list[Output]]:
    """Offset and outputs.

    Raises:
        CorruptRecord: the bytes are no outbox of this version or the one before.
        UnknownStream: a later release has put in what this one cannot produce.
    """
    body = memoryview(stored)
    if stored[:1] == _MARK:
        body = body[_HEAD.size :]
        if len(stored) < _HEAD.size or _HEAD.unpack_from(stored) != (RECORD_VERSION, crc32(body)):
            raise CorruptRecord("an outbox has another checksum than it was stored with")
    try:
        offset, stored_decisions, plain = _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise CorruptRecord(f"an outbox cannot be read ({type(error).__name__})") from None
    if any(len(keys) != len(values) for _, keys, values in plain):
        raise CorruptRecord("an outbox has another number of keys than of documents")
    decisions = map(PackedDecisions.unpacked, stored_decisions)
    outputs = [Output(DECISIONS, packed.names, packed.logged(packed.documents()), packed) for packed in decisions]
    return offset, [*outputs, *(Output(stream_of(code).code, keys, values) for code, keys, values in plain)]
