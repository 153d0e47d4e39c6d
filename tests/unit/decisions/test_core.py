"""The pure core: records in, writes out, the same however the log is cut."""

import json
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from decisions.document import Decision, decode_decision
from decisions.engine import Engine
from decisions.intake import Plan, Records, decode, plan, plan_ticks
from decisions.summaries import Summary
from featurestore.columns.hashing import hash64
from featurestore.session.codec import unpack
from featurestore.session.state import LIVE
from featurestore.store.keys import Shard, decision_key
from featurestore.store.memory import MemoryStore
from featurestore.store.streams import DECISIONS
from tests.examples import examples
from worker.checks.recompute import engine_for

T = 1_700_000_000_000
GOOD = b'{"session_id":"a","type":"click","ts":1}'
ZERO = Shard(0)


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The shipped bundle and policy."""
    return engine_for(None, None, "topic")


def _value(session: str, t: int, **fields: object) -> bytes:
    return json.dumps({"session_id": session, "type": "view_item", "ts": t, **fields}).encode()


def _records(values: Sequence[bytes | None], first: int = 0, partition: int = 0) -> Records:
    return Records(partition, list(values), [*range(first, first + len(values))], [-1] * len(values))


class Run:
    """The core over a store in memory, as the loop calls it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = MemoryStore(engine.namespace)
        self.epoch = self.store.acquire([ZERO], 0, 0)[0].epoch
        self.applied: int | None = None
        self.decisions: list[Decision] = []
        self.summaries: list[Summary] = []

    def batch(self, values: Sequence[bytes | None], first: int) -> None:
        self._apply(plan(decode([_records(values, first)]), 1, lambda _: -1), first + len(values) - 1)

    def pass_time(self, t: int) -> None:
        while due := self.store.due([(ZERO, t)], 10_000)[0]:
            self._apply(plan_ticks([(ZERO, due, t)]), self.applied)

    def _apply(self, batch: Plan, applied: int | None) -> None:
        if batch.empty:
            return
        result = self.engine.run(batch, self.engine.loader(self.store).load(batch), 0)
        for outputs in result.outputs:
            for stream, _, documents, _ in outputs:
                if stream == DECISIONS:
                    self.decisions += map(decode_decision, documents)
                else:
                    self.summaries += [msgspec.json.decode(document, type=Summary) for document in documents]
        for write in result.writes:
            write.epoch, write.expected, write.applied = self.epoch, self.applied, applied
        assert all(answer.status == 1 for answer in self.store.write(result.writes, 1))
        self.applied = applied


def _live(states: Mapping[str, bytes]) -> list[str]:
    """The sessions that live; of others a withdrawal of consent or a purchase is remembered."""
    flags = unpack(list(states.values()), hash64(list(states))).states["flags"]
    return [session for session, bits in zip(states, flags.tolist(), strict=True) if bits & LIVE]


_steps = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([500, 4_000, 20_000, 90_000, 700_000, 1_900_000]),
        st.sampled_from(["view_item", "add_to_cart", "purchase", "scroll", "search"]),
        st.sampled_from([None, 0, 1, 2, 3, 4, 5]),
        st.sampled_from([None] * 15 + [False]),
    ),
    min_size=1,
    max_size=40,
)


def _log(steps: list[tuple[str, int, str, int | None, bool | None]]) -> list[bytes | None]:
    t = T
    values: list[bytes | None] = []
    for session, gap, kind, page, consent in steps:
        t += gap
        fields = {"type": kind, "page": page and f"/p{page}", "consent": consent, "visitor_id": f"v{session}"}
        values.append(_value(session, t, **fields))
    return values


@given(_steps, st.data())
@settings(max_examples=examples(15), phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_decisions_and_states_do_not_depend_on_the_batches(
    engine: Engine, steps: list[tuple[str, int, str, int | None, bool | None]], data: st.DataObject
) -> None:
    """Policy memory, visitors' profiles, summaries and deadlines included."""
    log = _log(steps)
    whole, cut = Run(engine), Run(engine)
    whole.batch(log, 0)
    at = 0
    while at < len(log):
        n = data.draw(st.integers(1, len(log) - at))
        cut.batch(log[at : at + n], at)
        at += n
    for run in (whole, cut):
        run.pass_time(T + 10**9)

    def by_session(run: Run) -> list[Decision]:
        return sorted(run.decisions, key=lambda d: (d.session_id, d.seq))

    assert by_session(whole) == by_session(cut)
    assert sorted(whole.summaries, key=lambda s: (s.session_id, s.seq)) == sorted(
        cut.summaries, key=lambda s: (s.session_id, s.seq)
    )
    assert len({(d.session_id, d.seq) for d in cut.decisions}) == len(cut.decisions)
    assert whole.store.visitors == cut.store.visitors
    assert not whole.store.shards[ZERO].states
    assert not cut.store.shards[ZERO].idle
    assert not cut.store.shards[ZERO].ends


@example(steps=[*(("c", gap, "scroll", 1, None) for gap in (500, 4_000, 700_000)), ("c", 500, "scroll", 1, False)])
@given(_steps)
@settings(max_examples=examples(15), phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_every_live_session_has_a_deadline_and_its_latest_decision(
    engine: Engine, steps: list[tuple[str, int, str, int | None, bool | None]]
) -> None:
    """An end's entry outlives a session that withdraws its consent, until its bucket has passed (decision 0019)."""
    run = Run(engine)
    log = _log(steps)
    for at in range(0, len(log), 3):
        run.batch(log[at : at + 3], at)
        shard = run.store.shards[ZERO]
        ends = {session for part in shard.ends.values() for session in part}
        assert shard.idle.keys() <= shard.states.keys() <= shard.idle.keys() | ends
        for session in _live(shard.states):
            stored = decode_decision(run.store.decisions[decision_key(session)], session)
            assert stored == [d for d in run.decisions if d.session_id == session][-1]
        assert run.store.decisions.keys() == {decision_key(session) for session in _live(shard.states)}


@pytest.mark.contract("A tombstone (no value)")
def test_bad_records_are_set_aside_with_their_place_and_the_rest_is_read() -> None:
    escaped = b'{"session_id":"\\u00e9","type":"click","ts":3}'
    some = [GOOD, b"{", None, b'{"session_id":"b","type":"click","ts":2}', b"[]", escaped]
    decoded = decode([_records([None, b"x"], 5, 3), _records(some, 10, 4), _records([GOOD], 7, 9)])
    assert decoded.parts == [(3, 0, 0), (4, 0, 3), (9, 3, 4)]
    assert list(decoded.sessions) == ["a", "b", "\u00e9", "a"]
    assert decoded.hashes.tolist() == hash64(["a", "b", "\u00e9", "a"]).tolist()
    assert decoded.rows["offset"].tolist() == [10, 13, 15, 7]
    assert decoded.rows["t"].tolist() == [1, 2, 3, 1]
    bad = {number: [(i, error.reason) for i, error in found] for number, found in decoded.bad.items()}
    assert bad == {3: [(1, "not_json")], 4: [(1, "not_json"), (4, "schema")]}


def test_a_batch_of_tombstones_and_bad_records_alone_still_moves_on() -> None:
    decoded = decode([_records([None, b"x"], 5)])
    assert decoded.rows.size == 0
    assert not plan(decoded, 1, lambda _: -1).sessions


def test_what_is_applied_already_is_left_out() -> None:
    made = plan(decode([_records([GOOD] * 4, 10)]), 1, lambda _: 11)
    assert made.events["offset"].tolist() == [12, 13]


def test_a_shards_indices_are_contiguous_also_with_buckets_and_partitions() -> None:
    names = [f"s{i}" for i in range(40)]
    parts = [
        _records([_value(name, T) for name in names], 0, 0),
        _records([_value(name + "x", T) for name in names], 7, 1),
    ]
    made = plan(decode(parts), 4, lambda _: -1)
    assert sorted(made.sessions) == sorted([*names, *(name + "x" for name in names)])
    assert made.hashes.tolist() == hash64(made.sessions).tolist()
    ends = [0]
    for shard, first, end in made.spans:
        assert first == ends[-1] < end
        ends.append(end)
        for index in range(first, end):
            assert int(made.hashes[index]) % 4 == shard.bucket
            assert made.sessions[index].endswith("x") == (shard.partition == 1)
    assert ends[-1] == len(made.sessions)
    for row in made.events:
        own = names if row["session_index"] < made.spans[[s.partition for s, _, _ in made.spans].index(1)][1] else None
        position = int(row["offset"]) - (0 if own else 7)
        assert made.sessions[row["session_index"]] == names[position] + ("" if own else "x")


def test_the_shipped_engine_turns_a_shopper_into_a_buyer_and_then_a_risk(engine: Engine) -> None:
    """And says why, in words, when the stage changes."""
    run = Run(engine)
    log = [_value("a", T + 9_000 * i, page=f"/p{i}") for i in range(3)]
    log += [_value("a", T + 30_000 + 5_000 * i, type="add_to_cart", quantity=2) for i in range(2)]
    run.batch(log, 0)
    assert run.decisions[0].stage == "Explorer"
    assert run.decisions[-1].stage == "Intent Buyer"
    assert any("added to the cart" in reason for d in run.decisions for reason in d.reasons)
    run.pass_time(T + 600_000)
    assert run.decisions[-1].stage == "Drop-Off Risk"
    assert run.decisions[-1].seq % 256 == 1
    run.pass_time(T + 10_000_000)
    [summary] = run.summaries
    assert (summary.outcome, summary.final_stage, summary.events) == ("abandoned_cart", "Drop-Off Risk", 5)
    assert run.store.decisions == {}


def test_a_bot_is_counted_and_not_decided_on(engine: Engine) -> None:
    run = Run(engine)
    run.batch([_value("a", T + 1_000 * i) for i in range(260)], 0)
    assert len(run.decisions) == 250
    run.pass_time(T + 10**8)
    [summary] = run.summaries
    assert summary.bot
    assert summary.features["num_clicks"] == 260


def test_a_decision_is_scored_as_the_bundle_scores_its_features(engine: Engine) -> None:
    run = Run(engine)
    run.batch([_value("a", T), _value("a", T + 4_000, page="/x")], 0)
    X = np.array([[4.0, 2, 1, 0, 4.0, np.nan, 0.5, 0.0, 4.0]])
    np.testing.assert_allclose(run.decisions[-1].probabilities, engine.judge.scorer.score(X)[0], atol=0.0006)
