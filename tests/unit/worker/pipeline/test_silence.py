"""Timers and the idle index: silence is decided once, at its deadline, whoever looks and whenever."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decisions import intake
from decisions.engine import Engine
from decisions.intake import Plan, Records
from featurestore.columns.hashing import hash64
from featurestore.contract.event import Event
from featurestore.session.codec import unpack
from featurestore.session.fold import deadlines
from featurestore.session.state import IS_BOT, LIVE, REMEMBER_MS, SILENT
from featurestore.store.expiry_buckets import EXPIRY_BUCKET_MS, expiry_bucket
from featurestore.store.keys import Shard
from featurestore.store.memory import MemoryStore
from tests.examples import examples
from tests.unit.featurestore.session.fold_cases import START_MS, Step, logs
from worker.checks.recompute import Expected, _apply, engine_for, let_time_pass

SHARD = Shard(0)
END_MS = START_MS + 2**36
SLOW = settings(max_examples=examples(15), suppress_health_check=[HealthCheck.too_slow])


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
        return len(set(due.sessions))

    def _write(self, plan: Plan, upto: int) -> None:
        lease = self.store.acquire([SHARD], 0, 0)[0]
        if not plan.empty:
            _apply(self.engine, self.found, plan, lease.epoch, lease.applied, upto)
        self.offset = upto
        self.check_index()

    def check_index(self) -> None:
        """Every stored session stands in the index once, at its deadline or before, and its state knows where.

        Nobody else is in the sorted set; the lists may name others, and the same ones elsewhere.
        """
        data = self.store.shards[SHARD]
        states = unpack(list(data.states.values()), hash64(list(data.states))).states
        due = deadlines(states, self.engine.judge.config).tolist()
        assert data.idle.keys() <= data.states.keys()
        for session, stands, at in zip(data.states, states["armed"].tolist(), due, strict=True):
            assert stands <= at
            if session in data.idle:
                assert data.idle[session] == stands
            else:
                assert session in data.ends[expiry_bucket(stands)]

    def left_behind(self, now_ms: int) -> list[str]:
        """Sessions whose deadline should have been acted on: a silence at once, an end when its bucket has passed."""
        blobs = self.store.shards[SHARD].states
        states = unpack(list(blobs.values()), hash64(list(blobs))).states
        quiet = (states["flags"] & LIVE == 0) | (states["flags"] & (SILENT | IS_BOT) != 0)
        due = deadlines(states, self.engine.judge.config)
        late = np.where(quiet, due // EXPIRY_BUCKET_MS < expiry_bucket(now_ms), due <= now_ms)
        return [session for session, left in zip(blobs, late.tolist(), strict=True) if left]

    def deadline(self) -> int:
        """Of the only session."""
        [(name, blob)] = self.store.shards[SHARD].states.items()
        return int(deadlines(unpack([blob], hash64([name])).states, self.engine.judge.config)[0])

    def entries(self, session: str) -> int:
        """How often the index names a session."""
        data = self.store.shards[SHARD]
        return (session in data.idle) + sum(part.count(session) for part in data.ends.values())


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
        assert not desk.left_behind(now)


def test_an_entry_moves_once_a_silence_not_once_a_click(engine: Engine) -> None:
    """A shopper who clicks on costs the index nothing; the entry that falls due too early is armed anew."""
    desk = Desk.empty(engine)
    positions = []
    for k in range(6):
        t = START_MS + 10_000 * k
        desk.apply([Step("a", t, Event(session_id="a", type="click", ts=t))])
        positions.append(desk.store.shards[SHARD].idle["a"])
    idle = engine.judge.config.idle_after_ms
    assert positions == [START_MS + idle] * 6
    before = len(desk.found.decisions)
    assert desk.time_passes(START_MS + idle) == 1
    assert len(desk.found.decisions) == before, "looked at, found busy"
    deadline = desk.deadline()
    assert desk.store.shards[SHARD].idle["a"] == deadline
    assert desk.time_passes(deadline - 1) == 0
    assert desk.time_passes(deadline) == 1
    spoken = list(desk.found.decisions.values())[before:]
    assert [(d["event_ts"], d["stage"]) for d in spoken] == [(deadline, "Drop-Off Risk")]
    assert deadline - START_MS - 50_000 == 5 * engine.judge.config.idle_mean_ms - 40_000


def click(t: int, n: int = 0) -> list[Step]:
    return [Step("a", t, Event(session_id="a", type="view_item", ts=t, page=f"/{n}"))]


def test_a_quiet_session_awaits_its_end_in_a_list(engine: Engine) -> None:
    """Its silence takes it out of the sorted set; the end comes with its bucket, once, and the list is gone."""
    desk = Desk.empty(engine)
    desk.apply(click(START_MS))
    data = desk.store.shards[SHARD]
    assert (list(data.idle), data.ends) == (["a"], {})
    assert desk.time_passes(desk.deadline()) == 1
    end = START_MS + engine.judge.config.session_gap_ms
    assert (data.idle, data.ends) == ({}, {expiry_bucket(end): ["a"]})
    last = (expiry_bucket(end) + 1) * EXPIRY_BUCKET_MS
    assert desk.time_passes(last - 1) == 0
    assert not desk.found.summaries
    assert desk.time_passes(last) == 1
    assert (data.states, data.idle, data.ends) == ({}, {}, {})
    assert [summary["ended"] for summary in desk.found.summaries.values()] == [START_MS]
    assert desk.time_passes(END_MS) == 0


def test_an_entry_that_was_left_behind_arms_nobody(engine: Engine) -> None:
    """A shopper wakes up twelve times: each entry of an end is used up by its bucket, and none makes another."""
    desk = Desk.empty(engine)
    data = desk.store.shards.setdefault(SHARD, desk.store._shard(SHARD))
    pause = 400_000  # longer than any silence takes to be noticed
    times = [START_MS + pause * n for n in range(12)]
    for n, t in enumerate(times):
        desk.time_passes(t - 1)
        assert "a" not in data.idle
        desk.apply(click(t, n))
        assert data.idle["a"] < t + pause, "armed for its silence, which comes before the end"
    desk.time_passes(times[-1] + pause)
    left = desk.entries("a")
    assert left <= 1 + engine.judge.config.session_gap_ms // pause + 1
    decisions = len(desk.found.decisions)
    for bucket in sorted(data.ends)[:-1]:
        assert desk.time_passes((bucket + 1) * EXPIRY_BUCKET_MS) == 1
        left -= 1
        assert desk.entries("a") == left
    assert len(desk.found.decisions) == decisions, "looked at, found as quiet as before"
    assert not desk.found.summaries
    desk.time_passes(END_MS)
    assert len(desk.found.summaries) == 1
    assert (data.states, data.idle, data.ends) == ({}, {}, {})


def test_an_entry_whose_session_is_gone_changes_nothing(engine: Engine) -> None:
    """Consent was withdrawn: the list still names the session when its bucket passes."""
    desk = Desk.empty(engine)
    desk.apply(click(START_MS))
    desk.time_passes(desk.deadline())
    desk.apply(
        [Step("a", START_MS + 200_000, Event(session_id="a", type="click", ts=START_MS + 200_000, consent=False))]
    )
    assert desk.store.shards[SHARD].states.keys() == {"a"}, "the withdrawal is remembered"
    before = len(desk.found.decisions), dict(desk.store.decisions)
    desk.time_passes(END_MS)
    assert (len(desk.found.decisions), desk.store.decisions) == before
    assert not desk.found.summaries
    desk.time_passes(START_MS + 200_000 + REMEMBER_MS + 2 * EXPIRY_BUCKET_MS)
    assert (desk.store.shards[SHARD].states, desk.entries("a")) == ({}, 0), "and forgotten after a day"
    assert (len(desk.found.decisions), desk.store.decisions) == before


def test_a_click_just_before_the_end_finds_the_entry_early(engine: Engine) -> None:
    """The bucket passes while the session talks again: it is armed for its silence then, and its end comes later."""
    desk = Desk.empty(engine)
    desk.apply(click(START_MS))
    desk.time_passes(desk.deadline())
    end = START_MS + engine.judge.config.session_gap_ms
    desk.apply(click(end - 1_000, 1))
    data = desk.store.shards[SHARD]
    assert not data.idle, "the entry of the end stands before the silence: it will do"
    last = (expiry_bucket(end) + 1) * EXPIRY_BUCKET_MS
    assert desk.time_passes(last) == 1
    assert (data.idle, data.ends) == ({"a": desk.deadline()}, {})
    assert last < desk.deadline()
    desk.time_passes(END_MS)
    assert len(desk.found.summaries) == 1


def test_a_bucket_without_sessions_is_passed_by_a_write_of_its_own(engine: Engine) -> None:
    """An erasure may have emptied its list."""
    desk = Desk.empty(engine)
    desk.store._shard(SHARD).ends[1] = []
    assert desk.time_passes(END_MS) == 0
    assert desk.store.shards[SHARD].ends == {}
