"""When sessions end, in slots of time.

Most live sessions are quiet: their silence has been noticed, and what is left is their end, up to half an hour ahead,
which needs no precision. So they do not stand in the sorted set of deadlines, but in plain lists, one a slot of time;
a list is read, and deleted, once all of its slot has passed (docs/decisions/0019).
"""

import time
from collections.abc import Sequence
from typing import Final

import numpy as np

from featurestore.columns.column import Texts
from featurestore.store.keys import SHARD_TTL_S

END_SLOT_MS: Final = 2_048
"""How late an end may be noticed, beside what timers are late anyway."""


def end_slot(t_ms: int) -> int:
    """The slot that an end belongs to; the slots before that of now have wholly passed.

    >>> end_slot(4_095), end_slot(4_096)
    (1, 2)
    """
    return t_ms // END_SLOT_MS


def life_s(slot: int) -> int:
    """How long the list of a slot is kept, s: from the slot's end on as long as other keys of a shard."""
    return SHARD_TTL_S + max((slot + 1) * END_SLOT_MS - time.time_ns() // 1_000_000, 0) // 1_000


def by_slot(sessions: Sequence[str], slots: Sequence[int]) -> list[tuple[int, Texts]]:
    """The sessions of each slot, in the order given.

    >>> [(slot, list(names)) for slot, names in by_slot(["a", "b", "c"], [7, 5, 7])]
    [(5, ['b']), (7, ['a', 'c'])]
    """
    names = Texts.of(sessions)
    places: dict[int, list[int]] = {}
    for place, slot in enumerate(slots):
        places.setdefault(slot, []).append(place)
    return [(slot, names.take(np.array(places[slot]))) for slot in sorted(places)]
