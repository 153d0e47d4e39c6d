"""The document that is made without writing is the one that the worker writes."""

import json

import pytest

from decisions.engine import Engine
from decisions.intake import Records, decode, plan
from featurestore.store.memory import MemoryStore
from worker.checks.recompute import engine_for

T = 1_700_000_000_000


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The shipped bundle and policy."""
    return engine_for(None, None, "topic")


def test_the_newest_document_is_the_one_that_is_stored(engine: Engine) -> None:
    """Of each session of a batch; one that withdrew its consent has none. Judging changes no store."""
    events = [("b", "view_item"), ("a", "add_to_cart"), ("b", "add_to_cart"), ("c", "click"), ("a", "add_to_cart")]
    values: list[bytes | None] = [
        json.dumps({"session_id": s, "type": kind, "ts": T + 5_000 * i, "page": f"/{i}", "quantity": 2}).encode()
        for i, (s, kind) in enumerate(events)
    ]
    values.append(b'{"session_id":"c","type":"click","ts":%d,"consent":false}' % (T + 60_000))
    batch = plan(decode([Records(0, values, list(range(len(values))), [-1] * len(values))]), 1, lambda _: -1)
    store = MemoryStore(engine.namespace)
    judgement = engine.judge.judge(*engine.loader(store).load(batch), batch.events, T)
    newest = dict(zip(batch.sessions, engine.writer.newest(batch, judgement), strict=True))
    [write] = engine.run(batch, engine.loader(store).load(batch), T).writes
    assert newest == {**dict(zip(write.decided, write.decisions, strict=True)), "c": None}
    assert not store.decisions


def test_a_judgement_depends_on_nothing_but_its_arguments(engine: Engine) -> None:
    """The time that documents give changes no decision."""
    values: list[bytes | None] = [
        b'{"session_id":"s%d","type":"add_to_cart","ts":%d,"page":"/%d"}' % (i % 3, T + 700 * i, i) for i in range(40)
    ]
    batch = plan(decode([Records(0, values, list(range(40)), [-1] * 40)]), 1, lambda _: -1)
    loader = engine.loader(MemoryStore(engine.namespace))
    one, other = (engine.judge.judge(*loader.load(batch), batch.events, at) for at in (0, T))
    assert one.decisions.tobytes() == other.decisions.tobytes()
    assert one.states.tobytes() == other.states.tobytes()
    assert one.memories.tobytes() == other.memories.tobytes()
