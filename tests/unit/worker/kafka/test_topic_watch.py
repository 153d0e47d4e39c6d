"""A topic that was created anew under a running worker."""

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from featurestore.errors import TopicReplaced
from worker.kafka.topic_watch import EVERY_S, TopicWatch


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def now_ms(self) -> int:
        return round(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Described:
    def __init__(self, topic_id: str, partitions: int = 4) -> None:
        self.topic_id = topic_id
        self.partitions = [None] * partitions


class FakeAdmin:
    def __init__(self) -> None:
        self.asked: list[Future[Any]] = []

    def describe_topics(self, _: object, request_timeout: float) -> dict[str, Future[Any]]:
        self.asked.append(Future())
        return {"clicks": self.asked[-1]}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def watch(clock: FakeClock) -> tuple[TopicWatch, FakeAdmin]:
    admin = FakeAdmin()
    asks: Any = admin
    return TopicWatch(asks, "clicks", "first", 4, clock), admin


def test_it_asks_every_few_seconds_and_one_question_at_a_time(clock: FakeClock) -> None:
    watched, admin = watch(clock)
    for _ in range(3):
        watched.poll()
        clock.sleep(EVERY_S)
        watched.poll()
    assert len(admin.asked) == 1
    admin.asked[0].set_result(Described("first"))
    clock.sleep(EVERY_S)
    watched.poll()
    assert len(admin.asked) == 2


def test_another_id_ends_the_worker(clock: FakeClock) -> None:
    watched, admin = watch(clock)
    clock.sleep(EVERY_S)
    watched.poll()
    admin.asked[0].set_result(Described("second"))
    with pytest.raises(TopicReplaced, match="created anew"):
        watched.poll()


def test_a_kafka_that_does_not_answer_is_no_new_topic(clock: FakeClock) -> None:
    watched, admin = watch(clock)
    clock.sleep(EVERY_S)
    watched.poll()
    admin.asked[0].set_exception(KafkaException(KafkaError(KafkaError._TRANSPORT)))
    clock.sleep(EVERY_S)
    watched.poll()
    assert len(admin.asked) == 2


def test_more_partitions_are_told_once(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    watched, admin = watch(clock)
    for _ in range(3):
        clock.sleep(EVERY_S)
        watched.poll()
        admin.asked[-1].set_result(Described("first", 6))
    watched.poll()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "has 6 partitions now, the keys were made for 4" in caplog.text
