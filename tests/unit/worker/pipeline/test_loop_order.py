"""The nine steps are taken in the order in which the loop's docstring numbers them."""

import re
from typing import Any

import pytest

import worker.pipeline.loop
from tests.unit.worker.pipeline.loop_world import World
from worker.pipeline.loop import Loop

STEPS = ["poll", "decode", "load", "fold", "score", "decide", "write", "flush", "commit"]


class Told(list[Any]):
    """A list that tells when it is first read."""

    def __init__(self, values: list[Any], tell: list[str], what: str) -> None:
        super().__init__(values)
        self._tell, self._what = tell, what

    def __iter__(self) -> Any:
        self._tell.append(self._what)
        return super().__iter__()


class Decides:
    """A policy, frozen as it is, that tells when it decides."""

    def __init__(self, policy: Any, tell: list[str]) -> None:
        self._policy, self._tell = policy, tell

    def decide(self, *args: Any) -> Any:
        self._tell.append("decide")
        return self._policy.decide(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)


def spy(owner: Any, name: str, tell: list[str], what: str) -> None:
    """Tell when a method of this object is called."""
    whole = getattr(owner, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        tell.append(what)
        return whole(*args, **kwargs)

    setattr(owner, name, call)


def test_the_docstring_numbers_the_nine_steps() -> None:
    numbered = re.findall(r"^(\d)\. (\w+)", worker.pipeline.loop.__doc__ or "", re.MULTILINE)
    assert numbered == [(str(number), step) for number, step in enumerate(STEPS, 1)]


@pytest.fixture
def world() -> World:
    """A log of one batch, in which nothing fails, and a group that has committed where it begins."""
    world = World(3, events=8, trouble=0.0)
    world.committed = dict.fromkeys(world.log, 0)
    return world


def followed(world: World) -> tuple[Loop, list[str]]:
    """A worker whose steps are told."""
    told: list[str] = []
    loop = world.loop()
    source, outputs, engine, store = loop._consumer, loop._outputs, world.engine, world.store
    poll = source.poll

    def polled(most: int, wait_s: float) -> Any:
        found = poll(most, wait_s)
        if found.records:
            told.append("poll")
        records = [part._replace(values=Told(part.values, told, "decode")) for part in found.records]
        return found._replace(records=records)

    setattr(source, "poll", polled)  # noqa: B010 - a fake's
    spy(store, "begin_load", told, "load")
    spy(engine.judge, "judge", told, "fold")
    spy(engine.judge.scorer, "score", told, "score")
    engine.judge.policy = Decides(engine.judge.policy, told)  # type: ignore[assignment]
    write = store.begin_write

    def begin_write(writes: Any, ttl: int) -> Any:
        if any(one.sessions for one in writes):
            told.append("write")
        return write(writes, ttl)

    setattr(store, "begin_write", begin_write)  # noqa: B010 - a fake's
    spy(outputs, "send", told, "flush")
    spy(source, "will_commit", told, "commit")
    return loop, told


def test_a_batch_takes_the_nine_steps_in_their_order(world: World) -> None:
    loop, told = followed(world)
    for _ in range(60):
        loop.step()
    first = list(dict.fromkeys(told))
    assert first == STEPS


def test_nothing_is_committed_before_it_is_written_and_produced(world: World) -> None:
    """Also not while Kafka acknowledges nothing: the offset of the batch waits."""
    loop, told = followed(world)
    outputs: Any = loop._outputs
    outputs.acknowledged = lambda: outputs._acknowledged
    settled, outputs.settled = outputs.settled, lambda wait_s: False
    for _ in range(20):
        loop.step()
    assert "flush" in told
    assert "commit" not in told
    outputs.settled = settled
    del outputs.acknowledged
    for _ in range(60):
        loop.step()
    assert told[-1] == "commit"


def test_what_is_due_is_not_asked_for_while_it_is_in_hand() -> None:
    """It would be answered again: first the write that deletes what was read."""
    world = World(5, trouble=0.0, events=2_000, late=True)
    world.late = False  # by the time of the records, of which all have long happened: deadlines pass batch by batch
    loop = world.loop()
    begin_due = world.store.begin_due
    fell, in_flight = 0, 0

    def asked(queries: Any, limit: int) -> Any:
        nonlocal fell, in_flight
        in_flight += loop._in_flight.timers
        answer = begin_due(queries, limit)
        fell += any(answer())
        return answer

    setattr(world.store, "begin_due", asked)  # noqa: B010 - a fake's
    loop._drain = loop._settle  # type: ignore[method-assign]  # as under load: one batch is always in flight
    for _ in range(200):
        loop._next_timer = 0.0
        loop.step()
    assert fell > 10
    assert not in_flight
