"""Timers and the idle index: silence is decided once, at its deadline, whoever looks and whenever."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.codec import unpack
from featurestore.events import Event
from featurestore.keys import Shard
from featurestore.memory import MemoryStore
from featurestore.session import deadlines
from tests.unit.fold_cases import START_MS, Step, logs
from worker import intake
from worker.batch import Engine
from worker.intake import Plan, Records
from worker.verify import Expected, _apply, engine_for, let_time_pass

SHARD = Shard(0)
END_MS = START_MS + 2**36
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def engine() -> Engine:
    return engine_for(None, None, "topic")


@dataclass
class Desk:
    """A worker without clients: applies batches, takes due timers, and checks the index after each."""

    engine: Engine
    found: Expected
    offset: int = -1

    @classmethod
    def empty(cls, engine: Engine) -> "Desk":
        return cls(engine, Expected(MemoryStore(engine.namespace)))

    @property
    def store(self) -> MemoryStore:
        return self.found.store

    def apply(self, steps: list[Step]) -> None:
        values: list[bytes | None] = [msgspec.json.encode(step.event) for step in steps]
        offsets = list(range(self.offset + 1, self.offset + 1 + len(steps)))
        decoded = intake.decode([Records(0, values, offsets, [step.t for step in steps])])
        self._write(intake.plan(decoded, 1, lambda _: -1), offsets[-1])

    def time_passes(self, now_ms: int) -> int:
        """Take what is due, as the loop does; how many sessions were looked at."""
        due = self.store.due([(SHARD, now_ms)], 1_000)[0]
        if due:
            self._write(intake.plan_ticks([(SHARD, due, now_ms)]), self.offset)
        return len(due)

    def _write(self, plan: Plan, upto: int) -> None:
        lease = self.store.acquire([SHARD], 0, 0)[0]
        if plan.sessions:
            _apply(self.engine, self.found, plan, lease.epoch, lease.applied, upto)
        self.offset = upto
        self.check_index()

    def check_index(self) -> None:
        """Every stored session stands in the index, at its deadline or before; nothing else does."""
        data = self.store.shards[SHARD]
        assert data.idle.keys() == data.states.keys()
        for session, at in self.deadlines():
            assert data.idle[session] <= at

    def deadlines(self) -> Iterator[tuple[str, int]]:
        blobs = self.store.shards[SHARD].states
        states, _ = unpack(list(blobs.values()))
        yield from zip(blobs, deadlines(states, self.engine.config).tolist(), strict=True)


def batches(log: list[Step], data: st.DataObject) -> Iterator[list[Step]]:
    at = 0
    while at < len(log):
        size = data.draw(st.integers(1, 6))
        yield log[at : at + size]
        at += size


def events(log: list[Step]) -> list[Step]:
    return [step for step in log if step.event is not None]


@SLOW
@given(logs(ordered=True), st.data())
def test_timers_at_any_moment_change_no_decision(engine: Engine, log: list[Step], data: st.DataObject) -> None:
    """Nor how the log is cut: the documents of the decisions and the sessions topic are those of no timer at all."""
    steps = events(log)
    plain, timed = Desk.empty(engine), Desk.empty(engine)
    if steps:
        plain.apply(steps)
    for part in batches(steps, data):
        # Timers never run ahead of the events: up to the first one of the batch that is about to come.
        timed.time_passes(data.draw(st.integers(START_MS, part[0].t)))
        timed.time_passes(part[0].t - 1)
        timed.apply(part)
    for desk in (plain, timed):
        let_time_pass(engine, desk.found, SHARD, END_MS)
    assert timed.found.decisions == plain.found.decisions
    assert timed.found.summaries == plain.found.summaries


@SLOW
@given(logs(), st.data())
def test_no_deadline_passes_unseen(engine: Engine, log: list[Step], data: st.DataObject) -> None:
    """Late events or not: once due timers are taken no session is left with a deadline behind it, and looks end."""
    desk = Desk.empty(engine)
    now = START_MS
    for part in batches(events(log), data):
        desk.apply(part)
        now = max(now, data.draw(st.integers(0, 3_000_000)) + part[-1].t)
        looks = 0
        while desk.time_passes(now):
            looks += 1
            assert looks <= 3, "an early entry, the silence, the end"
        assert all(at > now for _, at in desk.deadlines())


def test_an_entry_moves_once_a_silence_not_once_a_click(engine: Engine) -> None:
    """A shopper who clicks on costs the index nothing; the entry that falls due too early is armed anew."""
    desk = Desk.empty(engine)
    positions = []
    for k in range(6):
        t = START_MS + 10_000 * k
        desk.apply([Step("a", t, Event(session_id="a", type="click", ts=t))])
        positions.append(desk.store.shards[SHARD].idle["a"])
    idle = engine.config.idle_after_ms
    assert positions == [START_MS + idle] * 6
    before = len(desk.found.decisions)
    assert desk.time_passes(START_MS + idle) == 1
    assert len(desk.found.decisions) == before, "looked at, found busy"
    (deadline,) = (at for _, at in desk.deadlines())
    assert desk.store.shards[SHARD].idle["a"] == deadline
    assert desk.time_passes(deadline - 1) == 0
    assert desk.time_passes(deadline) == 1
    spoken = list(desk.found.decisions.values())[before:]
    assert [(d["event_ts"], d["stage"]) for d in spoken] == [(deadline, "Drop-Off Risk")]
    assert deadline - START_MS - 50_000 == 5 * engine.config.idle_mean_ms - 40_000
