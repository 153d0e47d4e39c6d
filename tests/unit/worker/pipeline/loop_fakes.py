"""What stands around the loop in a world without servers: clock, store, consumer, outputs, observer."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from decisions.effects import Result
from decisions.intake import Decoded, Plan, Records
from featurestore.store.keys import Namespace, Shard
from featurestore.store.memory import MemoryStore
from featurestore.store.outbox import Output
from featurestore.store.protocols import APPLIED, Due, Lease, ShardWrite, WriteResult
from worker.clock import Clock
from worker.kafka.group_watch import Standing
from worker.kafka.letters import Letter
from worker.kafka.polled import Polled
from worker.kafka.source import Bounds, Changes
from worker.metrics.metrics import Metrics
from worker.protocols import Stopwatch

if TYPE_CHECKING:
    from tests.unit.worker.pipeline.loop_world import World

T0 = 1_700_000_000_000


class Crash(BaseException):
    """The process is gone."""


class FakeClock:
    def __init__(self, begin_ms: int = T0) -> None:
        self.seconds = 0.0
        self._begin_ms = begin_ms

    def now_ms(self) -> int:
        return self._begin_ms + round(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class FlakyStore(MemoryStore):
    """Fails before or after it has written, or writes only when the answer is read, as the world's dice say.

    Holds the loop to the rules by which nobody in a list is overlooked: no session comes into a bucket between the
    reading of its list and the write that deletes it, and lists are not read while a write is under way that may have
    to be sent again and would then come after the reading.
    """

    def __init__(self, namespace: Namespace, world: "World") -> None:
        super().__init__(namespace)
        self._world = world
        self._read: dict[Shard, set[int]] = {}
        self.under_way: list[Sequence[ShardWrite]] = []

    def acquire(self, shards: Sequence[Shard], now_ms: int, own: int) -> list[Lease]:
        for shard in shards:
            self._read.pop(shard, None)  # whoever read is fenced
        return super().acquire(shards, now_ms, own)

    def due(self, queries: Sequence[tuple[Shard, int]], limit: int) -> list[Due]:
        self._world.dice("send timers again")
        found = super().due(queries, limit)
        for (shard, _), due in zip(queries, found, strict=True):
            self._read.setdefault(shard, set()).update(due.passed)
        return found

    def begin_due(self, queries: Sequence[tuple[Shard, int]], limit: int) -> Callable[[], list[Due]]:
        touching = [write for writes in self.under_way for write in writes if write.expiry_buckets or write.passed]
        assert not touching, "this write may come after the reading"
        self._world.dice("send timers")
        if self._world.rng.random() < self._world.trouble:  # the script was not in the cache
            return lambda: self.due(queries, limit)
        found = self.due(queries, limit)

        def read() -> list[Due]:
            self._world.dice("read timers")
            return found

        return read

    def _write(self, write: ShardWrite) -> WriteResult:
        before = self._shard(write.shard).written
        result = super()._write(write)
        if result.status == APPLIED and self._shard(write.shard).written > before:
            read = self._read.setdefault(write.shard, set())
            assert not read & set(write.expiry_buckets), "into a list that was read, and will be deleted"
            read -= set(write.passed)
            self._world.ends += len(write.ending)
        return result

    def begin_load(self, requests: Sequence[tuple[Shard, Sequence[str]]]) -> Callable[[], list[list[bytes | None]]]:
        self._world.dice("send load")
        loaded = self.load(requests)

        def read() -> list[list[bytes | None]]:
            self._world.dice("read load")
            return loaded

        return read

    def begin_write(self, writes: Sequence[ShardWrite], decision_ttl_ms: int) -> Callable[[], list[WriteResult]]:
        self.under_way.append(writes)
        self._world.dice("send write")
        world = self._world
        if world.rng.random() < world.trouble:  # the script was not in the cache: it runs when the answer is read
            return lambda: self.write(writes, decision_ttl_ms)
        results = super().write(writes, decision_ttl_ms)

        def read() -> list[WriteResult]:
            world.dice("read write")
            self.under_way.clear()  # there is never more than one
            return results

        return read

    def write(self, writes: Sequence[ShardWrite], decision_ttl_ms: int) -> list[WriteResult]:
        self._world.dice("send write again")
        results = super().write(writes, decision_ttl_ms)
        self._world.dice("read write again")
        self.under_way.clear()
        return results


class FakeSource:
    """The log as a consumer gives it."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._given = False
        self._at = dict.fromkeys(world.log, 0)
        self._paused = set(world.log)
        self._ended: set[int] = set()
        self._to_commit: dict[int, int] = {}
        self._lost: list[int] = []

    def changes(self) -> Changes:
        if self._lost:
            lost, self._lost = self._lost, []
            return Changes(lost=lost)
        assigned = [] if self._given else list(self._world.log)
        self._given = True
        return Changes(assigned=assigned)

    def owns(self, partition: int) -> bool:
        return True

    def poll(self, most: int, wait_s: float) -> Polled:
        world = self._world
        world.clock.sleep(max(wait_s, 0.001))
        world.dice("poll")
        records, messages, at_end = [], {}, {}
        for number in sorted(world.log.keys() - self._paused):
            part = world.log[number]
            first = bisect_left(part.offsets, self._at[number])
            # Mostly as much as is wanted: the loop decides a batch behind the next one only while full ones come.
            end = min(first + world.rng.choice([1, most, most, most]), len(part.offsets))
            if first < end:
                records.append(
                    Records(number, part.values[first:end], part.offsets[first:end], part.record_ms[first:end])
                )
                messages[number] = [None] * (end - first)
                self._at[number] = part.offsets[end - 1] + 1
            if end == len(part.offsets) and number not in self._ended:
                self._ended.add(number)
                at_end[number] = world.log_ends()[number]
        full = sum(len(part.values) for part in records) >= most
        return Polled(records, messages, at_end, set(), full)

    def start_at(self, partition: int, offset: int) -> None:
        self._at[partition] = offset
        self._paused.discard(partition)
        self._ended.discard(partition)

    def pause(self, partitions: Sequence[int]) -> None:
        self._paused |= set(partitions)

    def bounds(self, partition: int, *, fresh: bool = False, wait_s: float = 5.0) -> Bounds:
        return Bounds(0, self._world.log_ends()[partition])

    def committed(self, partition: int) -> int | None:
        return self._world.committed.get(partition)

    def ends(self, partitions: Sequence[int]) -> Future[dict[int, int]]:
        answer: Future[dict[int, int]] = Future()
        answer.set_result({number: self.bounds(number).high for number in partitions})
        return answer

    def offset_at(self, partition: int, epoch_ms: int) -> int | None:
        return 0

    def will_commit(self, partition: int, offset: int) -> None:
        self._to_commit[partition] = offset

    def commit(self, *, wait: bool = False) -> bool:
        self._world.committed |= self._to_commit
        return True

    def renew(self) -> None:
        """As after three fences by a newer owner: everything is lost, and given to the new client."""
        self._lost, self._given = list(self._world.log), False
        self._paused = set(self._world.log)
        self._ended.clear()
        self._to_commit.clear()

    def close(self) -> None:
        """Nothing."""


class NoGroup:
    """A group whose only member owns everything."""

    def standing(self) -> Standing:
        return Standing.NEEDED

    def reset(self) -> None:
        """Nothing."""


class FakeOutputs:
    """What was sent is safe once it is settled; a crash loses what is not."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._flying: list[Output] = []
        self._acknowledged = 0
        self.given = 0

    def send(self, outputs: Sequence[Output]) -> int:
        self._flying += outputs
        self.given += 1
        return self.given

    def acknowledged(self) -> int:
        if self._world.rng.random() < 0.3:
            self._land()
        return self._acknowledged

    def room(self) -> bool:
        return self.given - self._acknowledged < 5

    def settled(self, wait_s: float) -> bool:
        if self._world.rng.random() < self._world.trouble:
            return False
        self._land()
        return True

    def _land(self) -> None:
        self._world.topic += self._flying
        self._flying = []
        self._acknowledged = self.given

    def send_letter(self, letter: Letter) -> None:
        raise AssertionError("no record of this log is bad")

    def close(self, wait_s: float) -> bool:
        return self.settled(wait_s)


class LooksAway:
    """An observer that counts nothing."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    def watch(self, clock: Clock) -> Stopwatch:
        return self

    def lap(self, step: str) -> None:
        """Nothing."""

    def decoded(self, decoded: Decoded) -> None:
        """Nothing."""

    def batch(self, plan: Plan, result: Result | None, read: int, bad: int, now_ms: int) -> None:
        """Nothing."""

    def timers(self, result: Result) -> None:
        """Nothing."""

    def lag(self, behind: dict[int, int], owned: int) -> None:
        """Nothing."""

    def tick(self, *, ready: bool) -> None:
        """Nothing."""
