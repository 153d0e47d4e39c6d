"""What a batch changed in the store, for the batches whose questions to Redis were sent before its write."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from decisions.intake import Plan
from featurestore.columns.column import Blobs
from featurestore.columns.hash_join import match
from featurestore.session.codec import stored
from featurestore.session.visitors import append_entry
from featurestore.store.protocols import ShardWrite


class Overlay:
    """What a batch changed, to lay over what was loaded before its write.

    Args:
        plan: of the batch that made the change.
        put: indices of the sessions that were stored, ascending.
        blobs: what was stored, in the order of ``put``.
        gone: indices of the sessions that were removed, ascending.
        writes: the writes, for the profiles that they extend.

    Attributes:
        blobs: what was stored.
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
        self._put = put
        self._gone = gone
        self.blobs = blobs
        self._spans = {shard: (first, end) for shard, first, end in plan.spans}
        self._writes = writes

    @cached_property
    def _place(self) -> NDArray[np.int64]:
        """Of each session of the plan: where it lies in `blobs`; mostly, nobody asks."""
        place = np.full(len(self._plan.sessions), UNTOUCHED, np.int64)
        place[self._put] = np.arange(self._put.size)
        place[self._gone] = GONE
        return place

    def point(self, plan: Plan, column: Blobs, at: int) -> None:
        """Point those sessions of a later plan that are changed at what they were changed to, which lies at ``at``."""
        spans = [(*self._spans[shard], first, end) for shard, first, end in plan.spans if shard in self._spans]
        if not spans:
            return
        before = self._plan
        found = match(before.hashes, before.sessions, plan.hashes, plan.sessions, np.array(spans))
        places = self._place[found[:, 1]]
        gone = found[places == GONE, 0]
        column.ends[gone] = column.starts[gone]
        put, places = found[places >= 0, 0], places[places >= 0]
        column.starts[put] = at + self.blobs.starts[places]
        column.ends[put] = at + self.blobs.ends[places]

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


def apply_overlays(plan: Plan, loaded: Iterable[bytes | None], overlays: Sequence[Overlay]) -> Blobs:
    """The stored sessions of a plan, in its order, as earlier changes, oldest first, left them; for `unpack`."""
    beside = [overlay.blobs.raw for overlay in overlays]
    column = stored(loaded, beside)
    if not overlays:
        return column
    column = Blobs(column.raw, column.starts.copy(), column.ends.copy())  # each is pointed elsewhere by itself
    at = int(column.ends[-1]) if len(column) else 0
    for overlay, raw in zip(overlays, beside, strict=True):
        overlay.point(plan, column, at)
        at += len(raw)
    return column


UNTOUCHED = -1
GONE = -2
