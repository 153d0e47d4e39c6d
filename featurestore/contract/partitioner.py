"""Which partition and bucket a session has: Kafka's own hash of the key, then our hash of the id.

Producers of clicks use the partitioner of Kafka's Java client (``murmur2_random`` in librdkafka), so whoever knows a
session id knows where its state rests, and asks one shard instead of all. The hash is Austin Appleby's MurmurHash2 with
Kafka's seed.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.column import Texts
from featurestore.columns.hashing import hash64
from featurestore.columns.jit import compiled

PARTITIONER: Final = "murmur2_random"
"""librdkafka's name of it; its default would put a session elsewhere."""
_SEED: Final = np.uint32(0x9747B28C)
_M: Final = np.uint32(0x5BD1E995)
_POSITIVE: Final = np.uint32(0x7FFFFFFF)


def partition_of(session_id: str, partitions: int) -> int:
    """The partition of one session.

    >>> partition_of("session-1", 12)
    4
    """
    return int(partitions_of([session_id], partitions)[0])


def partitions_of(session_ids: Sequence[str], partitions: int) -> NDArray[np.int64]:
    """The partition of each session; shape (n,)."""
    names = Texts.of(session_ids)
    out = np.empty(len(names), np.int64)
    _place_all(names.data, names.starts, names.ends, partitions, out)
    return out


def bucket_of(session_id: str, buckets: int) -> int:
    """The bucket of a session within its partition."""
    return int(hash64([session_id])[0] % np.uint64(buckets))


def murmur2(data: bytes) -> int:
    """The hash of a key, as an unsigned number.

    >>> murmur2(b"21") - 2**32
    -973932308
    """
    return int(_hash(np.frombuffer(data, np.uint8), 0, len(data)))


@compiled
def _place_all(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    partitions: int,
    out: NDArray[np.int64],
) -> None:
    for i in range(out.size):
        out[i] = np.int64(_hash(data, starts[i], ends[i]) & _POSITIVE) % partitions


@compiled
def _hash(data: NDArray[np.uint8], start: int, end: int) -> np.uint32:
    h = _SEED ^ np.uint32(end - start)
    at = start
    while end - at >= 4:
        k = (
            np.uint32(data[at])
            | np.uint32(data[at + 1]) << np.uint32(8)
            | np.uint32(data[at + 2]) << np.uint32(16)
            | np.uint32(data[at + 3]) << np.uint32(24)
        )
        k = np.uint32(k * _M)
        k = np.uint32((k ^ (k >> np.uint32(24))) * _M)
        h = np.uint32(h * _M) ^ k
        at += 4
    if at < end:
        tail = np.uint32(0)
        for j in range(end - at):
            tail |= np.uint32(data[at + j]) << np.uint32(8 * j)
        h = np.uint32((h ^ tail) * _M)
    h = np.uint32((h ^ (h >> np.uint32(13))) * _M)
    return h ^ (h >> np.uint32(15))
