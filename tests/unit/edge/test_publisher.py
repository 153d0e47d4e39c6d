"""The Kafka client's memory is full: what it cannot hold goes to the spool, in order, or is refused."""

import asyncio
import time
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from edge.publisher import NotKept, Publisher, Record
from edge.replay import Replay
from edge.spool import Place, Spool, Spooled

FEW: Final = {"queue.buffering.max.messages": 5}
NOBODY: Final[dict[str, Any]] = {"bootstrap.servers": "127.0.0.1:1", **FEW}
MOCK: Final[dict[str, Any]] = {"test.mock.num.brokers": 1, **FEW}
SLOW: Final[dict[str, Any]] = {"test.mock.num.brokers": 1, "test.mock.broker.rtt": 100}
EVENTS: Final = 20
PATIENCE_S: Final = 20.0


def _send(spool: Spool | None) -> None:
    """More records than the client holds; blocks until each has an answer."""

    async def run() -> None:
        publisher = Publisher(NOBODY, spool, 0.2)
        try:
            await publisher.send([Record("clicks", b"s", b"%d" % number, 1) for number in range(EVENTS)])
        finally:
            await publisher.close(PATIENCE_S)

    asyncio.run(run())


def test_a_full_client_sends_the_rest_to_the_spool_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    _send(spool)
    records, _ = spool.read(Place(0, 0), EVENTS + 1)
    assert [record.value for record in records] == [b"%d" % number for number in range(EVENTS)]


def test_without_a_spool_it_refuses_the_request() -> None:
    with pytest.raises(NotKept):
        _send(None)


def test_a_spool_with_more_than_the_client_holds_is_replayed_whole(tmp_path: Path) -> None:
    """The mock broker of librdkafka takes them."""
    spool = Spool(tmp_path, 1 << 20)
    spool.append([Spooled("clicks", b"s", b"%d" % number, 1) for number in range(EVENTS)])
    replay = Replay(MOCK, spool, PATIENCE_S)
    try:
        until = time.monotonic() + PATIENCE_S
        while spool.waiting() and time.monotonic() < until:
            time.sleep(0.01)
        assert not spool.waiting()
        assert (replay.replayed, replay.refused) == (EVENTS, 0)
    finally:
        replay.close(PATIENCE_S)


FATAL: Final = KafkaException(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "", True))


class GivesUpOnce(Producer):
    """The first of them fails for good at its second poll; the others work."""

    made = 0
    polls = 0

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        type(self).made += 1
        self.first = type(self).made == 1

    def poll(self, *wait_s: Any) -> int:
        self.polls += 1
        if self.first and self.polls == 2:
            self.purge()
            raise FATAL
        return super().poll(*wait_s)

    def produce(self, *args: Any, **more: Any) -> None:
        if self.first and self.polls >= 2:
            raise FATAL
        super().produce(*args, **more)


@pytest.mark.parametrize("spooled", [False, True])
def test_a_client_that_gives_up_is_replaced_and_its_records_are_refused_or_spooled(
    tmp_path: Path, spooled: bool
) -> None:
    class Client(GivesUpOnce):
        """Counted for this case alone."""

    spool = Spool(tmp_path, 1 << 20) if spooled else None

    async def taken(publisher: Publisher, value: bytes) -> bool:
        """Whether Kafka or the spool has it; nobody waits for ever."""
        try:
            await asyncio.wait_for(publisher.send([Record("clicks", b"s", value, 1)]), PATIENCE_S)
        except NotKept:
            return False
        return True

    async def run() -> None:
        publisher = Publisher(SLOW, spool, PATIENCE_S, Client)
        assert await taken(publisher, b"1") is spooled
        assert publisher.spooled == spooled
        until = time.monotonic() + PATIENCE_S
        while publisher.away and time.monotonic() < until:
            if spool is not None:
                spool.finish()  # as the replay does; then the next one goes to Kafka
            await asyncio.sleep(0.05)
            await taken(publisher, b"2")
        assert (publisher.away, Client.made) == (False, 2)
        await publisher.close(PATIENCE_S)

    asyncio.run(run())
