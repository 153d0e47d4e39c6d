"""Stored records that cannot be read: counted, and told once a kind, without saying whose they are."""

import logging

from featurestore.store.set_aside import Kind
from worker.metrics.metrics import Metrics

log = logging.getLogger(__name__)


class CorruptRecords:
    """What a worker met.

    Args:
        metrics: counts.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told: set[str] = set()

    def met(self, kind: Kind, number: int = 1) -> None:
        """Count them, and log the first."""
        if not number:
            return
        self._metrics.corrupt_records.inc(kind, by=number)
        if kind not in self._told:
            self._told.add(kind)
            log.error(
                "a stored record cannot be read (%s): it is set aside, what it was of begins anew, and the worker goes "
                "on. Further ones are counted in corrupt_records_total only; `clickstage inspect --set-aside` lists "
                "them. Look for a damaged Redis, or a worker of another release that writes a version this one does "
                "not read",
                kind,
            )
