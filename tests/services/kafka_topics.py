"""Topics of a test: create, delete, identify, read to the end. Each test uses names of its own."""

import time
from collections.abc import Mapping

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.services.process import wait_for

TIMEOUT_S = 30


def create_topics(bootstrap: str, partitions: Mapping[str, int], config: Mapping[str, str] | None = None) -> None:
    """Create topics of these partition counts and block until the broker lists every partition with a leader.

    Raises:
        KafkaException: the broker refused, for instance because a topic exists.
        TimeoutError: a leader was missing for too long.
    """
    admin = _admin(bootstrap)
    wanted = [
        NewTopic(name, count, replication_factor=1, config=dict(config or {})) for name, count in partitions.items()
    ]
    for created in admin.create_topics(wanted, operation_timeout=TIMEOUT_S).values():
        created.result(TIMEOUT_S)

    def led() -> bool:
        topics = admin.list_topics(timeout=TIMEOUT_S).topics
        return all(
            name in topics
            and len(topics[name].partitions) == count
            and all(partition.leader >= 0 for partition in topics[name].partitions.values())
            for name, count in partitions.items()
        )

    if not wait_for(led, TIMEOUT_S):
        raise TimeoutError(f"no leader within {TIMEOUT_S} s for {', '.join(partitions)}")


def delete_topics(bootstrap: str, *names: str) -> None:
    """Delete topics and block until they are gone from the metadata."""
    admin = _admin(bootstrap)
    for deleted in admin.delete_topics(list(names), operation_timeout=TIMEOUT_S).values():
        deleted.result(TIMEOUT_S)
    if not wait_for(lambda: not set(names) & set(admin.list_topics(timeout=TIMEOUT_S).topics), TIMEOUT_S):
        raise TimeoutError(f"still listed after {TIMEOUT_S} s: {', '.join(names)}")


def topic_id(bootstrap: str, name: str) -> str:
    """The identity that a re-created topic of the same name does not share."""
    admin = _admin(bootstrap)  # held until the answer is there: destroying it fails what it was asked
    described = admin.describe_topics(TopicCollection([name]))[name].result(TIMEOUT_S)
    return str(described.topic_id)


def read_topic(bootstrap: str, name: str, timeout_s: float = TIMEOUT_S) -> list[Message]:
    """Every message from the beginning to the present end of all partitions, in the order of each partition.

    Raises:
        TimeoutError: the end was not reached in time.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "read-topic",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,  # the end is what is waited for: let the broker say so at once
        }
    )
    try:
        metadata = consumer.list_topics(name, timeout=timeout_s).topics[name]
        consumer.assign([TopicPartition(name, number, OFFSET_BEGINNING) for number in metadata.partitions])
        return _until_all_ended(consumer, len(metadata.partitions), timeout_s)
    finally:
        consumer.close()


def _until_all_ended(consumer: Consumer, partitions: int, timeout_s: float) -> list[Message]:
    messages: list[Message] = []
    ended: set[int | None] = set()
    deadline = time.monotonic() + timeout_s
    while len(ended) < partitions:
        if time.monotonic() > deadline:
            raise TimeoutError(f"read {len(messages)} messages in {timeout_s} s but not to the end")
        for message in consumer.consume(500, 0.02):
            error = message.error()
            if error is None:
                messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
            else:
                raise KafkaException(error)
    return messages


def _admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap})


def produce_bomb(bootstrap: str, name: str, records: int = 1) -> None:
    """A batch for partition 0: 120 MB of nothing, some kilobytes as zstd packs them. Clients take 100 MB unpacked."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "zstd",
            "linger.ms": 2_000 if records > 1 else 0,
            "batch.size": 200_000_000,
            "message.max.bytes": 200_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
        }
    )
    for _ in range(records):
        producer.produce(name, bytes(120_000_000 // records), "k", partition=0)
    if producer.flush(60):
        raise TimeoutError(f"{name} did not take the batch")
