"""What a command sent is what Kafka acknowledged; everything else is counted by its cause."""

from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from worker.kafka.sender import NO_ANSWER, Sender

NOWHERE = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}


def test_a_record_that_is_too_large_is_refused_although_nothing_is_under_way() -> None:
    sender = Sender({**NOWHERE, "message.max.bytes": 1_000, "message.timeout.ms": 50})
    assert sender.send("clicks", b"x" * 2_000, "s1")
    assert sender.finish(5) == 1
    assert sender.why() == "1 MSG_SIZE_TOO_LARGE: raise the topic's max.message.bytes"


def test_a_record_that_nobody_took_is_not_delivered() -> None:
    told: list[str] = []
    sender = Sender({**NOWHERE, "message.timeout.ms": 50})
    assert sender.send("clicks", b"x", "s1", on_delivered=lambda: told.append("s1"))
    assert sender.finish(20) == 1
    assert (sender.delivered, told) == (0, [])
    assert sender.why() == "1 _MSG_TIMED_OUT: look at the brokers"


def test_a_record_without_a_report_is_not_delivered_either() -> None:
    sender = Sender({**NOWHERE, "message.timeout.ms": 60_000})
    sender.send("clicks", b"x", "s1")
    assert sender.finish(0.05) == 1
    assert sender.refused == {NO_ANSWER: 1}


def test_a_full_queue_is_waited_for_as_long_as_somebody_wants() -> None:
    sender = Sender({**NOWHERE, "queue.buffering.max.messages": 1, "message.timeout.ms": 60_000})
    assert sender.send("clicks", b"x", "s1")
    looks = iter([True, True, False])
    assert not sender.send("clicks", b"x", "s1", go_on=lambda: next(looks))


class GivesUp(Producer):
    """Tells of a fatal error at the next poll, as the client does: by an exception, whatever its callbacks are."""

    told = False

    def poll(self, *wait_s: Any) -> int:
        if not self.told:
            self.told = True
            raise KafkaException(KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED, "", True))
        return super().poll(*wait_s)


def test_a_client_that_gives_up_refuses_its_records_and_says_why() -> None:
    sender = Sender({**NOWHERE, "message.timeout.ms": 50}, GivesUp)
    sender.send("clicks", b"x", "s1")
    assert sender.finish(20) == 1
    assert sender.why() == (
        "1 CLUSTER_AUTHORIZATION_FAILED: give this user IDEMPOTENT_WRITE on the cluster, or WRITE on the topic"
    )
