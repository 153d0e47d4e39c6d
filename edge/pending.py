"""Events that this process has produced and the worker may not have applied yet, by session.

An inline decision adds them to the stored state. What Kafka has at or below the shard's applied offset is dropped when
it is next looked at. What nobody asks about is dropped by age, and the oldest sessions where there is too much.
"""

import time
from collections import OrderedDict
from typing import Final

from edge.publisher import Record

MOST_RECORDS: Final = 50_000
MOST_BYTES: Final = 64 << 20
"""Of all values: an event may have 64 KiB, and anybody with the public key may send such events."""
LIFE_MS: Final = 300_000
"""A worker that lags more than this is no worker to decide beside."""


class Pending:
    """The records by session, those sent first in front; used on the event loop alone."""

    def __init__(self, most: int = MOST_RECORDS, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._count = 0
        self._bytes = 0
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
            self._bytes += len(record.value)
        self._count += len(records)
        self._drop_what_nobody_asks_about()

    def of(self, session_id: str) -> list[Record]:
        """What may not be applied yet, in the order sent."""
        oldest_ms = self._oldest_ms()
        return [r for r in self._by_session.get(session_id.encode(), ()) if r.at_ms > oldest_ms and not r.failed]

    def clear(self) -> None:
        """Forget everything: offsets are of another topic by now."""
        self._count = self._bytes = 0
        self._by_session.clear()

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
        self._forget(kept)
        self._count += len(left)
        self._bytes += sum(len(r.value) for r in left)
        if left:
            self._by_session[key] = left
        else:
            del self._by_session[key]

    def _drop_what_nobody_asks_about(self) -> None:
        """The session that sent nothing for longest is in front."""
        oldest_ms = self._oldest_ms()
        while self._by_session:
            first = next(iter(self._by_session.values()))
            if self._count <= self._most and self._bytes <= self._most_bytes and first[-1].at_ms > oldest_ms:
                return
            self._forget(self._by_session.popitem(last=False)[1])

    def _forget(self, records: list[Record]) -> None:
        self._count -= len(records)
        self._bytes -= sum(len(r.value) for r in records)

    def _oldest_ms(self) -> int:
        return time.time_ns() // 1_000_000 - LIFE_MS
