"""Fenced writes: what a write must find in the store to be applied, and what becomes of it."""

from collections.abc import Callable, Mapping, Sequence

from decisions.effects import Result
from featurestore.store import outbox
from featurestore.store.protocols import APPLIED, SessionWriter, ShardWrite, WriteResult
from featurestore.store.refusals import Note
from worker.clock import Clock
from worker.metrics.corrupt import CorruptRecords
from worker.partitions.ownership import Ownership
from worker.partitions.partition import Partition
from worker.pipeline.flow import Flow
from worker.pipeline.in_flight import Batch, Written
from worker.pipeline.store_calls import StoreCalls


class Fencing:
    """Puts fences on writes, sends them, and takes in the answers.

    Args:
        store: Redis.
        calls: repeats what was not answered.
        ownership: the partitions; is told of refusals.
        flow: knows which outboxes are acknowledged.
        clock: time.
        decision_ttl_ms: how long a decision lives in the store.
        write_version: of the outboxes (`featurestore.versions`).
        corrupt: is told of records that are set aside.
    """

    def __init__(
        self,
        store: SessionWriter,
        calls: StoreCalls,
        ownership: Ownership,
        flow: Flow,
        clock: Clock,
        decision_ttl_ms: int,
        write_version: int,
        corrupt: CorruptRecords,
    ) -> None:
        self._store = store
        self._calls = calls
        self._own = ownership
        self._flow = flow
        self._clock = clock
        self._ttl_ms = decision_ttl_ms
        self._write_version = write_version
        self._corrupt = corrupt
        self._writes = 0

    def fenced(
        self,
        result: Result | None,
        partitions: Mapping[int, Partition],
        done: Mapping[int, int],
        refused: Mapping[int, Note],
    ) -> list[Written]:
        """The writes of a batch with their fences, and a bare one for partitions whose records brought no event.

        Args:
            result: of the batch, None where no record held an event.
            partitions: those of the batch.
            done: partition → offset of its last record.
            refused: partition → what its first bucket is to note.
        """
        writes: list[Written] = []
        if result is not None:
            writes += zip(result.writes, result.outputs, strict=True)
        touched = {write.shard.partition for write, _ in writes}
        noting = {write.shard.partition for write, _ in writes if write.shard.bucket == 0}
        bare = [n for n in done if n not in touched or (n in refused and n not in noting)]
        writes += [(ShardWrite(partitions[n].shards[0], "", None, None), []) for n in bare]
        mine = []
        for write, produced in writes:
            partition = partitions[write.shard.partition]
            if self._own.current(partition):
                if write.shard.bucket == 0:
                    write.refused = refused.get(partition.number)
                self.fence(write, partition, done.get(partition.number))
                if produced:
                    offset = done.get(partition.number, outbox.NEVER_COMMITTED)
                    write.outbox = outbox.encode(offset, produced, self._write_version)
                mine.append((write, produced))
        return mine

    def fence(self, write: ShardWrite, partition: Partition, applied: int | None) -> None:
        """Fill in what the store must hold for the write to be applied, and what it holds afterwards.

        Args:
            write: to be fenced.
            partition: of its shard.
            applied: offset of the last record that the write covers, None where only time passes.
        """
        write.expiry_buckets = partition.puts(write.shard, write.expiry_buckets)
        lease = partition.lease(write.shard)
        write.epoch = lease.epoch
        write.expected = lease.applied
        # A bucket may be ahead of what is read again for another; only after a truncation do offsets go back.
        behind = lease.applied is None or partition.ignore_applied or (applied is not None and applied > lease.applied)
        write.applied = applied if applied is not None and behind else lease.applied
        write.set_aside = [*write.set_aside, *partition.unread[write.shard.bucket]]
        write.acknowledged = partition.acknowledged_outboxes(write.shard, self._flow.acknowledged)
        self._writes += 1
        write.number = self._writes

    def send(self, batch: Batch) -> None:
        """Send the writes of a batch; `answers` reads what became of them."""
        if batch.writes:
            writes = [write for write, _ in batch.writes]
            batch.answer = self._calls.begun(lambda: self._store.begin_write(writes, self._ttl_ms))

    def answers(self, batch: Batch) -> list[WriteResult]:
        """The results of a batch's writes. If one is unknown, the call is made again; each write is applied once."""
        writes = [write for write, _ in batch.writes]
        begun: Callable[[], list[WriteResult]] | None
        begun, batch.answer = batch.answer, None
        return self._calls.answered("write", begun, lambda: self._store.write(writes, self._ttl_ms))

    def confirm(self, batch: Batch) -> None:
        """Wait for the answers; the batch keeps the writes that are applied."""
        if batch.writes:
            batch.writes = self._applied(batch.writes, self.answers(batch), batch.partitions)

    def verify(self, idle: Sequence[Partition], since: float) -> None:
        """Write nothing but fences, for the shards of ``idle`` without a fenced call since then; waits for the answer.

        Nothing may be in flight.
        """
        writes: list[Written] = []
        for partition in idle:
            for shard in partition.unchecked(since):
                write = ShardWrite(shard, "", None, None)
                applied = partition.lease(shard).applied
                # After a truncation the applied offset goes back: a restart must not skip what is written meanwhile.
                moves = applied is None or partition.done > applied or partition.ignore_applied
                self.fence(write, partition, partition.done if moves else None)
                writes.append((write, []))
        if writes:  # what was in flight may have been of all of them
            sent = [write for write, _ in writes]
            results = self._calls.call("write", lambda: self._store.write(sent, self._ttl_ms))
            self._applied(writes, results, {partition.number: partition for partition in idle})

    def _applied(
        self, writes: Sequence[Written], results: Sequence[WriteResult], partitions: Mapping[int, Partition]
    ) -> list[Written]:
        """Take in what became of writes: those that are applied."""
        now = self._clock.monotonic()
        applied: list[Written] = []
        for written, result in zip(writes, results, strict=True):
            write = written[0]
            partition = partitions[write.shard.partition]
            if result.status == APPLIED:
                partition.written(write, now)
                for record in write.set_aside:
                    self._corrupt.met(record.kind)
                applied.append(written)
            elif partition.running:
                self._own.refused(partition, write.shard, result)
        return applied
