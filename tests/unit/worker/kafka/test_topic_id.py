"""The id of the topic, asked of a broker that is coming up."""

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

import worker.wiring
from featurestore.errors import SettingsError, Unsafe
from worker.settings import Settings
from worker.wiring import ASKED_MOST, kafka_topic


class Metadata:
    def __init__(self, names: list[str]) -> None:
        self.topics = {name: type("Topic", (), {"partitions": dict.fromkeys(range(4))}) for name in names}


class Described:
    topic_id = "the-id"


class Broker:
    """Answers with these errors first."""

    def __init__(self, *codes: int) -> None:
        self.errors = [KafkaException(KafkaError(code)) for code in codes]
        self.asked = 0

    def list_topics(self, timeout: float) -> Metadata:
        return Metadata(["clicks", "decisions", "sessions", "clicks.dlq"])

    def describe_topics(self, _: object, request_timeout: float) -> dict[str, Future[Any]]:
        self.asked += 1
        answer: Future[Any] = Future()
        if self.errors:
            answer.set_exception(self.errors.pop(0))
        else:
            answer.set_result(Described())
        return {"clicks": answer}


def asked(monkeypatch: pytest.MonkeyPatch, broker: Broker) -> tuple[str, int]:
    monkeypatch.setattr(worker.wiring, "kafka_admin", lambda settings: broker)
    return kafka_topic(Settings(kafka="shop:9092"))


@pytest.mark.parametrize("code", [KafkaError._TIMED_OUT, KafkaError._TRANSPORT])
def test_a_broker_that_is_slow_to_come_back_is_asked_again(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    broker = Broker(*[code] * (ASKED_MOST - 1))
    assert asked(monkeypatch, broker) == ("the-id", 4)
    assert broker.asked == ASKED_MOST


def test_a_broker_that_never_answers_is_away_and_no_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(*[KafkaError._TIMED_OUT] * ASKED_MOST)
    with pytest.raises(Unsafe, match="shop:9092 does not answer"):
        asked(monkeypatch, broker)
    assert broker.asked == ASKED_MOST


def test_a_broker_that_cannot_tell_is_an_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(KafkaError._UNSUPPORTED_FEATURE)
    with pytest.raises(SettingsError, match="CLICKSTAGE_TOPIC_ID"):
        asked(monkeypatch, broker)
    assert broker.asked == 1
