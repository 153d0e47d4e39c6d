"""Expiry buckets: when sessions end, in steps of two seconds.

Most live sessions are quiet: their silence has been noticed, and what is left is their end, up to half an hour ahead,
which needs no precision. So they do not stand in the sorted set of deadlines, but in plain lists, one a bucket of time;
a list is read, and deleted, once all of its bucket has passed (docs/decisions/0019); a long one piece by piece.
"""

import time
from collections.abc import Sequence
from typing import Final

import numpy as np

from featurestore.columns.column import Texts
from featurestore.store.keys import SHARD_TTL_S

EXPIRY_BUCKET_MS: Final = 2_048
"""How late an end may be noticed, beside what timers are late anyway."""


DUE_BYTES: Final = 262_144
"""Most bytes of session ids that one answer has of a shard, of those that await their silence and of those that end."""


def expiry_bucket(t_ms: int) -> int:
    """The bucket that an end belongs to; the buckets before that of now have wholly passed.

    >>> expiry_bucket(4_095), expiry_bucket(4_096)
    (1, 2)
    """
    return t_ms // EXPIRY_BUCKET_MS


def life_s(bucket: int) -> int:
    """How long the list of a bucket is kept, s: from the bucket's end on as long as other keys of a shard."""
    return SHARD_TTL_S + max((bucket + 1) * EXPIRY_BUCKET_MS - time.time_ns() // 1_000_000, 0) // 1_000


def by_expiry_bucket(sessions: Sequence[str], buckets: Sequence[int]) -> list[tuple[int, Texts]]:
    """The sessions of each bucket, in the order given.

    >>> [(bucket, list(names)) for bucket, names in by_expiry_bucket(["a", "b", "c"], [7, 5, 7])]
    [(5, ['b']), (7, ['a', 'c'])]
    """
    names = Texts.of(sessions)
    places: dict[int, list[int]] = {}
    for place, bucket in enumerate(buckets):
        places.setdefault(bucket, []).append(place)
    return [(bucket, names.take(np.array(places[bucket]))) for bucket in sorted(places)]
