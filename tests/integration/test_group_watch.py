"""What a worker without partitions is to its group, by a real coordinator and both protocols."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.services import create_topics
from tests.services.kafka_broker import Kafka
from tests.services.process import wait_for
from worker.clock import SystemClock
from worker.kafka.group_watch import GroupWatch, Standing
from worker.kafka.source import KafkaSource
from worker.settings import Settings


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_spare_workers_are_told_from_those_that_the_group_has_lost(kafka: Kafka, unique: str, protocol: str) -> None:
    """One partition, two members: the one without is spare while the other owns it, and needed once nobody does."""
    create_topics(kafka.bootstrap, {unique: 1})
    own = {"session.timeout.ms": 6_000} if protocol == "classic" else {}
    config = {"bootstrap.servers": kafka.bootstrap, "group.id": unique, "group.protocol": protocol, **own}
    consumers = [Consumer(config) for _ in range(2)]
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})

    def poll() -> bool:
        for consumer in consumers:
            consumer.poll(0.05)
        return sum(len(consumer.assignment()) for consumer in consumers) == 1

    def watch(member: Callable[[], str]) -> GroupWatch:
        return GroupWatch(
            admin,
            unique,
            unique,
            1,
            member,
            lambda: consumers[0].committed([TopicPartition(unique, 0)], timeout=3),
            SystemClock(),
        )

    try:
        for consumer in consumers:
            consumer.subscribe([unique])
        assert wait_for(poll, 30)
        # Which of the two owns it may change while the second one joins.
        here = watch(lambda: next((str(one.memberid() or "") for one in consumers if not one.assignment()), ""))
        assert wait_for(lambda: poll() and here.standing() is Standing.SPARE, 20)
        gone = watch(lambda: "nobody")
        assert wait_for(lambda: poll() and gone.standing() is Standing.NEEDED, 20)
        nobody = watch(lambda: "")
        assert wait_for(lambda: poll() and nobody.standing() is Standing.NEEDED, 20)
    finally:
        for consumer in consumers:
            consumer.close()


def test_a_worker_joins_its_group_with_the_first_poll(kafka: Kafka, unique: str) -> None:
    """A start that fails before leaves no member behind, for which the group would wait until its session times out."""
    create_topics(kafka.bootstrap, {unique: 1})
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})

    def members() -> int:
        try:
            group: Any = admin.describe_consumer_groups([unique], request_timeout=8.0)[unique].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise
            return 0
        return len(group.members)

    source = KafkaSource(Settings(kafka=kafka.bootstrap, topic=unique, group=unique))
    try:
        time.sleep(1.0)
        assert members() == 0
        assert wait_for(lambda: source.poll(1, 0.1).full or members() == 1, 20)
    finally:
        source.close()
