"""A log of the past, read in step: no partition runs ahead of the others by more than a span of record time.

Live, the partitions of a topic grow together. A log that is read at full speed knows no such order: a poll may bring
months of one partition before the first record of another. What one visit leaves to the next (whether it was a bounce)
lies in another partition, and would come too late. So records wait here until the other partitions have come as far.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Any, Final

from decisions.intake import Records
from worker.clock import Clock
from worker.kafka.polled import Polled
from worker.kafka.source import Bounds, Changes
from worker.protocols import Consumer

ENOUGH: Final = 10_000
"""A partition with this many waiting records is not fetched further."""

ENDED_S: Final = 0.5
"""A partition that was read to its end counts as ended when nothing came for so long: a replay may be writing."""

PATIENCE_S: Final = 2.0
"""A partition that is not at its end and brings nothing is waited for so long; then its broker may be away."""

SHORT_WAIT_S: Final = 0.005
"""How long a poll waits for more while records wait here."""


@dataclass(slots=True)
class _Waiting:
    """Records of one partition that were fetched and not given yet, from ``at`` on.

    Attributes:
        keys: their places in time: a record's own time, or that of one before it if that is later.
        end: where the log ended behind them, until that has been told.
    """

    values: list[bytes | None] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    record_ms: list[int] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    at: int = 0
    end: int | None = None

    def __len__(self) -> int:
        return len(self.offsets) - self.at

    def before(self, bound_ms: int) -> int:
        """How many of them are older."""
        return bisect_left(self.keys, bound_ms, self.at) - self.at

    def append(self, records: Records, messages: Sequence[Any]) -> None:
        """More came."""
        self.values += records.values
        self.offsets += records.offsets
        self.record_ms += records.record_ms
        self.messages += messages
        times: Iterable[int] = records.record_ms
        if self.keys:
            times = chain((self.keys.pop(),), times)
        self.keys += accumulate(times, max)
        self.end = None

    def take(self, partition: int, n: int) -> tuple[Records, list[Any]]:
        """The first ``n``."""
        cut = slice(self.at, self.at + n)
        taken = Records(partition, self.values[cut], self.offsets[cut], self.record_ms[cut]), self.messages[cut]
        self.at += n
        if self.at >= ENOUGH:
            for column in (self.values, self.offsets, self.record_ms, self.messages, self.keys):
                del column[: self.at]
            self.at = 0
        return taken


class TimeOrdered:
    """A `Consumer` whose polls keep the partitions in step; nothing else about it changes.

    Args:
        consumer: of the topic.
        clock: time.
        span_ms: how far apart partitions may be; at most a session's gap.
    """

    def __init__(self, consumer: Consumer, clock: Clock, span_ms: int) -> None:
        self._consumer = consumer
        self._clock = clock
        self._span_ms = span_ms
        self._parts: dict[int, _Waiting] = {}
        self._reading: set[int] = set()
        self._ended: set[int] = set()
        self._quiet_since: dict[int, float] = {}
        self._ahead: dict[int, int] = {}
        """Partitions of which enough waits, with the offset to fetch on from."""
        self._bound_ms = -1
        self._pass_ms: int | None = None
        self._begun_anew = False
        self._unsure_ms = -1
        """Until here, visits may be open of which nothing was read since a partition began anew."""

    def poll(self, most: int, wait_s: float) -> Polled:
        """The next records in step, at most ``most``; none while a partition has to come up."""
        # No more than is missing: what waits here is used up, and then records pass through untouched.
        missing = max(most - sum(part.before(self._bound_ms) for part in self._parts.values()), 1)
        polled = self._consumer.poll(missing, min(wait_s, SHORT_WAIT_S) if self._parts else wait_s)
        now = self._clock.monotonic()
        for records in polled.records:
            self._ended.discard(records.partition)
            self._quiet_since[records.partition] = now
        for number in polled.at_end:
            self._ended.add(number)
            self._quiet_since[number] = now
        if not self._parts and all(max(records.record_ms) < self._bound_ms for records in polled.records):
            return polled
        self._keep(polled)
        pass_ms = self._begin_span(most, now)
        in_step = frozenset(self._parts.keys() | (self._ended & self._reading))
        given = self._taken(polled, most)
        self._fetch_less()
        return given._replace(waiting=frozenset(self._parts), pass_ms=pass_ms, in_step=in_step)

    def hold_back(self, rest: Sequence[tuple[Records, list[Any]]], at_ms: int) -> None:
        """Take back the end of what was polled: time has to pass first, up to ``at_ms``, in all partitions."""
        for records, messages in rest:
            part = _Waiting()
            part.append(records, messages)
            part.keys = [max(key, at_ms) for key in part.keys]
            behind = self._parts.get(records.partition)
            if behind is not None:
                records, messages = behind.take(records.partition, len(behind))
                part.append(records, messages)
                part.end = behind.end
            self._parts[records.partition] = part
        self._bound_ms = self._pass_ms = at_ms

    def changes(self) -> Changes:
        """As `KafkaSource.changes`."""
        changes = self._consumer.changes()
        self._drop([*changes.revoked, *changes.lost])
        return changes

    def start_at(self, partition: int, offset: int) -> None:
        """As `KafkaSource.start_at`."""
        self._drop([partition])
        self._consumer.start_at(partition, offset)
        self._reading.add(partition)
        self._quiet_since[partition] = self._clock.monotonic()
        self._begun_anew, self._bound_ms, self._pass_ms = True, -1, None

    def pause(self, partitions: Sequence[int]) -> None:
        """As `KafkaSource.pause`."""
        self._drop(partitions)
        self._consumer.pause(partitions)

    def renew(self) -> None:
        """As `KafkaSource.renew`."""
        self._drop(list(self._reading))
        self._consumer.renew()

    def owns(self, partition: int) -> bool:
        """As `KafkaSource.owns`."""
        return self._consumer.owns(partition)

    def bounds(self, partition: int, *, fresh: bool = False, wait_s: float = 5.0) -> Bounds | None:
        """As `KafkaSource.bounds`."""
        return self._consumer.bounds(partition, fresh=fresh, wait_s=wait_s)

    def ends(self, partitions: Sequence[int]) -> Future[dict[int, int]]:
        """As `KafkaSource.ends`."""
        return self._consumer.ends(partitions)

    def committed(self, partition: int) -> int | None:
        """As `KafkaSource.committed`."""
        return self._consumer.committed(partition)

    def offset_at(self, partition: int, epoch_ms: int) -> int | None:
        """As `KafkaSource.offset_at`."""
        return self._consumer.offset_at(partition, epoch_ms)

    def will_commit(self, partition: int, offset: int) -> None:
        """As `KafkaSource.will_commit`."""
        self._consumer.will_commit(partition, offset)

    def commit(self, *, wait: bool = False) -> bool:
        """As `KafkaSource.commit`."""
        return self._consumer.commit(wait=wait)

    def close(self) -> None:
        """As `KafkaSource.close`."""
        self._consumer.close()

    def _keep(self, polled: Polled) -> None:
        for records in polled.records:
            if records.partition in self._reading:
                part = self._parts.setdefault(records.partition, _Waiting())
                part.append(records, polled.messages[records.partition])
        for number, end in polled.at_end.items():
            if number in self._reading:
                self._parts.setdefault(number, _Waiting()).end = end

    def _taken(self, polled: Polled, most: int) -> Polled:
        """What is left of the span; the end of a partition is told behind its last record."""
        records, messages, left = [], {}, most
        for number, part in self._parts.items():
            if n := min(part.before(self._bound_ms), left):
                taken, messages[number] = part.take(number, n)
                records.append(taken)
                left -= n
        at_end = {number: part.end for number, part in self._parts.items() if not part and part.end is not None}
        self._parts = {number: part for number, part in self._parts.items() if part}
        return Polled(records, messages, at_end, polled.out_of_range, polled.full or left <= 0)

    def _begin_span(self, most: int, now: float) -> int | None:
        """Go on to the next span if nothing is left of this one, and every partition is known to have come as far.

        Returns:
            Up to when time has to pass before it, epoch ms; None where that does not matter.
        """
        waiting = {number: part for number, part in self._parts.items() if part}
        first = min((part.keys[part.at] for part in waiting.values()), default=None)
        if first is None or first < self._bound_ms:
            return None
        if any(self._awaited(number, now) for number in self._reading - waiting.keys()):
            return None
        pass_ms, self._pass_ms = self._pass_ms, None
        if self._begun_anew:
            self._begun_anew, self._unsure_ms = False, first + self._span_ms
        width = self._span_ms
        if first <= self._unsure_ms:
            pass_ms = first
        else:
            width = self._widened(list(waiting.items()), first, most, now)
        self._bound_ms = first + width
        return pass_ms

    def _widened(self, waiting: Sequence[tuple[int, _Waiting]], first: int, most: int, now: float) -> int:
        """A span that is worth a batch, where all of its records are here: a log may have few events a day."""
        known = [part.keys[-1] for number, part in waiting if number not in self._ended or self._awaited(number, now)]
        last = min(known, default=max(part.keys[-1] for _, part in waiting))
        width = self._span_ms
        while first + 2 * width <= last and sum(part.before(first + 2 * width) for _, part in waiting) <= most:
            width *= 2
        return width

    def _awaited(self, number: int, now: float) -> bool:
        """Whether records of this partition may be on their way."""
        return now - self._quiet_since[number] < (ENDED_S if number in self._ended else PATIENCE_S)

    def _fetch_less(self) -> None:
        """Fetch no more of partitions that are far ahead, and go on with those that were."""
        for number, part in self._parts.items():
            if len(part) >= ENOUGH and number not in self._ahead:
                self._ahead[number] = part.offsets[-1] + 1
                self._consumer.pause([number])
        for number in [n for n in self._ahead if n not in self._parts or len(self._parts[n]) < ENOUGH // 2]:
            self._consumer.start_at(number, self._ahead.pop(number))
            self._quiet_since[number] = self._clock.monotonic()

    def _drop(self, partitions: Iterable[int]) -> None:
        """Read no more of these, and forget what waits of them."""
        for number in partitions:
            self._reading.discard(number)
            self._ended.discard(number)
            self._parts.pop(number, None)
            self._ahead.pop(number, None)
