"""Steps 2 and 3 of the loop: records become events and dead letters, and Redis is asked for the events' sessions."""

from collections.abc import Sequence

from decisions.intake import Decoded, Records, arrived_by, decode
from decisions.intake import plan as make_plan
from decisions.loading import Loader
from featurestore.contract.ids import IdKey
from featurestore.contract.pages import Pages
from worker.clock import Clock
from worker.kafka.deadletters import DeadLetters
from worker.kafka.placement import Placement
from worker.kafka.polled import Polled
from worker.partitions.erased_filter import without_erased
from worker.partitions.ownership import Ownership
from worker.pipeline.holds import Holds
from worker.pipeline.in_flight import Batch
from worker.pipeline.past import Past, Present
from worker.protocols import BatchObserver, Producer
from worker.settings import Settings


class Preparation:
    """Makes batches of what was polled.

    Args:
        settings: key of ids, parameters of pages, shards of a partition.
        ownership: the partitions.
        holds: keeps back what a partition must not pass.
        dead_letters: takes what is no event.
        outputs: Kafka, out.
        loader: asks Redis.
        observer: metrics.
        clock: time.

    Attributes:
        placement: looks at where records lie; None where nobody knows how many partitions there are.
        past: cuts a log of the past where a visitor comes back.
    """

    def __init__(
        self,
        settings: Settings,
        ownership: Ownership,
        holds: Holds,
        dead_letters: DeadLetters,
        outputs: Producer,
        loader: Loader,
        observer: BatchObserver,
        clock: Clock,
    ) -> None:
        self._ids = IdKey.of(settings.id_key.get_secret_value())
        self._pages = Pages.of(settings.page_parameters)
        self._buckets = settings.buckets
        self._own = ownership
        self._holds = holds
        self._dead_letters = dead_letters
        self._outputs = outputs
        self._loader = loader
        self._observer = observer
        self._clock = clock
        self.placement: Placement | None = None
        self.past: Past | Present = Present()

    def batch(self, polled: Polled) -> Batch | None:
        """Plan the polled events and ask Redis for their sessions; None if there is nothing to plan."""
        watch = self._observer.watch(self._clock)
        mine = [records for records in polled.records if self._owned(records.partition)]
        if not mine:
            return None
        written = {records.partition: self._own.partitions[records.partition].refusals.next for records in mine}
        decoded = self._decoded(mine)  # 2
        kept = self.past.kept(polled, mine, decoded)
        if kept is not None:
            if not kept:
                return None
            mine, decoded = kept, self._decoded(kept)
        taken = self._holds.taken(mine, decoded.bad)
        if taken is not None:
            if not taken:
                return None
            mine, decoded = taken, self._decoded(taken)
        self._observer.decoded(decoded)
        if self.placement is not None:
            self.placement.look(polled.messages)
        partitions, begin, done, refused = {}, {}, {}, {}
        for records in mine:
            number = records.partition
            partition = partitions[number] = self._own.partitions[number]
            bad_ones = decoded.bad.get(number, [])
            self._dead_letters.send(records, bad_ones, polled.messages[number], written[number])
            if (note := partition.refusals.note()) is not None:
                refused[number] = note
            done[number] = records.offsets[-1]
            begin[number] = partition.read(done[number], self._clock.monotonic())
            self._holds.look(partition)
        # What was read before may be in flight and not applied yet: a seek must not bring it in twice.
        floor = lambda shard: max(partitions[shard.partition].floor(shard), begin[shard.partition] - 1)  # noqa: E731
        plan = make_plan(decoded, self._buckets, floor)
        watch.lap("decode")
        loading = None if plan.empty else self._loader.begin(plan)  # 3
        bad = sum(map(len, decoded.bad.values()))
        dead = self._outputs.given if bad else 0
        return Batch(plan, partitions, done, decoded.rows.size, bad, watch, dead, loading, refused)

    def _owned(self, number: int) -> bool:
        """Whether the partition's events may be applied."""
        partition = self._own.partitions.get(number)
        return partition is not None and not partition.held and self._own.current(partition)

    def _decoded(self, mine: Sequence[Records]) -> Decoded:
        """The events of records, without those that were erased."""
        decoded = decode(mine, self._ids, self._pages)
        arrived_by(decoded, self._clock.now_ms())
        return without_erased(decoded, self._own.erased)
