"""What the guarantees cost, and how soon a worker is back: with and without them, after Redis is lost, after SIGKILL.

"Without" is a worker whose script compares neither the owner's epoch nor the applied offset and keeps no outbox, and
which waits for no acknowledgement: what a worker would do that only hopes. It is patched in its own process, started as
``python -m bench.guarantees worker ...``; no setting of the product does any of it.
"""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from bench.context import Context, Samples
from bench.saturate import EVENTS, PARTITIONS, drain, throughput
from bench.stack import ENV, Stack, Topics, WorkerProcess
from bench.steps import SHARD, Prepared, engine, prepared
from bench.workload import shoppers
from featurestore.store import outbox
from featurestore.store.keys import Namespace
from featurestore.store.protocols import APPLIED
from featurestore.store.redis.connection import connect
from featurestore.store.redis.store import RedisSessionStore
from models.simulator.simulator import SimEvent
from tests.faults import patches

BARE: Final = ("-m", "bench.guarantees")
SESSION_TIMEOUT_S: Final = 6
STREAM_PER_S: Final = 500
STREAM_S: Final = 60
SETTLE_S: Final = 2.5
PATIENCE_S: Final = 120
EVERY_S: Final = 0.01


def without_guarantees() -> None:
    """Take the compares, the outbox and the wait for acknowledgements out of this process."""
    patches.no_epoch_compare()
    patches.no_offset_compare()
    patches.no_flush()
    patches.no_outbox()


def guarantees(context: Context) -> Samples:
    """``guarantees``: the worker's throughput and the script with and without; rebuild; takeover."""
    samples: Samples = {}
    _script(context, samples)
    events = context.size(EVENTS)
    topics = context.stack.filled("shoppers", shoppers(events), PARTITIONS)
    _end_to_end(context, topics, events, samples)
    for _ in range(context.runs):
        _rebuild(context.stack, topics, events, samples)
    for _ in range(context.runs):
        _takeover(context.stack, context.size(STREAM_S * STREAM_PER_S * 10), samples)
    return samples


def _end_to_end(context: Context, topics: Topics, events: int, samples: Samples) -> None:
    """The same topic drained in turns, whose order changes each time: a drift of the machine favours none."""
    drain(context.stack, topics, events)  # the broker's Java is compiled while it serves: not in a figure
    for run in range(context.runs):
        found = {}
        for bare in (False, True) if run % 2 == 0 else (True, False):
            found[bare] = drain(
                context.stack, topics, events, start=partial(WorkerProcess, wrapper=BARE) if bare else WorkerProcess
            )[0]
        for name, bare in (("with", False), ("without", True)):
            for figure in ("events_per_s", "worker_cpu_us_per_event", "redis_cpu_us_per_event"):
                samples.setdefault(f"{name}.{figure}", []).append(found[bare][figure])
        _share(samples, "cost", found[False]["events_per_s"], found[True]["events_per_s"])


def _share(samples: Samples, name: str, whole: float, bare: float) -> None:
    """How much slower the whole is, percent of the bare one; negative where it was faster."""
    samples.setdefault(f"{name}_percent", []).append(100 * (1 - whole / bare))


def _script(context: Context, samples: Samples) -> None:
    """The write of one batch alone: with the outbox and its encoding, and without."""
    core = engine("guarantees")
    batches = prepared(core, context)
    context.stack.flush()
    url = context.stack.redis.url
    whole = _writer(RedisSessionStore(connect(url, timeout_s=30), core.namespace), outboxes=True)
    with patches.edited():
        patches.no_epoch_compare()
        patches.no_offset_compare()
        store = RedisSessionStore(connect(url, timeout_s=30), Namespace(ENV, "guarantees-bare", "bench"))
        bare = _writer(store, outboxes=False)
        bare(batches[0])  # loads its script
    whole(batches[0])
    for run in range(context.runs):
        found = {}
        for name, write in (("with", whole), ("without", bare))[:: 1 if run % 2 == 0 else -1]:
            begin = time.perf_counter()
            for one in batches:
                write(one)
            found[name] = time.perf_counter() - begin
            total = sum(len(one.records.values) for one in batches)
            samples.setdefault(f"script.{name}.us_per_event", []).append(found[name] * 1e6 / total)
        _share(samples, "script.cost", found["without"], found["with"])


def _writer(store: RedisSessionStore, *, outboxes: bool) -> Callable[[Prepared], None]:
    """Writes prepared batches one after the other to one shard."""
    [lease] = store.acquire([SHARD], 0, 0)
    applied: int | None = None

    def write(one: Prepared) -> None:
        nonlocal applied
        for shard_write, produced in zip(one.result.writes, one.result.outputs, strict=True):
            following = (applied or 0) + 1
            shard_write.epoch, shard_write.expected, shard_write.applied = lease.epoch, applied, following
            shard_write.outbox = outbox.encode(following, produced) if outboxes else b""
            shard_write.acknowledged = 1 if outboxes and applied is not None else 0
            [answer] = store.write([shard_write], 1_800_000)
            assert answer.status == APPLIED, answer
            applied = following

    return write


def _rebuild(stack: Stack, topics: Topics, events: int, samples: Samples) -> None:
    """Everything in Redis is gone: under a running worker, then before one starts whose group has committed."""
    client = stack.flush()
    group = stack.group()
    options = {"timers": "event", "rebuild-horizon-s": int(time.time()) - 1_000_000}
    with WorkerProcess(stack, topics, group, options) as worker:
        _wait(lambda: worker.count() >= events, worker.check)
        time.sleep(SETTLE_S)  # the offsets are committed
        begin = time.monotonic()
        client.flushall()
        figures = throughput(events, worker.count, {"worker": worker.pid}, worker.check)
        _wait(lambda: worker.count() >= events, worker.check)
        _rebuilt(samples, "flushed", figures, time.monotonic() - begin)
        time.sleep(SETTLE_S)
    client.flushall()
    begin = time.monotonic()
    with WorkerProcess(stack, topics, group, options) as worker:
        figures = throughput(events, worker.count, {"worker": worker.pid}, worker.check)
        _wait(lambda: worker.count() >= events, worker.check)
        _rebuilt(samples, "started_empty", figures, time.monotonic() - begin)


def _rebuilt(samples: Samples, how: str, figures: dict[str, float], seconds: float) -> None:
    names = {"events_per_s": "events_per_s", "events_per_worker_cpu_s": "events_per_worker_cpu_s"}
    for name, figure in names.items():
        samples.setdefault(f"rebuild.{how}.{name}", []).append(figures[figure])
    samples.setdefault(f"rebuild.{how}.s", []).append(seconds)


def _takeover(stack: Stack, most: int, samples: Samples) -> None:
    """One of two workers is killed: seconds until all that was sent right after it is applied by the other."""
    topics = stack.topics(PARTITIONS)
    group = stack.group()
    stack.flush()
    options = {"session-timeout-s": SESSION_TIMEOUT_S}
    sent = _Stream(stack.kafka.bootstrap, topics.clicks, shoppers(most))
    with WorkerProcess(stack, topics, group, options) as stays, WorkerProcess(stack, topics, group, options) as dies:
        for worker in (stays, dies):
            worker.wait_ready()
        sent.start()
        _wait(lambda: all(applied >= 0 for applied in stays.applied()), stays.check)
        dies.kill()
        begin = time.monotonic()
        time.sleep(0.5)
        ends = list(sent.ends)
        _wait(lambda: all(end - 1 <= at for end, at in zip(ends, stays.applied(), strict=True)), stays.check)
        samples.setdefault("takeover.s", []).append(time.monotonic() - begin)
        samples.setdefault("takeover.session_timeout_s", []).append(float(SESSION_TIMEOUT_S))
        sent.stop()


class _Stream:
    """Sends events at a steady pace from a thread.

    Attributes:
        ends: how many Kafka has acknowledged, by partition.
    """

    def __init__(self, bootstrap: str, topic: str, events: Sequence[SimEvent]) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
        self._topic = topic
        self._events = events
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.ends = [0] * PARTITIONS

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        for first in range(0, len(self._events), STREAM_PER_S // 50):
            for key, value, _ in self._events[first : first + STREAM_PER_S // 50]:
                self._producer.produce(self._topic, value, key, on_delivery=self._arrived)
            self._producer.poll(0)
            if self._stopped.wait(0.02):
                break
        self._producer.flush(30)

    def _arrived(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            raise KafkaException(error)
        self.ends[message.partition() or 0] += 1


def _wait(until: Callable[[], bool], check: Callable[[], None]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not until():
        check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE_S} s")
        time.sleep(EVERY_S)


if __name__ == "__main__":
    from worker.cli import main

    without_guarantees()
    with suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
