"""``clickstage reprocess``: let a group read the log again from a given time, into fresh state.

Stop the group's workers, run this, start them again. The group gets a new generation of keys, in which each partition
stands right before the first record of that time; the old generation's state is deleted. Decisions and summaries are
produced again with the same identities (`source`, `session_id`, `seq`), so consumers that go by them see no doubles.
Visitors' profiles are kept: a session already counted in one is not counted again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from confluent_kafka import Consumer, ConsumerGroupState, KafkaException, TopicPartition

from featurestore.errors import SettingsError, Unsafe
from featurestore.store.cluster.cluster_connection import AWAY
from featurestore.store.keys import SHARD_TTL_S, Namespace, Shard
from featurestore.store.protocols import unavailable
from featurestore.store.redis.connection import Client
from worker.commands.options import add_settings, settings_from
from worker.errors import ExitCode
from worker.lookup import ACCESS, Lookup, known_buckets
from worker.settings import Settings
from worker.wiring import kafka_admin

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


def main(argv: Sequence[str]) -> int:
    """Begin a new generation and say where each partition stands."""
    parser = argparse.ArgumentParser(
        prog="clickstage reprocess", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--since", required=True, metavar="TIME", help="beginning, 6h (ago; m, h, d), or 2026-01-31T12:00 (UTC)"
    )
    add_settings(parser, ACCESS)
    args = parser.parse_args(argv)
    settings = settings_from(args)
    since = since_ms(args.since, datetime.now(UTC))
    lookup = Lookup(settings)
    known_buckets(settings, lookup.client, lookup.namespace)
    _no_members(settings)
    starts = _starts(settings, lookup.partitions, since)
    fresh = begin_generation(lookup.client, lookup.namespace, lookup.shards, starts)
    for partition, offset in sorted(starts.items()):
        print(f"partition {partition}: from offset {offset}")
    print(f"generation {fresh.generation} of group {settings.group}; start the workers")
    return ExitCode.OK


def since_ms(text: str, now: datetime) -> int:
    """Epoch ms of a time as people write it; 0 for the beginning.

    Raises:
        SettingsError: it is none.

    >>> since_ms("1h", datetime(2026, 1, 1, 1, tzinfo=UTC))
    1767225600000
    """
    if text == "beginning":
        return 0
    if text[:-1].isdigit() and text[-1:] in _UNITS:
        then = now - timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
    else:
        try:
            then = datetime.fromisoformat(text)
        except ValueError:
            raise SettingsError(f"--since {text!r} is no time: write beginning, 6h or 2026-01-31T12:00") from None
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(int(then.timestamp() * 1000), 0)


def begin_generation(client: Client, old: Namespace, shards: Sequence[Shard], starts: dict[int, int]) -> Namespace:
    """Set every shard of a new generation before its partition's start, switch to it, delete the old one's keys.

    Raises:
        StoreUnavailable: the switch was not made, or the old keys are still there; run it again.
    """
    fresh = replace(old, generation=old.generation + 1)
    try:
        pipe: Any = client.pipeline()
        for shard in shards:
            pipe.hset(fresh.meta(shard), "applied", str(starts[shard.partition] - 1))
            pipe.expire(fresh.meta(shard), SHARD_TTL_S)
        pipe.execute()
        # Only now: a worker must not find a generation in which some shard does not know its start.
        client.set(fresh.generation_key(), fresh.generation)
        for shard in shards:
            buckets: Any = client.zrange(old.ends(shard), 0, -1)
            client.unlink(*old.all_of(shard), *(old.ending(shard, int(bucket)) for bucket in buckets))
    except AWAY as error:
        raise unavailable(error, "beginning a generation") from None
    return fresh


def _no_members(settings: Settings) -> None:
    """Refuse while workers run: they would go on in the old generation.

    Raises:
        SettingsError: the group has members.
    """
    admin = kafka_admin(settings)
    try:
        group: Any = admin.describe_consumer_groups([settings.group], request_timeout=8.0)[settings.group].result()
    except KafkaException as error:
        if error.args[0].name() == "GROUP_ID_NOT_FOUND":
            return  # a group that never was has no workers
        raise Unsafe(f"Kafka does not describe group {settings.group} ({error.args[0].name()})") from None
    if group.state not in {ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD} and group.members:
        raise SettingsError(
            f"group {settings.group} has {len(group.members)} running workers: stop them first (they would go on in "
            "the old state); after a crash, wait until Kafka has noticed it (CLICKSTAGE_SESSION_TIMEOUT_S)"
        )


def _starts(settings: Settings, partitions: int, since: int) -> dict[int, int]:
    consumer = Consumer({**settings.kafka_client(), "group.id": f"{settings.group}.reprocess", "log_level": 2})
    try:
        wanted = [TopicPartition(settings.topic, p, since) for p in range(partitions)]
        starts = {}
        for tp in consumer.offsets_for_times(wanted, timeout=10.0):
            low, high = consumer.get_watermark_offsets(TopicPartition(tp.topic, tp.partition), timeout=8.0)
            starts[tp.partition] = max(tp.offset if tp.offset >= 0 else high, low)
        return starts
    except KafkaException as error:
        raise Unsafe(f"Kafka does not tell offsets ({error.args[0].name()}); try again") from None
    finally:
        consumer.close()
