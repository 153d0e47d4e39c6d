"""The Kafka client's memory is full: what it cannot hold goes to the spool, in order, or is refused."""

import asyncio
import time
from pathlib import Path
from typing import Any, Final

import pytest

from edge.publisher import NotKept, Publisher, Record
from edge.replay import Replay
from edge.spool import Place, Spool, Spooled

FEW: Final = {"queue.buffering.max.messages": 5}
NOBODY: Final[dict[str, Any]] = {"bootstrap.servers": "127.0.0.1:1", **FEW}
MOCK: Final[dict[str, Any]] = {"test.mock.num.brokers": 1, **FEW}
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
