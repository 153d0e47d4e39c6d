"""What a batch changed in the store, for the batches whose questions to Redis were sent before its write."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featurestore.column import Blobs
from featurestore.grouping import match
from featurestore.sessions import ShardWrite
from featurestore.visitors import append_entry
from worker.intake import Plan


class Changed:
    """Laid over what was loaded.

    Args:
        plan: of the batch that made the change.
        put: its slots whose sessions were stored, ascending.
        blobs: what was stored, in the order of ``put``.
        gone: its slots whose sessions were removed, ascending.
        writes: the writes, for the profiles that they extend.
    """

    def __init__(
        self,
        plan: Plan,
        put: NDArray[np.int64],
        blobs: Blobs,
        gone: NDArray[np.int64],
        writes: Sequence[ShardWrite],
    ) -> None:
        self._plan = plan
        self._place = np.full(len(plan.sessions), UNTOUCHED, np.int64)
        self._place[put] = np.arange(put.size)
        self._place[gone] = GONE
        self._blobs = blobs
        self._spans = {shard: (first, end) for shard, first, end in plan.spans}
        self._writes = writes

    def sessions(self, plan: Plan, loaded: list[bytes | None]) -> None:
        """Put in place what the change left of the sessions of a later plan, of which ``loaded`` has one a slot."""
        spans = [(*self._spans[shard], first, end) for shard, first, end in plan.spans if shard in self._spans]
        if not spans:
            return
        before, blobs = self._plan, self._blobs
        found = match(before.hashes, before.sessions, plan.hashes, plan.sessions, np.array(spans))
        for i, place in zip(found[:, 0].tolist(), self._place[found[:, 1]].tolist(), strict=True):
            if place != UNTOUCHED:
                loaded[i] = None if place == GONE else blobs.raw[blobs.starts[place] : blobs.ends[place]]

    def profiles(self, keys: Sequence[str], blobs: list[bytes | None]) -> list[bytes | None]:
        """The stored profiles as the batch left them."""
        extended = [entry for write in self._writes for entry in write.profiles]
        if not extended:
            return blobs
        newer = dict(zip(keys, blobs, strict=True))
        for key, entry in extended:
            if key in newer:
                newer[key] = append_entry(newer[key], entry)
        return [newer[key] for key in keys]


UNTOUCHED = -1
GONE = -2
