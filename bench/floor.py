"""The floor: what reading the messages and writing the bytes costs, with no decoding and no thinking.

Consumes the same topic with the worker's own consumer settings; per batch one HMGET of the sessions' states and one
call of the worker's own script, which writes as many bytes as the worker does: state and decision of each session, the
deadline of one that is new (the worker, too, moves an index entry once a silence and not once an event), and an outbox
as long as the worker's; without that with ``--bare``. With ``--log`` every event also goes to the decisions topic,
acknowledged before the next batch.

    python -m bench.floor KAFKA REDIS TOPIC GROUP [--bare | --log TOPIC]

Runs until killed.
"""

import argparse
import time
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from bench.stack import ENV
from featurestore.store.keys import Namespace, Shard
from featurestore.store.protocols import ShardWrite
from featurestore.store.redis.connection import connect
from featurestore.store.redis.store import RedisSessionStore
from worker.kafka.consumer_config import consumer_config
from worker.pipeline.outputs import producer_config
from worker.settings import Settings

BATCH: Final = 4_000
TTL_MS: Final = 1_800_000
SHARD: Final = Shard(0)


def main() -> None:
    """Consume, load, write, until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kafka")
    parser.add_argument("redis")
    parser.add_argument("topic")
    parser.add_argument("group")
    parser.add_argument("--log", help="topic for one record an event")
    parser.add_argument("--bare", action="store_true", help="no outbox")
    parser.add_argument("--blob", type=int, default=180, help="bytes of a state")
    parser.add_argument("--decision", type=int, default=420, help="bytes of a decision")
    parser.add_argument("--outbox", type=int, default=90, help="bytes of an outbox for each event")
    options = parser.parse_args()
    settings = Settings(kafka=options.kafka, redis=options.redis, group=options.group, topic=options.topic)
    consumer = Consumer(consumer_config(settings))
    partitions = consumer.list_topics(options.topic, timeout=10).topics[options.topic].partitions
    consumer.assign([TopicPartition(options.topic, number, OFFSET_BEGINNING) for number in partitions])
    store = RedisSessionStore(connect(options.redis, timeout_s=30), Namespace(ENV, options.group, "floor"))
    [lease] = store.acquire([SHARD], 0, 0)
    producer = Producer(producer_config(settings))
    blob, decision = b"\x5a" * options.blob, b"\x5a" * options.decision
    last = -1
    known: set[str] = set()
    expected = None
    while True:
        first = consumer.poll(0.05)  # as the worker does: what is there, and no waiting for more
        if first is None:
            continue
        messages = [m for m in (first, *consumer.consume(BATCH - 1, 0.0)) if m.error() is None]
        if not messages:  # the end of a partition
            continue
        keys = [message.key() or b"" for message in messages]
        sessions = list(dict.fromkeys(keys))
        names = [session.decode() for session in sessions]
        store.load([(SHARD, names)])
        if options.log:
            producer.produce_batch(options.log, [{"key": key, "value": decision} for key in keys])
            producer.flush()
        last += len(messages)
        deadline = int(time.time() * 1000) + TTL_MS
        write = ShardWrite(SHARD, lease.epoch, expected, last)
        write.sessions = names
        write.blobs = [blob] * len(names)
        write.armed = [name for name in names if name not in known]
        write.deadlines = [deadline] * len(write.armed)
        known.update(write.armed)
        write.decided = names
        write.decisions = [decision] * len(names)
        if not options.bare:
            write.acknowledged = int(expected is not None)
            write.outbox = b"\x5a" * (options.outbox * len(keys))
        [result] = store.write([write], TTL_MS)
        assert result.status == 1, result
        expected = last


if __name__ == "__main__":
    main()
