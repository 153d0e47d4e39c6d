"""An open-loop producer: event k is due at t0 + k / rate, whatever became of the events before it.

    python -m bench.offer KAFKA TOPIC PARTITIONS RATE SECONDS OUT.npy

Prints ``ready``, waits for the start time (seconds since the epoch) on standard input, makes all requests, sends each
on time, and writes to OUT the partition of each event; its k-th row there was due at t0 + k / rate. An event's ``ts``
is its due time. Prints how late the sending itself was, milliseconds at p99 and at most.

A request holds what fell due within `LINGER_S`, a batch a partition, as the Java client's does with this ``linger.ms``.
All are made before the first event is due: browsers and web tier have machines of their own, and what making the
events would cost on this one is missing on the other side.
"""

import gc
import sys
import time
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.processes import give_way
from bench.wire import Keyed, Wire, produce_request
from bench.workload import shoppers
from featurestore.contract.partitioner import partitions_of

MARK: Final = b'"ts":'
SKIP: Final = 60_000
LINGER_S: Final = 0.002
MAKING_S: Final = 2e-6
MAKING_BATCH_S: Final = 80e-6
"""Most time that making an event, and a batch, takes."""


def making_s(rate: float, seconds: float, partitions: int) -> float:
    """How long before the first event the producer must be told when that is due, seconds."""
    events = rate * seconds
    return 1.0 + MAKING_S * events + MAKING_BATCH_S * min(events, partitions * seconds / LINGER_S)


def requests(events: Keyed, chosen: NDArray[np.int32], rate: float, begin: float, topic: str) -> list[bytes]:
    """What to send at the end of each `LINGER_S` since ``begin``, epoch seconds; empty where nothing fell due.

    Args:
        events: n events.
        chosen: their partitions, shape (n,).
        rate: events a second.
        begin: when the first is due.
        topic: where to.
    """
    times = ((begin + np.arange(chosen.size) / rate) * 1000).astype(np.int64)
    events.stamp(times)
    rows = [np.flatnonzero(chosen == partition) for partition in range(int(chosen.max()) + 1)]
    ticks = np.arange(ceil(chosen.size / rate / LINGER_S) + 1)
    edges = np.ceil(ticks * LINGER_S * rate).astype(np.int64)
    cuts = [mine.searchsorted(edges).tolist() for mine in rows]
    made = []
    for tick in range(edges.size - 1):
        batches = {
            partition: events.batch(mine[cut[tick] : cut[tick + 1]], times)
            for partition, (mine, cut) in enumerate(zip(rows, cuts, strict=True))
            if cut[tick] < cut[tick + 1]
        }
        made.append(produce_request(topic, batches, tick) if batches else b"")
    return made


def main() -> None:
    """Send on time."""
    give_way()
    kafka, topic, partitions_, rate_, seconds, out = sys.argv[1:]
    partitions, rate = int(partitions_), float(rate_)
    events = shoppers(int(rate * float(seconds)), SKIP)
    chosen = partitions_of([key.decode() for key, _, _ in events], partitions).astype(np.int32)
    np.save(out, chosen)
    keyed = Keyed([key for key, _, _ in events], [value for _, value, _ in events], MARK)
    wire = Wire(kafka)
    print("ready", flush=True)
    begin = float(sys.stdin.readline())
    made = requests(keyed, chosen, rate, begin, topic)
    if time.time() > begin:
        raise RuntimeError("the events were not made in time: raise MAKING_S")
    gc.freeze()
    late = []
    for tick, request in enumerate(made, start=1):
        wire.read()
        while (early := begin + tick * LINGER_S - time.time()) > 0:
            time.sleep(early)
        if request:
            late.append(-early)
            wire.send(request)
    wire.wait(len(late))
    wire.close()
    print(np.percentile(late, 99) * 1000, max(late) * 1000, flush=True)


if __name__ == "__main__":
    main()
