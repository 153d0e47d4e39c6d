"""How much may be given to Kafka before it is known to be there."""

from typing import Any

import pytest

from featurestore.store.outbox import Output
from featurestore.store.streams import DECISIONS
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
