"""An open-loop producer: event k is due at t0 + k / rate, whatever became of the events before it.

    python -m bench.offer KAFKA TOPIC PARTITIONS RATE SECONDS OUT.npy

Prints ``ready``, waits for the start time (seconds since the epoch) on standard input, makes all events, sends them on
time, and writes to OUT the partition of each event; its k-th row there was due at t0 + k / rate. An event's ``ts`` is
its due time. Prints how late the sending itself was, milliseconds at p99 and at most.
"""

import gc
import sys
import time
from collections import deque
from itertools import repeat
from operator import length_hint
from typing import Final

import numpy as np
from confluent_kafka import Producer

from bench.workload import partition_of, shoppers

MARK: Final = b'"ts":'
DIGITS: Final = 13
SKIP: Final = 60_000
MAKING_S: Final = 2e-6
"""Most time that making an event takes."""


def making_s(events: float) -> float:
    """How long before the first event the producer must be told when that is due, seconds."""
    return 1.0 + MAKING_S * events


def main() -> None:
    """Send on time."""
    kafka, topic, partitions, rate_, seconds, out = sys.argv[1:]
    rate, count = float(rate_), int(float(rate_) * float(seconds))
    producer = Producer(
        {
            "bootstrap.servers": kafka,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 2,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    known: dict[bytes, int] = {}
    for key, _, _ in (events := shoppers(count, SKIP)):
        if key not in known:
            known[key] = partition_of(key, int(partitions))
    keys = [key for key, _, _ in events]
    chosen = [known[key] for key in keys]
    np.save(out, np.array(chosen, np.int32))
    producer.list_topics(topic, timeout=10)
    print("ready", flush=True)
    begin = float(sys.stdin.readline())
    values = []
    for k, (_, value, _) in enumerate(events):
        at = value.index(MARK) + len(MARK)
        values.append(b"%b%d%b" % (value[:at], int((begin + k / rate) * 1000), value[at + DIGITS :]))
    if time.time() > begin:
        raise RuntimeError("the events were not made in time: raise MAKING_S")
    gc.freeze()
    late = []
    k = 0
    while k < count:
        now = time.time()
        due = min(int((now - begin) * rate) + 1, count)
        if due <= k:
            time.sleep(0.0005)
            continue
        late.append(now - (begin + k / rate))
        left = iter(values[k:due])
        try:
            # No step of the interpreter for each event: what the load costs is missing on the other side.
            deque(map(producer.produce, repeat(topic), left, keys[k:due], chosen[k:due]), maxlen=0)
            k = due
        except BufferError:
            k = due - length_hint(left) - 1
            producer.poll(0.01)
        producer.poll(0)
    producer.flush(60)
    print(np.percentile(late, 99) * 1000, max(late) * 1000, flush=True)


if __name__ == "__main__":
    main()
