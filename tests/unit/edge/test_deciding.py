"""An inline decision where the worker was faster: the events are applied, and what is stored is the answer."""

import asyncio
import gc
import time
from collections.abc import Sequence
from typing import Any

import pytest

from decisions.engine import Engine
from decisions.intake import Records, decode, plan
from decisions.shipped import load_bundle, load_policy
from edge.batcher import Batcher
from edge.decide import Decider
from edge.deciding import LOOK_AGAIN_S, Deciding
from edge.document import Presenter
from edge.ladder import read
from edge.metrics import EdgeMetrics
from edge.pending import Pending
from edge.publisher import NotKept, Record
from edge.store import Asked, Stored
from featurestore.contract.ids import IdKey
from featurestore.session.observation import SEQ_STEP
from featurestore.store.keys import Namespace, Shard
from featurestore.store.memory import MemoryStore

SESSION = "s1"
OFFSET = 7
AS_SENT = IdKey.of("")


class Slow:
    """A store of decisions that shows the newest one only when it has been asked often enough, as a Cluster may."""

    def __init__(self, answers: list[bytes | None]) -> None:
        self._answers = answers
        self.asked = 0

    def read(self, asked: Sequence[Asked]) -> list[Stored]:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return [Stored(answer, False, -1) for _ in asked]


@pytest.fixture(scope="module")
def engine() -> Engine:
    bundle = load_bundle(None)
    return Engine.of(bundle, load_policy(None, bundle.heads.variables), Namespace("test", "edge", "topic"))


def _record(offset: int, now_ms: int) -> Record:
    value = b'{"session_id":"s1","type":"page_view","ts":%d,"event_id":"e%d","page":"/%d"}' % (now_ms, offset, offset)
    record = Record("clicks", SESSION.encode(), value, now_ms)
    record.partition, record.offset = 0, offset
    return record


def _applied(engine: Engine, records: list[Record]) -> tuple[MemoryStore, list[bytes]]:
    """A store in which a worker has applied these, one by one; the decision after each."""
    store = MemoryStore(engine.namespace)
    epoch = store.acquire([Shard(0)], 0, 0)[0].epoch
    documents = []
    for record in records:
        batch = plan(decode([Records(0, [record.value], [record.offset], [record.at_ms])]), 1, lambda _: -1)
        result = engine.run(batch, engine.loader(store).load(batch), record.at_ms)
        for write in result.writes:
            write.epoch, write.expected, write.applied = epoch, store.shards[Shard(0)].applied, record.offset
        store.write(result.writes, 1)
        [document] = store.documents([SESSION])
        assert document is not None
        documents.append(document)
    return store, documents


def _asked(engine: Engine, store: MemoryStore, slow: Slow, record: Record, *, follow: bool) -> dict[str, Any]:
    """What the sender of the record is told."""

    async def run() -> dict[str, Any]:
        pending = Pending()
        pending.sent([record])
        hub: Any = None  # compares provisional decisions with the stream's: there are none here
        reads = Batcher("reads", slow.read, 10, 10)
        deciding = Deciding(reads, pending, hub, Presenter(engine.judge.policy), lambda: follow)
        deciding.use(Decider(engine, lambda: store, 1, 1, AS_SENT, EdgeMetrics()))
        try:
            told = await deciding.sent(SESSION, asyncio.sleep(0))
        finally:
            deciding.close()
            reads.close()
        assert told is not None
        return told

    return asyncio.run(run())


@pytest.mark.parametrize("before", ["none", "older"])
def test_a_decision_that_follows_its_state_is_waited_for(engine: Engine, before: str) -> None:
    """On a Cluster a state is readable a moment before its decision: neither no decision nor an older one is told."""
    now = time.time_ns() // 1_000_000
    records = [_record(OFFSET - 1, now - 1_000), _record(OFFSET, now)]
    store, [older, newest] = _applied(engine, records)
    slow = Slow([None if before == "none" else older, None if before == "none" else older, newest])
    told = _asked(engine, store, slow, records[-1], follow=True)
    assert (told["seq"], told["answer"], told["provisional"]) == (OFFSET * SEQ_STEP, "fresh", False)
    assert slow.asked == 3


def test_what_never_comes_is_not_waited_for_long(engine: Engine) -> None:
    """A node that went back took the decision along: what stands is told."""
    now = time.time_ns() // 1_000_000
    records = [_record(OFFSET - 1, now - 1_000), _record(OFFSET, now)]
    store, [older, _] = _applied(engine, records)
    slow = Slow([older])
    told = _asked(engine, store, slow, records[-1], follow=True)
    known = read(older)
    assert known is not None
    assert told["seq"] == known.order.seq
    assert slow.asked == 1 + len(LOOK_AGAIN_S)


def test_one_node_is_asked_once(engine: Engine) -> None:
    """There state and decision are one write: an event that was sent twice has no later decision to wait for."""
    now = time.time_ns() // 1_000_000
    store, [older] = _applied(engine, [_record(OFFSET, now)])
    slow = Slow([older])
    assert _asked(engine, store, slow, _record(OFFSET, now), follow=False)["seq"] == OFFSET * SEQ_STEP
    assert slow.asked == 1


def test_where_delivery_and_decision_fail_the_delivery_is_told_and_nothing_is_left_behind(engine: Engine) -> None:
    """asyncio reports an exception that nobody looked at, as if the edge had a defect."""
    reported: list[str] = []

    async def failing() -> None:
        await asyncio.sleep(0.01)  # the decision fails before: no decider is in use
        raise NotKept

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))
        unused: Any = None
        deciding = Deciding(unused, Pending(), unused, Presenter(engine.judge.policy), lambda: False)
        with pytest.raises(NotKept):
            await deciding.sent(SESSION, failing())
        await asyncio.sleep(0)

    asyncio.run(run())
    gc.collect()
    assert reported == []
