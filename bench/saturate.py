"""End to end, saturated: one worker process empties a filled topic; also the floor under it, in the same run.

Throughput is counted between a tenth and 98 % of the events, from the applied offsets in Redis: an event counts once
its decision can be read and its output is acknowledged by Kafka. CPU seconds of the worker, Kafka and Redis are taken
at the same two moments.
"""

import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

from bench.context import Context, Samples
from bench.floor_process import FLOORS, FloorProcess, Sizes
from bench.processes import Usage, rss_mb, usage
from bench.stack import Stack, Topics, WorkerProcess
from bench.steps import SIZE, Shop, engine
from bench.workload import batches, shoppers
from featurestore.store import outbox

EVENTS: Final = 600_000
PARTITIONS: Final = 4
FROM: Final = 0.1
TO: Final = 0.98
EVERY_S: Final = 0.02
PATIENCE_S: Final = 900
OUTBOX_EVENTS: Final = 60_000


def throughput(
    total: int,
    count: Callable[[], int],
    pids: Mapping[str, int],
    check: Callable[[], None],
    span: tuple[float, float] = (FROM, TO),
) -> dict[str, float]:
    """Watch ``count`` go over ``span``, as shares of ``total``.

    Returns:
        events_per_s, and for each process CPU microseconds per event.
    """
    begun: tuple[float, int, dict[str, Usage]] | None = None
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        done, now = count(), time.monotonic()
        if begun is None and done >= span[0] * total:
            begun = now, done, {name: usage(pid) for name, pid in pids.items()}
        elif begun is not None and done >= span[1] * total:
            break
        check()
        time.sleep(EVERY_S)
    else:
        raise TimeoutError(f"only {done} of {total} events in {PATIENCE_S} s")
    assert begun is not None
    events = done - begun[1]
    figures = {"events_per_s": events / (now - begun[0])}
    for name, pid in pids.items():
        spent, before = usage(pid), begun[2][name]
        figures[f"{name}_cpu_us_per_event"] = (spent.cpu_s - before.cpu_s) * 1e6 / events
        if name == "worker":
            figures["worker_main_thread_cpu_us_per_event"] = (spent.main_s - before.main_s) * 1e6 / events
            figures["events_per_worker_cpu_s"] = events / max(spent.cpu_s - before.cpu_s, 1e-9)
    return figures


def drain(
    stack: Stack,
    topics: Topics,
    events: int,
    options: Mapping[str, object] | None = None,
    start: Callable[..., WorkerProcess] = WorkerProcess,
) -> tuple[dict[str, float], dict[str, float]]:
    """One worker of a new group on an empty store empties the topic: its figures, and its /metrics afterwards.

    Timers go by the events' own time to the end: the wall clock would end every session once the topic is empty.
    """
    stack.flush()
    with start(stack, topics, stack.group(), {"timers": "event", **(options or {})}) as worker:
        pids = {"worker": worker.pid, "kafka": stack.kafka.pid, "redis": stack.redis.pid}
        figures = throughput(events, worker.count, pids, worker.check)
        figures["worker_rss_mb"] = rss_mb(worker.pid)
        time.sleep(0.5)
        return figures, worker.metrics()


def floor(stack: Stack, topics: Topics, events: int, kind: str, sizes: Sizes) -> dict[str, float]:
    """The floor on the same topic (see `bench.floor`)."""
    stack.flush()
    with FloorProcess(stack, topics, stack.group(), kind, sizes) as under:
        pids = {"worker": under.pid, "kafka": stack.kafka.pid, "redis": stack.redis.pid}
        return throughput(events, under.count, pids, under.check)


def end_to_end(context: Context) -> Samples:
    """``e2e``: worker and floors on the same topic, turn by turn."""
    events = context.size(EVENTS)
    stack = context.stack
    topics = stack.filled("shoppers", shoppers(events), PARTITIONS)
    samples: Samples = {}
    drain(stack, topics, events)  # the broker's Java is compiled while it serves: not in a figure
    for _ in range(context.runs):
        figures, metrics = drain(stack, topics, events)
        sizes = stored_sizes(stack)
        figures["events_per_batch"] = events / metrics["clickstage_batch_events_count"]
        for kind in FLOORS:
            under = floor(stack, topics, events, kind, sizes)
            figures |= {f"{kind}_{name.removeprefix('worker_')}": value for name, value in under.items()}
            figures[f"{kind}_ratio"] = figures["events_per_s"] / under["events_per_s"]
        for name, value in figures.items():
            samples.setdefault(name, []).append(value)
    return samples


def stored_sizes(stack: Stack) -> Sizes:
    """The mean sizes of what a worker left in Redis, and of an outbox by the worker's own core."""
    client = stack.redis.client()
    states = next(client.scan_iter(match="cs:*:states", count=10_000))
    blobs = [len(blob) for blob in client.hvals(states)]
    keys = list(islice(client.scan_iter(match="decision:*", count=5_000), 2_000))
    documents = [len(document) for document in client.mget(keys) if document]
    return Sizes(round(sum(blobs) / len(blobs)), round(sum(documents) / len(documents)), outbox_size())


def outbox_size() -> int:
    """Bytes of an outbox for each event of a large batch."""
    shop = Shop(engine())
    for records in batches(shoppers(OUTBOX_EVENTS), SIZE):
        _, result = shop.process(records)
    return round(len(outbox.encode(0, result.outputs[0])) / len(records.values))
