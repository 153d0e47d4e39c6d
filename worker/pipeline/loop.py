"""The worker's loop: nine steps, in this order, for every batch.

1. poll      records of the partitions this worker owns
2. decode    records into events; a record that is not a valid event becomes a dead letter
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
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Final

from confluent_kafka import KafkaException

from decisions.engine import Engine
from decisions.intake import plan_ticks
from featurestore.errors import Backpressure, StoreUnavailable
from featurestore.store.protocols import SessionStore
from worker.clock import Clock
from worker.kafka.deadletters import DeadLetters
from worker.kafka.polled import Polled
from worker.metrics.corrupt import CorruptRecords
from worker.partitions.ownership import Ownership
from worker.pipeline.applied import AppliedOffsets
from worker.pipeline.fencing import Fencing
from worker.pipeline.flow import Flow
from worker.pipeline.gauges import Gauges
from worker.pipeline.holds import Holds
from worker.pipeline.in_flight import Batch, InFlight
from worker.pipeline.liveness import Group, Liveness
from worker.pipeline.log_ends import LogEnds
from worker.pipeline.pace import Pace
from worker.pipeline.preparation import Preparation
from worker.pipeline.pulse import Pulse, Stopping
from worker.pipeline.silence import Question, Silence
from worker.pipeline.store_calls import BACKOFF_MOST_S, StoreCalls
from worker.pipeline.timers import DUE_LIMIT
from worker.protocols import BatchObserver, Consumer, Producer
from worker.settings import Settings

log = logging.getLogger(__name__)

IDLE_WAIT_S: Final = 0.05
TIMER_EVERY_S: Final = 0.1
TIMER_BEHIND_S: Final = 0.5
MOST_PASSES: Final = 50
"""So often at most is asked what is due before a visitor's next visit; what is left comes with the next timers."""


class Loop:
    """Runs until `stop`: keeps the schedule, and takes the nine steps in their order.

    Args:
        settings: sizes and intervals.
        engine: the pure core.
        consumer: Kafka, in.
        outputs: Kafka, out.
        store: Redis.
        ownership: the partitions.
        group: what the worker is to its consumer group.
        observer: metrics, drift, KPIs.
        clock: time.

    Attributes:
        before_poll: called at the beginning of each turn.
        preparation: makes batches of what was polled.
        pulse: what the outside sees.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        consumer: Consumer,
        outputs: Producer,
        store: SessionStore,
        ownership: Ownership,
        group: Group,
        observer: BatchObserver,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._consumer = consumer
        self._outputs = outputs
        self._store = store
        self._own = ownership
        self._observer = observer
        self._clock = clock
        self.pulse = Pulse(clock, "no partition yet")
        self._log_ends = LogEnds(consumer, ownership, clock)
        self._liveness = Liveness(consumer, ownership, self._log_ends, group, self.pulse, clock, settings.renew_after_s)
        self._applied = AppliedOffsets(consumer, ownership)
        self._gauges = Gauges(consumer, ownership, observer, self.pulse, clock)
        self._flow = Flow(consumer, outputs, ownership, self._applied, self.pulse, self._gauges, clock)
        self._calls = StoreCalls(self._flow, observer.metrics, clock)
        version, corrupt = engine.namespace.write_version, CorruptRecords(observer.metrics)
        self._fencing = Fencing(
            store, self._calls, ownership, self._flow, clock, engine.decision_ttl_ms, version, corrupt
        )
        self._loader = engine.loader(store, self._calls.asked)
        self._holds = Holds(consumer, store, ownership, observer.metrics, clock)
        letters = DeadLetters(outputs, observer.metrics, engine.namespace.topic_id)
        self.preparation = Preparation(
            settings, ownership, self._holds, letters, outputs, self._loader, observer, clock
        )
        self._silence = Silence(settings.timers, store, ownership, clock)
        self._pace = Pace(settings.batch_max, settings.latency_target_ms)
        self._in_flight = InFlight()
        self._next_timer = 0.0
        self._next_commit = 0.0
        self._next_verify = 0.0
        self.before_poll: list[Callable[[], None]] = []

    def stop(self) -> None:
        """Finish the batch in flight, then return from `run`; safe in a signal handler."""
        self.pulse.stop()

    def run(self) -> None:
        """Block until stopped.

        Raises:
            Backpressure: the Kafka client is unusable.
        """
        try:
            while not self.pulse.stopping:
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
        self.pulse.turned()
        for hook in self.before_poll:
            hook()
        if self._own.waiting():
            self._drain()
            self._take_waiting()  # before the poll: what it brings must come from where the lease says
        question = self._ask()
        polled = self._consumer.poll(self._pace.size, 0.0 if self._in_flight.busy else IDLE_WAIT_S)  # 1
        begun = self._clock.monotonic()
        self._own.follow()
        for number in polled.out_of_range:
            self._own.out_of_range(number)
        self._note_ends(polled)
        if self._log_ends.turn():  # before the batch: what waits in it may outdate an end seen now
            self._next_timer = 0.0
        self._liveness.turn()
        self._holds.turn()
        if polled.waiting:
            self._own.wait_their_turn(polled.waiting, begun)
        if polled.pass_ms is not None:
            self._let_time_pass(polled.pass_ms, polled.in_step, question)
            question = None
        batch = self.preparation.batch(polled) if polled.records else None  # 2, 3
        if batch is not None:
            self._push(batch)
        if question is not None:
            self._answer_timers(question)
        waits = self._pace.deepen(0 if batch is None else batch.read, full=polled.full)
        if batch is None:
            self._drain()  # nothing comes behind it
        elif not waits:
            self._hasten()
        now = self._clock.monotonic()
        if batch is not None:
            self._pace.resize(now - begun, full=polled.full)
        self._verify()
        if now >= self._next_commit:
            self._next_commit = now + self._settings.commit_every_s
            self._commit()  # 9
        self._flow.note_acknowledged()

    def close(self) -> None:
        """Deliver, commit, leave the group."""
        if self._outputs.close(self._settings.shutdown_s / 3):
            self._applied.safe()
        if not self._consumer.commit(wait=True):
            self._observer.metrics.commit_failures.inc()
        self._consumer.close()

    # -- a batch ---------------------------------------------------------------------------------

    def _push(self, batch: Batch) -> None:
        """Take up a batch, and complete the one before it while Redis answers for this one."""
        before = self._in_flight.prepare(batch)
        if before is not None:
            self._complete(before)

    def _complete(self, batch: Batch) -> None:
        """Fold, score, decide, and send the write; its answer is read by `_confirm`."""
        self._publish()  # here: Redis is at the write before this one, and then at the load of this one
        in_flight = self._in_flight
        if batch.loading is not None:
            loading, batch.loading = batch.loading, None
            loaded = loading.finish(in_flight.overlays)
            batch.watch.lap("load")
            batch.result = self._engine.run(batch.plan, loaded, self._clock.now_ms(), loading.unread)  # 4, 5, 6
            batch.watch.lap("score")
        self._flow.flush(batch.dead)
        batch.watch.lap("flush")
        self._confirm()  # 7 of the batch before this one
        if batch.result is not None:
            in_flight.overlays.append(batch.result.overlay)
        if in_flight.prepared is not None and in_flight.prepared.loading is not None:
            in_flight.prepared.loading.open(in_flight.overlays)  # now: what it asks for would wait behind the write
        batch.writes = self._fencing.fenced(batch.result, batch.partitions, batch.done, batch.refused)
        self._fencing.send(batch)  # 7
        in_flight.send(batch)

    def _confirm(self) -> None:
        """Read what became of the write under way, if one is: the batch is to be published."""
        batch = self._in_flight.take_sent()
        if batch is None:
            return
        self._fencing.confirm(batch)
        batch.written_ms = self._clock.now_ms()
        batch.watch.lap("write")
        self._in_flight.written(batch)

    def _publish(self) -> None:
        """Produce the outputs of what is applied, and count it."""
        batch = self._in_flight.take_written()
        if batch is None:
            return
        for write, outputs in batch.writes:
            if outputs:
                batch.partitions[write.shard.partition].produced(write.shard, self._outputs.send(outputs))  # 8
        self._applied.note(batch.partitions, batch.done)
        if batch.timers:
            if batch.writes and batch.result is not None:
                self._observer.timers(batch.result)
            return
        for (shard, *_), newest in zip(batch.plan.spans, batch.plan.newest(), strict=True):
            partition = batch.partitions[shard.partition]
            if newest >= 0 and self._own.current(partition):
                partition.advances(newest)
        self.pulse.progressed()
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
        self._in_flight.overlays.clear()

    def _hasten(self) -> None:
        """Decide what is prepared, without waiting for the batch behind it."""
        batch = self._in_flight.prepare(None)
        if batch is not None:
            self._complete(batch)

    # -- time ------------------------------------------------------------------------------------

    def _ask(self) -> Question | None:
        """Ask for deadlines that have passed, if it is time.

        Between the question and the write that deletes the lists which it brought, nothing may be put into those lists:
        that write would delete it unread. What is fenced from now on avoids them (`Partition.asked_bucket`). What
        is under way may have to be sent again, and would then come after the reading: it is waited for.
        """
        now = self._clock.monotonic()
        if now < self._next_timer or self._in_flight.timers:
            return None
        sent = self._in_flight.sent
        if sent is not None and any(write.expiry_buckets for write, _ in sent.writes):
            self._settle()
        self._next_timer = now + (TIMER_BEHIND_S if self._backlog() else TIMER_EVERY_S)
        return self._silence.ask()

    def _answer_timers(self, question: Question) -> None:
        """Let silence speak: a batch in which only time passes, after the events that are in flight already."""
        again = lambda: self._store.due(question.queries, DUE_LIMIT)  # noqa: E731
        fallen = self._silence.due(question, self._calls.answered("timers", question.answer, again))
        if not self._silence.more:
            self.preparation.past.passed(question.queries)
        if not fallen:
            return
        if self._silence.more:
            self._next_timer = 0.0
        plan = plan_ticks(fallen)
        partitions = {shard.partition: question.partitions[shard.partition] for shard, _, _ in fallen}
        watch = self._observer.watch(self._clock)
        self._push(Batch(plan, partitions, {}, 0, 0, watch, 0, self._loader.begin(plan)))

    def _let_time_pass(self, until_ms: int, in_step: AbstractSet[int], question: Question | None) -> None:
        """Before a visitor's next visit in a log of the past: fire what is due by then, as it was live.

        Args:
            until_ms: epoch ms.
            in_step: the partitions in which so much time has passed.
            question: about deadlines, that was asked already.
        """
        if question is not None:
            self._answer_timers(question)
        self._drain()
        for partition in self._own.running():
            if partition.number in in_step:
                partition.advances(until_ms)
        for _ in range(MOST_PASSES):
            question = self._silence.ask()
            if question is None:
                break
            self._answer_timers(question)
            self._drain()
            if not self._silence.more:
                break
        self.preparation.past.all_passed(until_ms)

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
        since = now - every / 2
        idle = [p for p in self._own.running() if p.unchecked(since)]
        self._flow.note_acknowledged()  # no outbox is left to send once all is: the next owner need not do it again
        self._fencing.verify(idle, since)

    def _note_ends(self, polled: Polled) -> None:
        for partition in self._own.running():
            if partition.number in polled.at_end:
                partition.ends_at(polled.at_end[partition.number])
            bounds = self._consumer.bounds(partition.number)
            if bounds is not None:
                partition.grows_to(bounds.high)

    # -- the rest --------------------------------------------------------------------------------

    def _take_waiting(self) -> None:
        for partition in self._own.waiting():
            self._applied.forget(partition.number)
            try:
                if self._own.take(partition):
                    self._applied.begins(partition)
                self._holds.look(partition)
                self.pulse.works()
            except (StoreUnavailable, KafkaException) as error:
                self.pulse.waits(f"partition {partition.number} cannot be taken")
                partition.retries(self._clock.monotonic() + BACKOFF_MOST_S * (0.5 + random.random() / 2))
                reason = str(error) if isinstance(error, StoreUnavailable) else error.args[0].name()
                log.warning("partition %d cannot be taken yet: %s", partition.number, reason)
                return  # the others wait as well, each for its timeout: poll in between

    def _commit(self) -> None:
        if not self._consumer.commit():
            self._observer.metrics.commit_failures.inc()
        self._gauges.show()

    def _backlog(self) -> int:
        """Records that Kafka is known to hold and that are not in flight yet."""
        return sum(max(p.high - p.next_offset, 0) for p in self._own.running())
