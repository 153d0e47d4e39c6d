"""Records out of the client's messages, and out of what stands for a batch that it cannot unpack."""

import pytest
from confluent_kafka import Message

from decisions.intake import UNREADABLE
from worker.kafka.polled import received
from worker.kafka.unreadable import Unreadable


def message(offset: int, value: bytes | None = b"{}", time: tuple[int, int] = (1, 70)) -> Message:
    return Message(topic="clicks", partition=4, offset=offset, value=value, timestamp=time)


def test_records_have_the_values_offsets_and_times_of_their_messages() -> None:
    """A time of kind 0 is none."""
    records = received(4, [message(7), message(8, None, (0, 0)), message(9, b"x", (2, 90))])
    assert records == (4, [b"{}", None, b"x"], range(7, 10), [70, -1, 90])


def test_offsets_may_have_gaps() -> None:
    assert list(received(4, [message(7), message(9)]).offsets) == [7, 9]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_batch_that_cannot_be_unpacked_is_one_record_wherever_it_stands(at: int) -> None:
    """No event and no tombstone: the decoder knows the object."""
    messages: list[Message | Unreadable] = [message(10), message(30)]
    messages.insert(at, Unreadable("clicks", 4, (5, 15, 35)[at], (9, 20, 40)[at]))
    records = received(4, messages)
    assert records.values[at] is UNREADABLE
    assert records.record_ms[at] == -1
    assert list(records.offsets) == sorted([10, 30, (9, 20, 40)[at]])
    assert received(4, [messages[at]]).values[0] is UNREADABLE
