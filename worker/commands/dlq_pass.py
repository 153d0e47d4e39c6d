"""``clickstage dlq pass``: lets a held partition go on, and says where."""

from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import OFFSET_END, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from featurestore.errors import SettingsError, Unsafe
from featurestore.store.keys import Namespace, Shard
from featurestore.store.redis.connection import Client
from featurestore.store.refusals import PASSES
from worker.checks.held_check import refused_by_partition
from worker.commands.options import KAFKA
from worker.errors import ExitCode
from worker.partitions.refusals import Refusals
from worker.settings import Settings

ACCESS: Final = (
    *KAFKA, "redis", "redis_timeout_s", "group", "env",
    "topic", "topic_id", "dlq_topic", "decisions_topic", "sessions_topic", "dlq_max_share", "dlq_max_consecutive",
)  # fmt: skip
DESCRIPTION: Final = (
    "A partition is held when too many of its records are no events; limits are per partition. What is bad among the "
    "records that pass becomes a dead letter and is not counted; what is good is decided. Behind them counting begins "
    "anew. Running workers go on within a second or two."
)


def let_pass(settings: Settings, chosen: Sequence[int], until: int | None) -> int:
    """Let records pass in the chosen partitions, else in all that are held.

    Args:
        settings: access, and the limits of the workers.
        chosen: partitions.
        until: offset before which everything passes, None for the present end.
    """
    from worker.wiring import kafka_admin, kafka_topic, namespace_of, redis_client

    topic_id, partitions = kafka_topic(settings)
    client = redis_client(settings)
    namespace = namespace_of(settings, client, topic_id)
    unknown = sorted(set(chosen) - set(range(partitions)))
    if unknown:
        raise SettingsError(f"topic {settings.topic} has partitions 0 to {partitions - 1}, and no {unknown[0]}")
    found = refused_by_partition(client, namespace, range(partitions))
    limits = settings.dlq_max_share, settings.dlq_max_consecutive
    held = {n: at for n, refused in found.items() if (at := Refusals(*limits, refused).held_at()) is not None}
    if not chosen and not held:
        print("no partition is held")
        return ExitCode.OK
    numbers = sorted(set(chosen)) or sorted(held)
    ends = _ends(kafka_admin(settings), settings.topic, numbers) if until is None else dict.fromkeys(numbers, until)
    for number in numbers:
        _let_pass(client, namespace, number, ends[number])
        was = f"was held at offset {held[number]}" if number in held else "was not held"
        print(f"partition {number} {was}; records before offset {ends[number]} pass")
    return ExitCode.OK


def _let_pass(client: Client, namespace: Namespace, number: int, until: int) -> None:
    client.hset(namespace.meta(Shard(number)), PASSES, str(until))


def _ends(admin: AdminClient, topic: str, numbers: Sequence[int]) -> dict[int, int]:
    """One past the last offset of each partition."""
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call] # the client's
    asked: Any = {TopicPartition(topic, number, OFFSET_END): latest for number in numbers}
    try:
        return {tp.partition: answer.result().offset for tp, answer in admin.list_offsets(asked).items()}
    except KafkaException as error:
        raise Unsafe(
            f"Kafka does not tell where {topic} ends ({error.args[0].name()}): try again, or name --until"
        ) from None
