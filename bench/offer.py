"""An open-loop producer: event k is due at t0 + k / rate, whatever became of the events before it.

    python -m bench.offer KAFKA TOPIC PARTITIONS RATE SECONDS OUT.npy

Prints ``ready``, waits for the start time (seconds since the epoch) on standard input, sends, and writes to OUT the
partition of each event; its k-th row there was due at t0 + k / rate. An event's ``ts`` and record time are its due
time. Prints how late the sending itself was, milliseconds at p99 and at most.
"""

import sys
import time
from typing import Final

import numpy as np
from confluent_kafka import Producer

from bench.workload import partition_of, shoppers

MARK: Final = b'"ts":'
DIGITS: Final = 13
SKIP: Final = 60_000
LATE_EVERY: Final = 64


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
    events = []
    chosen = np.zeros(count, np.int32)
    known: dict[bytes, int] = {}
    for k, (key, value, _) in enumerate(shoppers(count, SKIP)):
        at = value.index(MARK) + len(MARK)
        if key not in known:
            known[key] = partition_of(key, int(partitions))
        chosen[k] = known[key]
        events.append((key, known[key], value[:at], value[at + DIGITS :]))
    np.save(out, chosen)
    producer.list_topics(topic, timeout=10)
    print("ready", flush=True)
    begin = float(sys.stdin.readline())
    late = []
    k = 0
    while k < count:
        now = time.time()
        due = min(int((now - begin) * rate) + 1, count)
        if due <= k:
            time.sleep(0.0005)
            continue
        if k % LATE_EVERY < due - k:
            late.append(now - (begin + k / rate))
        for i in range(k, due):
            key, partition, head, tail = events[i]
            ms = int((begin + i / rate) * 1000)
            while True:
                try:
                    producer.produce(topic, b"%b%d%b" % (head, ms, tail), key, partition, timestamp=ms)
                    break
                except BufferError:
                    producer.poll(0.01)
        producer.poll(0)
        k = due
    producer.flush(60)
    print(np.percentile(late, 99) * 1000, max(late) * 1000, flush=True)


if __name__ == "__main__":
    main()
