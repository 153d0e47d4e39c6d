"""The worker's edge: ids become pseudonyms, and the past of what was erased is left out. Pure."""

import numpy as np

from featurestore.events import effective_ms
from featurestore.hashing import hash64
from featurestore.ids import IdKey
from featurestore.tombstones import Erased
from worker.batch import Decoded


def admitted(decoded: Decoded, ids: IdKey, erased: Erased) -> Decoded:
    """What the batch may see of one partition's events; without a key and without tombstones, all of it.

    Args:
        decoded: its events' ids are replaced in place.
        ids: the key, or none.
        erased: tombstones as of the moment the partition was taken.
    """
    if ids:
        for event in decoded.events:
            ids.apply(event)
    if not (erased.any() and decoded.events):
        return decoded
    events = decoded.events
    t = effective_ms(np.array([e.ts for e in events], np.int64), np.array(decoded.record_ms, np.int64))
    sessions = hash64([e.session_id for e in events])
    gone = erased.covers(sessions, hash64([e.visitor_id for e in events]), t)
    if not gone.any():
        return decoded
    kept = np.flatnonzero(~gone).tolist()
    return decoded._replace(
        events=[events[i] for i in kept],
        offsets=[decoded.offsets[i] for i in kept],
        record_ms=[decoded.record_ms[i] for i in kept],
    )
