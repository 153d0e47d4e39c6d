"""Events that this process has produced and the worker may not have applied yet, by session.

An inline decision adds them to the stored state. What Kafka has at or below the shard's applied offset is dropped when
it is next looked at; what nobody asks about is dropped by age.
"""

import time
from collections import OrderedDict
from typing import Final

from edge.publisher import Record

MOST_RECORDS: Final = 50_000
LIFE_MS: Final = 300_000
"""A worker that lags more than this is no worker to decide beside."""


class Pending:
    """The records by session, those sent first in front; used on the event loop alone."""

    def __init__(self, most: int = MOST_RECORDS) -> None:
        self._most = most
        self._count = 0
        self._by_session: OrderedDict[bytes, list[Record]] = OrderedDict()

    def sent(self, records: list[Record]) -> None:
        """These are on their way."""
        by_session = self._by_session
        for record in records:
            kept = by_session.get(record.key)
            if kept is None:
                by_session[record.key] = [record]
            else:
                kept.append(record)
                by_session.move_to_end(record.key)
        self._count += len(records)
        while self._count > self._most:
            self._count -= len(by_session.popitem(last=False)[1])

    def of(self, session_id: str) -> list[Record]:
        """What may not be applied yet, in the order sent."""
        oldest_ms = self._oldest_ms()
        return [r for r in self._by_session.get(session_id.encode(), ()) if r.at_ms > oldest_ms and not r.failed]

    def partition(self, session_id: str) -> int:
        """Where this session's events are; -1 where Kafka has not said so yet, or none waits."""
        return max((r.partition for r in self._by_session.get(session_id.encode(), ())), default=-1)

    def applied(self, session_id: str, offset: int) -> None:
        """The worker has applied the session's partition up to this offset."""
        key = session_id.encode()
        kept = self._by_session.get(key)
        if kept is None:
            return
        oldest_ms = self._oldest_ms()
        left = [r for r in kept if r.at_ms > oldest_ms and not r.failed and not 0 <= r.offset <= offset]
        self._count -= len(kept) - len(left)
        if left:
            self._by_session[key] = left
        else:
            del self._by_session[key]

    def _oldest_ms(self) -> int:
        return time.time_ns() // 1_000_000 - LIFE_MS
