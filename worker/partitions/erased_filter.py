"""The filter behind decoding: events from before an erasure are left out. Pure."""

from decisions.intake import Decoded
from featurestore.contract.event import about_ms
from featurestore.store.tombstones import Erased


def without_erased(decoded: Decoded, erased: Erased) -> Decoded:
    """What the batch may see of the events; without tombstones, all of it.

    Args:
        decoded: events.
        erased: tombstones as of the moment the partitions were taken.
    """
    if not erased.any():
        return decoded
    gone = erased.covers(decoded.hashes, decoded.rows["visitor"], about_ms(decoded.rows))
    return decoded.kept(~gone) if gone.any() else decoded
