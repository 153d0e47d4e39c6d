"""The worker's loop: nine steps, in this order, for every batch.

1. poll      records of the partitions this worker owns
2. decode    events out of records; what is none becomes a dead letter
3. load      the sessions of the batch, and the profiles of visitors new to them
4. fold      events into states and features
5. score     features into probabilities of the four stages
6. decide    stage and action by the policy
7. write     states, decisions, deadlines, outputs and the applied offset: one fenced script or transaction
8. flush     decisions and summaries: produced; what is not acknowledged stays in the outboxes, up to a bound
9. commit    the offset to Kafka, for lag tools

Dead letters are acknowledged before the script that passes them. The outputs of step 8 are kept in Redis by step 7 (the
outboxes) until Kafka has acknowledged them, so a crash in between loses none: the next owner produces them. Nothing is
committed whose outputs are not safe. A crash anywhere repeats work, never loses it, and what is repeated is the same to
the byte (times apart).

While a batch is read and decided here (1 to 6), Redis writes the one before it (7), and Kafka takes the outputs of
those before that (8). From when more waits in Kafka than one batch takes, the next batch is asked for (3) before this
one is decided, so that the worker need not wait for Redis: more events a second, each a turn of the loop later.
"""

import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final, TypeVar

from confluent_kafka import KafkaException, Message

from decisions.effects import Result
from decisions.engine import Engine
from decisions.intake import Plan, Records, decode, plan_ticks
from decisions.intake import plan as make_plan
from decisions.overlay import Overlay
from featurestore.contract.ids import IdKey
from featurestore.errors import Backpressure, InvalidEvent, StoreUnavailable
from featurestore.store import outbox
from featurestore.store.protocols import APPLIED, SessionStore, ShardWrite, WriteResult
from worker.clock import Clock
from worker.kafka.deadletters import Limit, headers
from worker.kafka.source import KafkaSource, Polled
from worker.partitions.erased_filter import without_erased
from worker.partitions.ownership import Ownership
from worker.partitions.partition import Partition
from worker.pipeline.in_flight import Batch, Written
from worker.pipeline.observe import Observer
from worker.pipeline.outputs import Outputs
from worker.pipeline.silence import Question, Silence
from worker.pipeline.timers import DUE_LIMIT
from worker.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

IDLE_WAIT_S: Final = 0.05
TIMER_EVERY_S: Final = 0.1
TIMER_BEHIND_S: Final = 0.5
BACKOFF_FIRST_S: Final = 0.05
BACKOFF_MOST_S: Final = 2.0
SETTLE_SLICE_S: Final = 0.25
PAUSE_AFTER_S: Final = 2.0
CALM: Final = 8
"""A batch of at most this part of the largest shows that little waits."""
IN_FLIGHT: Final = 2
"""How many writes a question to Redis may have overtaken: the one under way, and one that had to be sent again."""


class Stopping(Exception):
    """The worker is asked to stop while a step waits; nothing of the batch in flight was applied."""


class Loop:
    """Runs until `stop`.

    Args:
        settings: sizes and intervals.
        engine: the pure core.
        source: Kafka, in.
        outputs: Kafka, out.
        store: Redis.
        ownership: the partitions.
        observer: metrics, drift, KPIs.
        clock: time.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        source: KafkaSource,
        outputs: Outputs,
        store: SessionStore,
        ownership: Ownership,
        observer: Observer,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._source = source
        self._outputs = outputs
        self._store = store
        self._loader = engine.loader(store, self._asked)
        self._own = ownership
        self._observer = observer
        self._clock = clock
        self._ids = IdKey.of(settings.id_key.get_secret_value())
        self._limits: dict[int, Limit] = {}
        self._size = settings.batch_max
        self._deep = False  # a batch waits in flight for the next one
        self._ahead: Batch | None = None  # prepared; its sessions are being loaded
        self._sent: Batch | None = None  # decided; its write is under way
        self._written: Batch | None = None  # applied; to be published
        self._overlays: deque[Overlay] = deque(
            maxlen=IN_FLIGHT
        )  # by writes that a question under way may not have seen
        self._acknowledged = 0  # of what was given to the outputs
        self._writes = 0
        self._silence = Silence(settings.timers, source, store, ownership, clock)
        self._applied: dict[int, int] = {}  # partition → last offset applied whose outputs may not be safe yet
        self._stop = False
        self._next_timer = 0.0
        self._next_commit = 0.0
        self._next_verify = 0.0
        self.before_poll: list[Callable[[], None]] = []
        self.trouble: str | None = "no partition yet"
        self.beat = clock.monotonic()
        self.progress = clock.monotonic()

    def stop(self) -> None:
        """Finish the batch in flight, then return from `run`; safe in a signal handler."""
        self._stop = True

    def run(self) -> None:
        """Block until stopped.

        Raises:
            DeadLetterLimit: too many bad records.
            Backpressure: the Kafka client is unusable.
        """
        try:
            while not self._stop:
                self.step()
            self._drain()
        except Stopping:
            log.info("stopped while waiting; what was in flight will be read again")
        except KafkaException as error:
            self._applied.clear()
            raise Backpressure(
                f"the Kafka client gave up ({error.args[0].name()}); a restart reads on from what is applied"
            ) from None
        except BaseException:
            self._applied.clear()  # an output may have been refused unheard: whoever comes next produces it again
            raise

    def step(self) -> None:
        """One turn: assignment, batches, timers, fences, commit."""
        self._beat()
        for hook in self.before_poll:
            hook()
        if self._own.waiting():
            self._drain()
            self._take_waiting()  # before the poll: what it brings must come from where the lease says
        question = self._ask()
        busy = self._ahead is not None or self._sent is not None
        polled = self._source.poll(self._size, 0.0 if busy else IDLE_WAIT_S)  # 1
        begun = self._clock.monotonic()
        self._own.follow()
        for number in polled.out_of_range:
            self._own.out_of_range(number)
        self._note_ends(polled)  # before the batch: what waits in it may outdate an end seen now
        batch = self._prepare(polled) if polled.records else None  # 2, 3
        if batch is not None:
            self._push(batch)
        if question is not None:
            self._answer_timers(question)
        waits = self._deepen(0 if batch is None else batch.read, full=polled.full)
        if batch is None:
            self._drain()  # nothing comes behind it
        elif not waits:
            self._hasten()
        now = self._clock.monotonic()
        if batch is not None:
            self._resize(now - begun, full=polled.full)
        self._verify()
        if now >= self._next_commit:
            self._next_commit = now + self._settings.commit_every_s
            self._commit()
        self._note_acknowledged()

    def close(self) -> None:
        """Deliver, commit, leave the group."""
        if self._outputs.close(self._settings.shutdown_s / 3):
            self._safe()
        if not self._source.commit(wait=True):
            self._observer.metrics.commit_failures.inc()
        self._source.close()

    # -- a batch ---------------------------------------------------------------------------------

    def _prepare(self, polled: Polled) -> Batch | None:
        """Decode and plan, and ask Redis for the sessions; the answer is read by `_complete`."""
        watch = self._observer.watch(self._clock)
        mine = [records for records in polled.records if self._owned(records.partition)]
        if not mine:
            return None
        decoded = without_erased(decode(mine, self._ids), self._own.erased)  # 2
        partitions, begin, done = {}, {}, {}
        for records in mine:
            number = records.partition
            partition = partitions[number] = self._own.partitions[number]
            self._dead_letters(records, decoded.bad.get(number, []), polled.messages[number])
            begin[number], done[number] = partition.next_offset, records.offsets[-1]
            partition.next_offset = max(partition.next_offset, done[number] + 1)
        # What was read before may be in flight and not applied yet: a seek must not bring it in twice.
        floor = lambda shard: max(partitions[shard.partition].floor(shard), begin[shard.partition] - 1)  # noqa: E731
        plan = make_plan(decoded, self._settings.buckets, floor)
        watch.lap("decode")
        loading = None if plan.empty else self._loader.begin(plan)  # 3
        bad = sum(map(len, decoded.bad.values()))
        dead = self._outputs.given if bad else 0
        return Batch(plan, partitions, done, decoded.rows.size, bad, watch, dead, loading)

    def _owned(self, number: int) -> bool:
        """Whether the partition's events may be applied."""
        partition = self._own.partitions.get(number)
        return partition is not None and self._own.current(partition)

    def _push(self, batch: Batch) -> None:
        """Take up a batch, and complete the one before it while Redis answers for this one."""
        before, self._ahead = self._ahead, batch
        if before is not None:
            self._complete(before)

    def _complete(self, batch: Batch) -> None:
        """Fold, score, decide, and send the write; its answer is read by `_confirm`."""
        self._publish()  # here: Redis is at the write before this one, and then at the load of this one
        if batch.loading is not None:
            loaded, batch.loading = batch.loading.finish(self._overlays), None
            batch.watch.lap("load")
            batch.result = self._engine.run(batch.plan, loaded, self._clock.now_ms())  # 4, 5, 6
            batch.watch.lap("score")
        self._flush(batch)
        batch.watch.lap("flush")
        self._confirm()  # 7 of the batch before this one
        if batch.result is not None:
            self._overlays.append(batch.result.overlay)
        if self._ahead is not None and self._ahead.loading is not None:
            self._ahead.loading.open(self._overlays)  # now: what it asks for would wait behind the write
        batch.writes = self._fenced(batch.result, batch.partitions, batch.done)
        if batch.writes:
            writes = [write for write, _ in batch.writes]
            ttl = self._engine.decision_ttl_ms
            batch.answer = self._begun(lambda: self._store.begin_write(writes, ttl))  # 7
        self._sent = batch

    def _confirm(self) -> None:
        """Read what became of the write under way, if one is: the batch is to be published."""
        batch, self._sent = self._sent, None
        if batch is None:
            return
        if batch.writes:
            results = self._answers(batch)
            batch.writes = self._applied_of(batch.writes, results, batch.partitions)
        batch.written_ms = self._clock.now_ms()
        batch.watch.lap("write")
        self._written = batch

    def _publish(self) -> None:
        """Produce the outputs of what is applied, and count it."""
        batch, self._written = self._written, None
        if batch is None:
            return
        self._produce(batch.writes, batch.partitions)  # 8
        self._applied_up_to(batch.partitions, batch.done)
        if batch.timers:
            if batch.writes and batch.result is not None:
                self._observer.timers(batch.result)
            return
        self._advance(batch.plan, batch.partitions)
        self.progress = self._clock.monotonic()
        self._observer.batch(batch.plan, batch.result, batch.read, batch.bad, batch.written_ms)

    def _settle(self) -> None:
        """Nothing is to be under way."""
        self._publish()
        self._confirm()
        self._publish()

    def _drain(self) -> None:
        """Finish what is in flight, so that nothing is under way."""
        self._hasten()
        self._settle()
        self._overlays.clear()

    def _hasten(self) -> None:
        """Decide what is prepared, without waiting for the batch behind it."""
        if self._ahead is not None:
            batch, self._ahead = self._ahead, None
            self._complete(batch)

    def _asked(self, op: str, begin: Callable[[], Callable[[], T]]) -> Callable[[], T]:
        """Send a question; whoever reads the answer waits until the store has one."""
        begun = self._begun(begin)
        return lambda: self._answered(op, begun, lambda: begin()())  # noqa: PLW0108 - each time sent anew

    def _answered(self, op: str, begun: Callable[[], T] | None, again: Callable[[], T]) -> T:
        """The answer under way, if there is one; a new question whenever that fails."""

        def read() -> T:
            nonlocal begun
            if begun is None:
                return again()
            answer, begun = begun, None
            return answer()

        return self._call(op, read)

    def _begun(self, begin: Callable[[], Callable[[], T]]) -> Callable[[], T] | None:
        """Send now, read later; None if it could not be sent, so that reading asks again."""
        try:
            return begin()
        except StoreUnavailable:
            return None

    def _dead_letters(
        self, records: Records, bad: Sequence[tuple[int, InvalidEvent]], messages: Sequence[Message]
    ) -> None:
        topic_id = self._engine.namespace.topic_id
        for place, error in bad:
            message = messages[place]
            self._outputs.send_one(
                self._settings.dlq_topic,
                message.key(),
                message.value(),
                headers(message, error, topic_id),
                message.timestamp()[1],
            )
            self._observer.metrics.dead_letters.inc(error.reason)
        limit = self._limits.setdefault(
            records.partition, Limit(self._settings.dlq_max_share, self._settings.dlq_max_consecutive)
        )
        limit.check(len(records.offsets), [place for place, _ in bad])

    def _flush(self, batch: Batch) -> None:
        """Wait while dead letters of this batch, or too many outputs of earlier ones, are not acknowledged."""
        begun = self._clock.monotonic()
        paused = False
        while not self._flushed(batch):
            # A short wait needs no pause: reading on after one means a seek, which throws away what was fetched.
            if not paused and self._clock.monotonic() - begun >= PAUSE_AFTER_S:
                paused = True
                self._pause("Kafka does not acknowledge what is produced")
            if paused:
                self._keep_alive()
            elif self._stop:
                raise Stopping
        if paused:
            self._resume()

    def _flushed(self, batch: Batch) -> bool:
        if self._note_acknowledged() and self._acknowledged >= batch.dead and self._outputs.room():
            return True
        return self._settled()

    def _note_acknowledged(self) -> bool:
        """Learn what Kafka has; what was applied may be committed once all its outputs are safe."""
        try:
            self._acknowledged = self._outputs.acknowledged()
        except KafkaException as error:
            self._refused(error.args[0].name())
            return False
        if self._acknowledged == self._outputs.given:
            self._safe()
        return True

    def _safe(self) -> None:
        """All outputs are acknowledged: what was applied may be committed."""
        for partition, offset in self._applied.items():
            self._source.will_commit(partition, offset + 1)  # 9
        self._applied.clear()

    def _settled(self, wait_s: float = SETTLE_SLICE_S) -> bool:
        """Wait for Kafka a little; whether it has everything."""
        try:
            self._outputs.settled(wait_s)
        except KafkaException as error:
            self._refused(error.args[0].name())
            return False
        return self._note_acknowledged() and self._acknowledged == self._outputs.given

    def _refused(self, code: str) -> None:
        """Kafka gave an output back: apply nothing more, and produce again from the outboxes after a while."""
        self._applied.clear()
        for partition in self._own.running():
            self._own.rewind(partition, "output_refused", BACKOFF_MOST_S)
        self.trouble = f"Kafka refused an output ({code})"
        log.error(
            "Kafka refused an output record (%s); nothing is applied until it takes it. Check that the topics exist, "
            "that this worker may write to them, and message.max.bytes",
            code,
        )

    def _fenced(self, result: Result | None, partitions: dict[int, Partition], done: dict[int, int]) -> list[Written]:
        """The writes of a batch with their fences, and a bare one for partitions whose records brought no event.

        Args:
            result: of the batch, None where no record held an event.
            partitions: those of the batch.
            done: partition → offset of its last record.
        """
        writes: list[Written] = []
        if result is not None:
            writes += zip(result.writes, result.outputs, strict=True)
        touched = {write.shard.partition for write, _ in writes}
        writes += [(ShardWrite(partitions[n].shards[0], "", None, None), []) for n in done if n not in touched]
        mine = []
        for write, produced in writes:
            partition = partitions[write.shard.partition]
            if self._own.current(partition):
                self._fence(write, partition, done.get(partition.number))
                if produced:
                    write.outbox = outbox.encode(done.get(partition.number, outbox.NEVER_COMMITTED), produced)
                mine.append((write, produced))
        return mine

    def _applied_up_to(self, partitions: dict[int, Partition], done: dict[int, int]) -> None:
        for number, offset in done.items():
            if self._own.current(partitions[number]):
                partitions[number].done = offset
                self._applied[number] = offset

    def _fence(self, write: ShardWrite, partition: Partition, applied: int | None) -> None:
        write.expiry_buckets = [max(bucket, partition.asked_bucket) for bucket in write.expiry_buckets]
        lease = partition.lease(write.shard)
        write.epoch = lease.epoch
        write.expected = lease.applied
        # A bucket may be ahead of what is read again for another; only after a truncation do offsets go back.
        behind = lease.applied is None or partition.ignore_applied or (applied is not None and applied > lease.applied)
        write.applied = applied if applied is not None and behind else lease.applied
        write.acknowledged = partition.acknowledged_outboxes(write.shard, self._acknowledged)
        self._writes += 1
        write.number = self._writes

    def _answers(self, batch: Batch) -> list[WriteResult]:
        """What became of a batch's writes; after an unknown outcome the same call again, which applies them once."""
        writes = [write for write, _ in batch.writes]
        begun, batch.answer = batch.answer, None
        return self._answered("write", begun, lambda: self._store.write(writes, self._engine.decision_ttl_ms))

    def _apply(self, writes: Sequence[Written], partitions: dict[int, Partition]) -> None:
        """Send writes and wait for what became of them."""
        sent = [write for write, _ in writes]
        results = self._call("write", lambda: self._store.write(sent, self._engine.decision_ttl_ms))
        self._produce(self._applied_of(writes, results, partitions), partitions)

    def _applied_of(
        self, writes: Sequence[Written], results: Sequence[WriteResult], partitions: dict[int, Partition]
    ) -> list[Written]:
        """Take in what became of writes: those that are applied."""
        now = self._clock.monotonic()
        applied: list[Written] = []
        for written, result in zip(writes, results, strict=True):
            write = written[0]
            partition = partitions[write.shard.partition]
            if result.status == APPLIED:
                partition.checked_at[write.shard.bucket] = now
                partition.written(write)
                applied.append(written)
            elif partition.running:
                self._own.refused(partition, write.shard, result)
        return applied

    def _produce(self, writes: Sequence[Written], partitions: dict[int, Partition]) -> None:
        for write, outputs in writes:
            if outputs:
                given = self._outputs.send(outputs)
                partitions[write.shard.partition].outboxes[write.shard.bucket].append(given)

    def _advance(self, plan: Plan, partitions: dict[int, Partition]) -> None:
        for (shard, *_), newest in zip(plan.spans, plan.newest(), strict=True):
            partition = partitions[shard.partition]
            if newest >= 0 and self._own.current(partition):
                partition.watermark = newest if partition.watermark is None else max(partition.watermark, newest)

    # -- time ------------------------------------------------------------------------------------

    def _ask(self) -> Question | None:
        """Ask for deadlines that have passed, if it is time.

        Between the question and the write that deletes the lists which it brought, nothing may be put into those lists:
        that write would delete it unread. What is fenced from now on avoids them (`Partition.asked_bucket`). What
        is under way may have to be sent again, and would then come after the reading: it is waited for.
        """
        now = self._clock.monotonic()
        if self._silence.listen():
            self._next_timer = now
        if now < self._next_timer or any(batch is not None and batch.timers for batch in (self._ahead, self._sent)):
            return None
        if self._sent is not None and any(write.expiry_buckets for write, _ in self._sent.writes):
            self._settle()
        self._next_timer = now + (TIMER_BEHIND_S if self._backlog() else TIMER_EVERY_S)
        return self._silence.ask()

    def _answer_timers(self, question: Question) -> None:
        """Let silence speak: a batch in which only time passes, after the events that are in flight already."""
        again = lambda: self._store.due(question.queries, DUE_LIMIT)  # noqa: E731
        fallen = self._silence.due(question, self._answered("timers", question.answer, again))
        if not fallen:
            return
        if any(len(due.sessions) >= DUE_LIMIT for _, due, _ in fallen):
            self._next_timer = 0.0
        plan = plan_ticks(fallen)
        partitions = {shard.partition: question.partitions[shard.partition] for shard, _, _ in fallen}
        watch = self._observer.watch(self._clock)
        self._push(Batch(plan, partitions, {}, 0, 0, watch, 0, self._loader.begin(plan)))

    def _verify(self) -> None:
        """Idle shards check their fence, so that a Redis that went back is noticed without an event."""
        now, every = self._clock.monotonic(), self._settings.verify_every_s
        if now < self._next_verify:
            return
        self._next_verify = every + min(chain.from_iterable(p.checked_at for p in self._own.running()), default=now)
        if now < self._next_verify:
            return
        self._drain()
        # Those that are due soon come along: each time, nothing must be in flight.
        idle = {p.number: p for p in self._own.running() if p.unchecked(now - every / 2)}
        self._note_acknowledged()  # once all is, no outbox is left to send: the next owner need not produce them again
        writes: list[Written] = []
        for partition in idle.values():
            for shard in partition.unchecked(now - every / 2):
                write = ShardWrite(shard, "", None, None)
                applied = partition.lease(shard).applied
                # After a truncation the applied offset goes back: a restart must not skip what is written meanwhile.
                moves = applied is None or partition.done > applied or partition.ignore_applied
                self._fence(write, partition, partition.done if moves else None)
                writes.append((write, []))
        if writes:  # what was in flight may have been of all of them
            self._apply(writes, idle)

    def _note_ends(self, polled: Polled) -> None:
        for partition in self._own.running():
            if partition.number in polled.at_end:
                partition.at_end = True
                partition.ended_at = polled.at_end[partition.number]
            bounds = self._source.bounds(partition.number)
            if bounds is not None:
                partition.high = max(bounds.high, partition.read_to if partition.at_end else 0)
        if all(partition.high <= partition.read_to for partition in self._own.running()):
            self.progress = self._clock.monotonic()

    # -- waiting ---------------------------------------------------------------------------------

    def _take_waiting(self) -> None:
        for partition in self._own.waiting():
            self._applied.pop(partition.number, None)  # of an earlier assignment: not ours to commit any more
            try:
                self._own.take(partition)
                self.trouble = None
            except (StoreUnavailable, KafkaException) as error:
                self.trouble = f"partition {partition.number} cannot be taken"
                partition.retry_at = self._clock.monotonic() + BACKOFF_MOST_S * (0.5 + random.random() / 2)
                reason = str(error) if isinstance(error, StoreUnavailable) else error.args[0].name()
                log.warning("partition %d cannot be taken yet: %s", partition.number, reason)
                return  # the others wait as well, each for its timeout: poll in between

    def _call(self, op: str, call: Callable[[], T]) -> T:
        """Call the store until it answers: pause, keep polling, back off with jitter."""
        wait = BACKOFF_FIRST_S
        paused_at = None
        while True:
            try:
                answer = call()
            except StoreUnavailable as error:
                self._observer.metrics.store_retries.inc(op)
                if paused_at is None:
                    paused_at = self._clock.monotonic()
                    self._pause(str(error))
                    log.warning("%s", error)
                until = self._clock.monotonic() + wait * (0.5 + random.random() / 2)
                while self._clock.monotonic() < until:
                    self._keep_alive()
                wait = min(wait * 2, BACKOFF_MOST_S)
            else:
                if paused_at is not None:
                    seconds = self._clock.monotonic() - paused_at
                    self._observer.metrics.store_paused_seconds.inc(by=seconds)
                    log.info("Redis answers again after %.1f s", seconds)
                    self._resume()
                return answer

    def _pause(self, why: str) -> None:
        self.trouble = why
        self._source.pause([p.number for p in self._own.running()])

    def _keep_alive(self) -> None:
        """Poll while paused: the membership lives on, and a rebalance is noticed."""
        if self._stop:
            raise Stopping
        self._beat()
        self.progress = self._clock.monotonic()
        polled = self._source.poll(1, 0.02)
        self._own.follow()
        for records in polled.records:
            # Fetched before the pause took effect: read it again later.
            partition = self._own.partitions.get(records.partition)
            if partition is not None:
                self._own.rewind(partition, "fenced")

    def _resume(self) -> None:
        self.trouble = None
        for partition in self._own.running():
            self._source.start_at(partition.number, partition.next_offset)
            partition.at_end = False

    # -- the rest --------------------------------------------------------------------------------

    def _commit(self) -> None:
        if not self._source.commit():
            self._observer.metrics.commit_failures.inc()
        self._observer.lag({p.number: max(p.high - p.read_to, 0) for p in self._own.running()})
        self._observer.tick(ready=self.trouble is None)

    def _deepen(self, read: int, *, full: bool) -> bool:
        """Whether a batch waits in flight for the next one, so that the worker need not wait for Redis.

        It does from when more waits in Kafka than a batch takes until what comes is little. In between nothing changes:
        a turn that ends the waiting decides two batches, and what comes meanwhile would mostly fill the next.
        """
        if full:
            self._deep = True
        elif read <= self._settings.batch_max // CALM:
            self._deep = False
        return self._deep

    def _resize(self, seconds: float, *, full: bool) -> None:
        """Bound what a burst brings into one turn of the loop, so that the turn takes no longer than the target.

        A batch is as small as what came during the turn before it. The bound counts only where more waits; if more
        still waits after it, keeping up comes first: small batches cost more an event, and would keep all waiting.
        """
        most = self._settings.batch_max
        if full:
            self._size = min(2 * self._size, most)
        elif seconds > self._settings.latency_target_ms / 1000:
            self._size = max(self._size - self._size // 4, most // 4, 1)

    def _backlog(self) -> int:
        """Records that Kafka is known to hold and that are not in flight yet."""
        return sum(max(p.high - p.next_offset, 0) for p in self._own.running())

    def _beat(self) -> None:
        self.beat = self._clock.monotonic()
