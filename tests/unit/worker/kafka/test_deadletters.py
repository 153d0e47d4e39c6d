"""Dead letters carry what is needed to drive them again; too many stop the worker."""

import pytest

from featurestore.errors import DeadLetterLimit, InvalidEvent
from worker.kafka.deadletters import Limit, letter


class _Message:
    def topic(self) -> str:
        return "clicks"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 42

    def key(self) -> bytes:
        return b"k"

    def value(self) -> bytes:
        return b"not json"

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_000

    def headers(self) -> list[tuple[str, bytes]]:
        return [("trace", b"t1")]


def test_the_headers_are_the_original_ones_then_kafka_connects() -> None:
    made = letter(_Message(), InvalidEvent("schema", "Expected `int` - at `$.ts`"), "tid")
    assert (made.key, made.value) == (b"k", b"not json")
    assert made.headers[0] == ("trace", b"t1")
    assert dict(made.headers[1:]) == {
        "__connect.errors.topic": b"clicks",
        "__connect.errors.topic.id": b"tid",
        "__connect.errors.partition": b"3",
        "__connect.errors.offset": b"42",
        "__connect.errors.connector.name": b"clickstage",
        "__connect.errors.task.id": b"0",
        "__connect.errors.stage": b"VALUE_CONVERTER",
        "__connect.errors.class.name": b"featurestore.contract.decode",
        "__connect.errors.exception.class.name": b"InvalidEvent",
        "__connect.errors.exception.message": b"Expected `int` - at `$.ts`",
        "__connect.errors.reason": b"schema",
        "__connect.errors.timestamp": b"1700000000000",
    }


def test_a_run_of_bad_records_stops_the_worker_also_across_batches() -> None:
    limit = Limit(1.0, 5)
    limit.check(10, [7, 8, 9])
    with pytest.raises(DeadLetterLimit, match="5 records in a row"):
        limit.check(10, [0, 1])


def test_one_good_record_breaks_the_run() -> None:
    limit = Limit(1.0, 5)
    for _ in range(50):
        limit.check(10, [0, 1, 2, 3])
        limit.check(10, [6, 7, 8, 9])
        limit.check(1, [])
    limit.check(10, [6, 7, 8, 9])
    limit.check(10, [1, 2, 3, 4])


def test_a_share_counts_once_there_are_a_thousand_records() -> None:
    limit = Limit(0.5, 10_000)
    limit.check(999, list(range(999)))
    with pytest.raises(DeadLetterLimit, match="of the last 1000 records"):
        limit.check(1, [0])


def test_old_batches_leave_the_window() -> None:
    limit = Limit(0.5, 10_000)
    limit.check(900, list(range(0, 900, 2)))
    for _ in range(20):
        limit.check(500, [])
    limit.check(500, list(range(0, 500, 2)))


def test_the_limits_message_says_what_to_do_and_quotes_nothing() -> None:
    with pytest.raises(DeadLetterLimit, match="clickstage dlq list"):
        Limit(1.0, 1).check(1, [0])
