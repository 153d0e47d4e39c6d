"""From the moment at which an event is due to the moment at which its decision can be read in Redis.

The load is open: `bench.offer` sends on a fixed schedule and never waits for an answer, and an event's time begins
when it is due, not when it could be sent; a stall is thus felt by every event that falls into it. The end is seen from
outside: a decision and the partition's applied offset are written together, so whoever reads the applied offsets at
each change (`bench.watch`) knows of every event when its decision had become readable. Reading is part of the figure.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from bench.context import Context, Samples
from bench.floor_process import FloorProcess
from bench.offer import making_s
from bench.processes import usage
from bench.saturate import EVENTS, PARTITIONS, drain, stored_sizes
from bench.stack import REPOSITORY, Stack, Topics, WorkerProcess
from bench.watch import Watcher
from bench.workload import shoppers
from featurestore.store.keys import Namespace, Shard
from tests.services import RedisServer

RATES: Final = (1_000, 5_000, 20_000)
WARM_OFFER_S: Final = 40.0
WARM_S: Final = 5.0
WINDOW_S: Final = 8.0
PERCENTILES: Final = (50.0, 99.0, 99.9)
LOOK_S: Final = 0.005
SHARE: Final = 0.8
HALF: Final = 0.5
OVERLOAD: Final = 1.3
FLOOR_OVERLOAD: Final = 1.6


class Seen(NamedTuple):
    """What one offering showed.

    Attributes:
        due: seconds since the start at which each event was due, shape (n,).
        latency: seconds, shape (n,); infinite for what was not applied in time.
        applied_per_s: in the second half of the offering.
        late_ms: of the producer, 99th percentile and highest.
        cores: that the process (``worker``), Redis and Kafka used.
    """

    due: NDArray[np.float64]
    latency: NDArray[np.float64]
    applied_per_s: float
    late_ms: tuple[float, float]
    cores: dict[str, float]


class Process(Protocol):
    """What takes the load: a worker, or the floor."""

    pid: int
    store: RedisServer
    namespace: Namespace
    shards: list[Shard]

    def wait_ready(self) -> None:
        """Block until it waits for events."""

    def check(self) -> None:
        """Raise when it has stopped."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


Start = Callable[[Stack, Topics, str], Process]
"""Starts what takes the load: on a stack, of topics, in a group."""


class Seeding(Protocol):
    """Sessions that are there before the load, and what is asked of them during it."""

    def seed(self, topics: Topics, group: str) -> None:
        """Fill the store."""

    def begin(self, earliest: float) -> float:
        """When the load shall begin, seconds since the epoch."""

    def looked(self, now: float) -> None:
        """Called at every change, and each `LOOK_S`."""


def offered(
    stack: Stack,
    rate: float,
    seconds: float,
    patience_s: float = 20.0,
    seeding: Seeding | None = None,
    start: Start = WorkerProcess,
) -> Seen:
    """Offer ``rate`` events a second to one idle process on fresh topics.

    Args:
        stack: where.
        rate: events a second.
        seconds: how long.
        patience_s: how long to wait for the rest afterwards.
        seeding: puts sessions in the store before the process starts, and is called in between.
        start: the process.
    """
    topics = stack.topics(PARTITIONS)
    stack.renew()
    group = stack.group()
    if seeding is not None:
        seeding.seed(topics, group)
    os.sync()  # gigabytes that an earlier load left to be written would hold up Redis and the broker in this one
    with start(stack, topics, group) as worker:
        producer, schedule = _producer(stack, topics, rate, seconds)
        worker.wait_ready()
        watcher = Watcher(worker.store.port, [worker.namespace.meta(shard) for shard in worker.shards])
        times, offsets = [], []
        begin = time.time() + making_s(rate, seconds, PARTITIONS)
        if seeding is not None:
            begin = seeding.begin(begin)
        assert producer.stdin is not None
        producer.stdin.write(f"{begin!r}\n")
        producer.stdin.flush()
        pids = {"worker": worker.pid, "redis": stack.redis.pid, "kafka": stack.kafka.pid}
        before = {name: usage(pid).cpu_s for name, pid in pids.items()}
        lanes = np.load(schedule) % len(worker.shards)
        goal = [int(n) - 1 for n in np.bincount(lanes, minlength=len(worker.shards))]
        last = [-2]
        while (now := time.time()) < begin + seconds + patience_s:
            if seeding is not None:
                seeding.looked(now)
            if not watcher.wait(LOOK_S):
                continue
            applied = watcher.read()
            if applied != last:
                times.append(time.time())
                offsets.append(applied)
                last = applied
            if applied == goal:
                break
        watcher.close()
        spent = {name: usage(pid).cpu_s - before[name] for name, pid in pids.items()}
        worker.check()
        output, _ = producer.communicate()
        late = tuple(float(part) for part in output.split()[-2:])
    due, latency = latencies(lanes, rate, np.array(times) - begin, np.array(offsets))
    done = latency + due
    half = (done > seconds / 2) & (done <= seconds)
    return Seen(
        due,
        latency,
        float(half.sum() / (seconds / 2)),
        (late[0], late[1]),
        {name: cpu_s / (now - begin) for name, cpu_s in spent.items()},
    )


def latencies(
    partitions: NDArray[np.int32], rate: float, times: NDArray[np.float64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """When each event was due, and how long it took.

    Args:
        partitions: of each event, shape (n,); its offset is how many went there before it.
        rate: events a second; event k is due at k / rate.
        times: when it was looked, seconds since the first event was due, shape (m,).
        offsets: applied by then, shape (m, partitions).
    """
    due = np.arange(partitions.size) / rate
    latency = np.full(partitions.size, np.inf)
    for number in range(offsets.shape[1]):
        mine = np.flatnonzero(partitions == number)
        first = np.searchsorted(offsets[:, number], np.arange(mine.size), side="left")
        found = first < times.size
        latency[mine[found]] = times[first[found]] - due[mine[found]]
    return due, latency


def latency(context: Context) -> Samples:
    """``latency``: at the fixed rates, and at shares of what this machine sustains with the producer beside it.

    The same share of what the floor with the decision log sustains is the control: where it waits as long, decoding
    and thinking are not what an event waits for.
    """
    samples: Samples = {}
    warm(context)
    for rate in RATES:
        _at(context, str(rate), rate, context.runs, samples)
    drained = context.median("e2e", "events_per_s")
    if drained is None:
        drained = warm(context)
    _of_saturation(context, "", OVERLOAD * drained, WorkerProcess, (SHARE, HALF), samples)
    floor = partial(FloorProcess, kind="floor_log", sizes=stored_sizes(context.stack))
    _of_saturation(context, "floor_log.", FLOOR_OVERLOAD * drained, floor, (SHARE,), samples)
    return samples


def _of_saturation(
    context: Context, prefix: str, overload: float, start: Start, shares: Sequence[float], samples: Samples
) -> None:
    """Run by run what is sustained now, and then shares of it: a machine's speed changes within minutes."""
    seconds = WARM_S + WINDOW_S  # all alike: with the sessions that are live, an event becomes dearer for Redis
    for _ in range(context.runs):
        saturation = offered(context.stack, overload, seconds, patience_s=0, start=start).applied_per_s
        samples.setdefault(f"{prefix}saturation_with_producer.events_per_s", []).append(saturation)
        for share in shares:
            _at(context, f"{prefix}sat{share * 100:.0f}", share * saturation, 1, samples, start)


def warm(context: Context) -> float:
    """Have the broker's Java compiled: by a drain, whose events a second are returned, and by small requests."""
    events = context.size(EVENTS // 2)
    topics = context.stack.filled("shoppers", shoppers(events), PARTITIONS)
    drained = drain(context.stack, topics, events)[0]["events_per_s"]
    offered(context.stack, RATES[1], WARM_OFFER_S)
    return drained


def _at(
    context: Context,
    name: str,
    rate: float,
    windows: int,
    samples: Samples,
    start: Start = WorkerProcess,
) -> None:
    """One load, and a sample of each of its windows."""
    seen = offered(context.stack, rate, WARM_S + windows * WINDOW_S, start=start)
    for window in in_windows(seen, windows):
        for percentile in PERCENTILES:
            key = f"{name}.p{percentile:g}_ms".replace("99.9", "99_9")
            samples.setdefault(key, []).append(percentile_ms(window, percentile))
    facts = {"offered_per_s": rate, "producer_late_p99": seen.late_ms[0], "producer_late_most": seen.late_ms[1]}
    for fact, value in (*facts.items(), *((f"{process}_cores", cores) for process, cores in seen.cores.items())):
        samples.setdefault(f"{name}.{fact}", []).append(value)


def in_windows(seen: Seen, windows: int) -> Iterator[NDArray[np.float64]]:
    """The latencies, in seconds, of each window after the warm-up."""
    for number in range(windows):
        first = WARM_S + number * WINDOW_S
        yield seen.latency[(seen.due >= first) & (seen.due < first + WINDOW_S)]


def percentile_ms(latency: NDArray[np.float64], percentile: float) -> float:
    """A percentile that was really seen, in ms; infinite where an event was not applied in time."""
    return float(np.percentile(latency, percentile, method="higher") * 1000)


def _producer(stack: Stack, topics: Topics, rate: float, seconds: float) -> tuple["subprocess.Popen[str]", str]:
    schedule = str(stack.directory / f"{topics.clicks}.npy")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "bench.offer", stack.kafka.bootstrap, topics.clicks),
            *(str(topics.partitions), str(rate), str(seconds), schedule),
        ],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise RuntimeError("the producer stopped")
    return process, schedule
