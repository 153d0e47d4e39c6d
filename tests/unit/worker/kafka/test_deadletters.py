"""Dead letters carry what is needed to drive them again."""

from featurestore.errors import InvalidEvent
from worker.kafka.deadletters import letter


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
