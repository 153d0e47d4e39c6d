"""Records to Kafka: acknowledged by all replicas, or on disk, or refused. Nothing is told to be safe before it is.

1. While nothing waits in the spool, a record goes to the producer; its request is answered when Kafka has it.
2. A record that Kafka did not take in time ends that: the spool is marked, the producer is emptied, and what it gave
   back goes to the spool in the order in which it was produced.
3. While something waits in the spool, records go behind it. The replay (`edge.replay`) empties it once Kafka is back.

Without a spool, step 2 is a `NotKept`: the sender keeps the events and tries again.

The client can give up for good (no right to produce any more, a broken sequence). It is emptied, as in step 2, and
another takes its place.
"""

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from edge.spool import Spool, Spooled, SpoolFull

log = logging.getLogger(__name__)

LOOK_S: Final = 0.001
"""While records are under way, the event loop collects Kafka's reports this often. A thread that waits for them would
fight the loop for the interpreter over every single report."""
IDLE_S: Final = 0.5
"""And this often while there are none: the client's own messages are served too."""
WAITING_S: Final = 0.01
"""The spool's mark is looked at this often: a look costs a tenth of a request. Other processes set it; this process
knows at once when it spools itself."""
RENEWED_S: Final = 1.0
"""A client that gave up is replaced this long after it was made, at the earliest: the reason may last."""
MOST_QUEUED: Final = 100_000
"""Records under way to Kafka. A request that finds no room is refused whole."""

PRODUCER: Final[dict[str, Any]] = {
    "acks": "all",
    "enable.idempotence": True,
    "max.in.flight": 1,  # decision 0017
    "partitioner": "murmur2_random",  # the contract's: a session is in one partition, whoever sends it
    "linger.ms": 1,
    "compression.type": "lz4",
    "queue.buffering.max.messages": MOST_QUEUED + 10_000,
    "queue.buffering.max.kbytes": 131_072,
    "reconnect.backoff.max.ms": 1_000,
}


class NotKept(Exception):
    """Neither Kafka nor the spool has the records; ``args[0]`` says why, for a problem document."""


class Overloaded(Exception):
    """Too many records are under way to Kafka; nothing of the request was taken."""


class Record:
    """One record on its way.

    Attributes:
        partition, offset: where Kafka has it; -1 while it is not told, or where it went to the spool.
        failed: nobody has it; its sender was told so.
    """

    __slots__ = ("_batch", "at_ms", "failed", "key", "number", "offset", "partition", "topic", "value")

    def __init__(self, topic: str, key: bytes, value: bytes, at_ms: int) -> None:
        self.topic = topic
        self.key = key
        self.value = value
        self.at_ms = at_ms
        self.number = 0
        self.failed = False
        self.partition = self.offset = -1
        self._batch: _Batch | None = None

    def given(self, batch: "_Batch", number: int) -> None:
        """It is produced as a part of this batch."""
        self._batch = batch
        self.number = number

    def delivered(self, error: KafkaError | None, message: Any) -> None:
        """Kafka's report; called while the producer is polled."""
        batch = self._batch
        if batch is None:
            return
        if error is None:
            self.partition, self.offset = message.partition(), message.offset()
            self._batch = None  # the record may wait for the worker for minutes, what answers its request need not
            batch.publisher.away = False
            batch.delivered()
        else:
            batch.publisher.returned(self, error)

    def settled(self, error: Exception | None) -> None:
        """The spool has it, or nobody."""
        self.failed = error is not None
        if self._batch is not None:
            self._batch.delivered(error)


class _Batch:
    """The records of one request; its future ends when the last of them is safe."""

    __slots__ = ("_error", "_left", "future", "publisher")

    def __init__(self, publisher: "Publisher", records: int) -> None:
        self.publisher = publisher
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = records
        self._error: Exception | None = None

    def delivered(self, error: Exception | None = None) -> None:
        self._error = error or self._error
        self._left -= 1
        if not self._left:
            self.publisher.done.append(self)

    def end(self) -> None:
        if not self.future.done():
            if self._error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(self._error)


class Publisher:
    """Sends records; made and used on one event loop.

    Args:
        client: settings of the Kafka client.
        spool: where records wait while Kafka is away; None: they are refused then.
        patience_s: how long a record may be under way before Kafka counts as away.
        make: a Kafka client of its settings.

    Attributes:
        done: batches whose futures can end.
        spooled: how many records went to the spool.
        away: whether Kafka failed to take the latest records in time.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        spool: Spool | None,
        patience_s: float,
        make: Callable[..., Producer] = Producer,
    ) -> None:
        config = {**PRODUCER, "message.timeout.ms": round(patience_s * 1000), **client}
        self._make = partial(make, config, logger=logging.getLogger("edge.kafka"))
        self._spool = spool
        self._loop = asyncio.get_running_loop()
        self._producer = self._make()
        self._renewable_at = self._loop.time() + RENEWED_S
        self._gave_up = False
        self._numbers = count(1)
        self._guard = threading.Lock()
        self._diverting = False
        self._waits = False
        self._look_at_spool = 0.0
        self._returned: list[tuple[Record, KafkaError]] = []
        self._held: list[Record] = []
        self._to_spool: queue.SimpleQueue[list[Record] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.done: deque[_Batch] = deque()
        self.spooled = 0
        self.away = False
        if spool is not None:
            self._start(self._write_spool, "edge-spool")
        self._hurries = False
        self._next_look = self._loop.call_later(IDLE_S, self._look)

    def room(self, records: int) -> bool:
        """Whether so many records may be sent now."""
        return len(self._producer) + records <= MOST_QUEUED

    async def send(self, records: Sequence[Record]) -> None:
        """Return once all records are in Kafka or in the spool.

        Raises:
            Overloaded: nothing was sent.
            NotKept: some may be in Kafka all the same; sending them again is safe, since each has an event id.
        """
        if not records:
            return
        if not self.room(len(records)):
            raise Overloaded
        batch = _Batch(self, len(records))
        for record in records:
            record.given(batch, next(self._numbers))
        if self._spool is not None and self._others_wait(self._spool):
            self._behind(list(records))
        else:
            self._produce(records)
        await batch.future

    async def close(self, wait_s: float) -> None:
        """Deliver, or spool, what is under way."""
        until = self._loop.time() + wait_s
        while (len(self._producer) or self._diverting) and self._loop.time() < until:  # noqa: ASYNC110 - the client tells nobody
            await asyncio.sleep(0.01)
        self._next_look.cancel()
        self._to_spool.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join, wait_s)
        _end_all(self.done)

    def returned(self, record: Record, error: KafkaError) -> None:
        """The producer gives a record back; called while it is polled."""
        self._returned.append((record, error))

    def _start(self, work: Callable[[], None], name: str) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._threads.append(threading.Thread(target=work, name=name, daemon=True))
        self._threads[-1].start()

    def _others_wait(self, spool: Spool) -> bool:
        if self._diverting:
            return True
        now = time.monotonic()
        if now >= self._look_at_spool:
            self._waits, self._look_at_spool = spool.waiting(), now + WAITING_S
        return self._waits

    def _produce(self, records: Sequence[Record]) -> None:
        produce = self._producer.produce
        for place, record in enumerate(records):
            try:
                produce(record.topic, record.value, record.key, on_delivery=record.delivered, timestamp=record.at_ms)
            except BufferError:  # large events fill the client's memory before there are `MOST_QUEUED`
                full = KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001 - the client's name
                self._returned += [(one, full) for one in records[place:]]
                break
            except KafkaException as error:  # the client knows already that the record cannot be sent
                self._returned.append((record, error.args[0]))
        if not self._hurries:
            self._hurries = True
            self._next_look.cancel()
            self._next_look = self._loop.call_later(LOOK_S, self._look)

    def _behind(self, records: list[Record]) -> None:
        with self._guard:
            if self._diverting:
                self._held += records
            else:
                self._to_spool.put(records)

    def _look(self) -> None:
        """Collect Kafka's reports."""
        self._poll(0)
        if self._returned:
            self.away = True
            if self._spool is not None:
                self._diverting, self._waits = True, True
                self._start(self._divert, "edge-divert")
                return
            self._settle(self._returned, _away(self._returned[0][1]))
        _end_all(self.done)
        self._look_again()

    def _poll(self, wait_s: float) -> None:
        try:
            self._producer.poll(wait_s)
        except KafkaException as error:
            self._gave_up = True
            if not self.away:  # or each client in turn would say it
                log.error("the Kafka client gave up; others will try again", extra={"reason": error.args[0].name()})  # noqa: TRY400
            self.away = True

    def _look_again(self) -> None:
        if self._gave_up and not len(self._producer) and self._loop.time() >= self._renewable_at:
            self._gave_up = False
            self._producer = self._make()
            self._renewable_at = self._loop.time() + RENEWED_S
        self._hurries = len(self._producer) > 0
        self._next_look = self._loop.call_later(LOOK_S if self._hurries else IDLE_S, self._look)

    def _settle(self, returned: list[tuple[Record, KafkaError]], error: Exception) -> None:
        self._returned = []
        for record, _ in returned:
            record.settled(error)

    # -- a thread of its own, while the loop does not look ---------------------------------------

    def _divert(self) -> None:
        """Step 2."""
        try:
            if self._spool is not None:
                self._spool.begin()
        except OSError:
            log.error("the spool's directory cannot be written to: events are refused while Kafka is away")  # noqa: TRY400
        self._producer.purge()
        while len(self._producer):
            self._poll(0.05)
        records = [record for record, _ in sorted(self._returned, key=lambda pair: pair[0].number)]
        log.warning("Kafka does not take events in time; they go to the spool", extra={"records": len(records)})
        self._returned = []
        with self._guard:
            self._to_spool.put(records)
            if self._held:
                self._to_spool.put(self._held)
            self._held = []
            self._look_at_spool = time.monotonic() + WAITING_S
            self._diverting = False
        self._loop.call_soon_threadsafe(self._look)

    # -- the spool's thread ----------------------------------------------------------------------

    def _write_spool(self) -> None:
        while (records := self._to_spool.get()) is not None:
            while not self._to_spool.empty():  # whatever came meanwhile shares the disk's one synchronisation
                more = self._to_spool.get()
                if more is None:
                    self._to_spool.put(None)
                    break
                records += more
            self._append(records)

    def _append(self, records: list[Record]) -> None:
        error: Exception | None = None
        try:
            if self._spool is not None:
                self._spool.append([Spooled(r.topic, r.key, r.value, r.at_ms) for r in records])
            self.spooled += len(records)
        except (SpoolFull, OSError):
            log.error("the spool is full or its disk fails: events are refused until Kafka is back")  # noqa: TRY400
            error = NotKept("Kafka is away and the spool is full")
        for record in records:
            record.settled(error)
        self._loop.call_soon_threadsafe(_end_all, self.done)


def _end_all(batches: deque[_Batch]) -> None:
    while batches:
        batches.popleft().end()


def _away(error: KafkaError) -> NotKept:
    return NotKept(f"Kafka did not take the events in time ({error.name()})")
