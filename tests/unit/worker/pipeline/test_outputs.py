"""How much may be given to Kafka before it is known to be there."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from featurestore.store.outbox import Output
from featurestore.store.streams import DECISIONS
from worker.kafka.letters import Letter
from worker.pipeline import outputs
from worker.pipeline.outputs import MOST_GIVEN, MOST_RECORDS, MOST_UNTOLD, Outputs
from worker.settings import Settings


class Lingering:
    """A producer that delivers all but the last record, until it is flushed."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.under_way = 0
        self.most = 1

    def produce(self, *_: Any, **__: Any) -> None:
        self.under_way = min(self.under_way + 1, self.most)

    def poll(self, _timeout: float) -> int:
        return 0

    def flush(self, _timeout: float) -> int:
        self.under_way = 0
        return 0

    def __len__(self) -> int:
        return self.under_way


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Outputs:
    monkeypatch.setattr(outputs, "Producer", Lingering)
    return Outputs(Settings())


def send(given: Outputs, records: int) -> None:
    given.send([Output(DECISIONS, ["s"] * records, [b"{}"] * records)])
    given.acknowledged()


@pytest.mark.parametrize(("size", "most"), [(1, MOST_GIVEN), (1_000, MOST_UNTOLD // 1_000)])
def test_what_the_outboxes_hold_is_bounded_in_outputs_and_in_records(given: Outputs, size: int, most: int) -> None:
    for _ in range(most - 1):
        send(given, size)
        assert given.room()
    assert given.acknowledged() == 0, "something always lingers"
    send(given, size)
    assert not given.room()
    assert given.settled(0.1)
    assert given.room()
    assert given.acknowledged() == most


def test_what_is_under_way_is_bounded(given: Outputs) -> None:
    given._producer.most = MOST_RECORDS  # type: ignore[attr-defined]
    send(given, MOST_RECORDS - 1)
    assert given.room()
    send(given, 1)
    assert not given.room()


class Unauthorised(Lingering):
    """A producer that knows already that it may not write to the topic."""

    def produce(self, *_: Any, **__: Any) -> None:
        raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))


@pytest.mark.parametrize("what", ["decision", "letter"])
def test_a_right_that_was_revoked_is_waited_for_not_left_for(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """The client refuses at once; the loop hears of it as of any refusal, applies nothing more, and tries again."""
    monkeypatch.setattr(outputs, "Producer", Unauthorised)
    refused = Outputs(Settings())
    if what == "decision":
        refused.send([Output(DECISIONS, ["s"] * 3, [b"{}"] * 3)])
    else:
        refused.send_letter(Letter(b"k", b"not json", [], []))
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        refused.acknowledged()


class Narrow(Lingering):
    """A producer whose client takes no record above a size; keeps what it took."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        self.took: list[tuple[str, bytes]] = []

    def produce(self, topic: str, value: bytes, *_: Any, **__: Any) -> None:
        if len(value or b"") > 30_000:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        self.took.append((topic, value))


def test_a_document_that_no_topic_takes_becomes_a_letter_and_those_beside_it_are_produced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outputs, "Producer", Narrow)
    told: list[int] = []
    made = Outputs(Settings(), None, lambda: told.append(1))
    made.send([Output(DECISIONS, ["a", "b", "c"], [b"{1}", b"x" * 50_000, b"{3}"])])
    producers: Any = made._producer, made._alone
    took = [record for producer in producers for record in producer.took]
    assert [value for topic, value in took if topic == "decisions"] == [b"{1}", b"{3}"]
    [letter] = [value for topic, value in took if topic == "clicks.dlq"]
    assert 10_000 < len(letter) <= 30_000
    assert letter.strip(b"x") == b""
    assert told == [1]
