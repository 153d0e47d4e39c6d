"""What holds for every log: how it is cut into batches changes no decision, no summary and nothing that is stored."""

import json
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from decisions.engine import Engine
from decisions.intake import Plan, Records, decode, plan, plan_ticks
from decisions.policy import Policy
from decisions.shipped import load_bundle
from featurestore.columns.hashing import hash64
from featurestore.session.codec import unpack
from featurestore.session.stages import STAGES
from featurestore.store.keys import Namespace, Shard
from featurestore.store.memory import MemoryStore
from tests.examples import examples

T: Final = 1_700_000_000_000
ZERO: Final = Shard(0)
HOUR_MS: Final = 3_600_000

POLICY: Final = {
    "version": "cuts",
    "actions": {
        "back": {"label": "Welcome back"},
        "coupon": {"label": "10 %", "persuasive": True, "discount_percent": 10, "offer_minutes": 1},
        "gift": {"label": "A gift", "persuasive": True, "max_per_visitor": 2},
        "hurry": {"label": "Few left", "persuasive": True, "urgency": True, "cool_down_seconds": 60},
        "help": {"label": "Help", "max_per_session": 2, "cool_down_seconds": 30},
        "plain": {"label": "Bestsellers"},
    },
    "stages": {
        stage: {
            "threshold": 0.0,
            "rules": [
                {"show": "gift", "when": ["cart_items >= 1 and pages_viewed < 3"]},
                {"show": "hurry", "when": ["pages_viewed >= 2 and pages_viewed < 4"]},
                {"show": "coupon", "when": ["cart_items >= 1"]},
                {"show": "back", "when": ["earlier_segment in [buyers, glances]"]},
                {"show": "help", "when": ["bounce_rate >= 0.5"]},
                {"show": "plain"},
            ],
        }
        for stage in STAGES
    },
    "guardrails": {"persuasive_per_session": 4, "persuasive_per_visitor": 5, "urgency_min_confidence": 0.0},
    "experiments": {
        "who": {"unit": "visitor", "arms": {"a": {"share": 0.5}, "b": {"share": 0.5, "replace": {"gift": "plain"}}}},
    },
}
"""Asks for all that is remembered of a visit and of a visitor."""


class Told(NamedTuple):
    """What a log led to.

    Attributes:
        documents: session, number and text of decisions and summaries.
        states: what is kept of sessions, but for when they stand in the idle index: that is looked at lazily.
        visitors: their profiles.
        decisions: as front ends read them.
    """

    documents: list[tuple[str, int, str]]
    states: dict[str, tuple[bytes, bytes]]
    visitors: dict[str, bytes]
    decisions: dict[str, bytes]


def _engine(**parts: object) -> Engine:
    bundle = load_bundle(None)
    policy = Policy.from_text(json.dumps(POLICY | parts), outputs=bundle.names)
    return Engine.of(bundle, policy, Namespace("test", "cuts", "t"))


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The shipped bundle, and a policy that asks for everything."""
    return _engine()


class Shop:
    """A worker without clients."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = MemoryStore(engine.namespace)
        [lease] = self._store.acquire([ZERO], 0, 0)
        self._epoch, self._applied = lease.epoch, lease.applied
        self._documents: list[tuple[str, int, str]] = []

    def take(self, log: list[tuple[bytes, int]], first: int) -> None:
        """One batch, of which the first record has the offset ``first``."""
        values: list[bytes | None] = [value for value, _ in log]
        records = Records(0, values, list(range(first, first + len(log))), [t for _, t in log])
        self._run(plan(decode([records]), 1, lambda _: -1), first + len(log) - 1)

    def end(self, t: int) -> None:
        """Let time pass until nothing is due."""
        while (due := self._store.due([(ZERO, t)], 1_000)[0]).sessions or due.passed:
            self._run(plan_ticks([(ZERO, due, t)]), self._applied)

    def _run(self, batch: Plan, applied: int | None) -> None:
        if batch.empty:
            return
        result = self._engine.run(batch, self._engine.loader(self._store).load(batch), 0)
        for output in (output for part in result.outputs for output in part):
            for value in output.values:
                said = json.loads(value)
                self._documents.append((said["session_id"], said["seq"], json.dumps(said, sort_keys=True)))
        for write in result.writes:
            write.epoch, write.expected, write.applied = self._epoch, self._applied, applied
        assert all(answer.status == 1 for answer in self._store.write(result.writes, 1))
        self._applied = applied

    def told(self) -> Told:
        """All so far; documents by session, in their order."""
        store = self._store
        kept = store.shards[ZERO].states
        states, memories, _ = unpack(list(kept.values()), hash64(list(kept)))
        states["armed"] = 0
        read = {name: (s.tobytes(), m.tobytes()) for name, s, m in zip(kept, states, memories, strict=True)}
        return Told(sorted(self._documents), read, dict(store.visitors), dict(store.decisions))


class Move(NamedTuple):
    """An event: how long after the one before it, and what it says."""

    session: str
    after_ms: int
    kind: str
    visitor: str | None
    page: int
    late_ms: int
    more: dict[str, Any]


_MOVES: Final = st.lists(
    st.builds(
        Move,
        st.sampled_from("ab"),
        st.sampled_from([500, 4_000, 20_000, 70_000, 700_000, 1_800_000, 1_900_000, 30_000_000]),
        st.sampled_from(
            ["view_item", "view_item", "add_to_cart", "add_to_cart", "remove_from_cart", "purchase", "scroll"]
        ),
        st.sampled_from(["vera", "vera", "vera", "wim", None]),
        st.integers(0, 4),
        st.sampled_from([0] * 12 + [60_000, 2_000_000, 10_000_000]),
        st.sampled_from([{}] * 9 + [{"transaction_id": "T1"}, {"event_id": "e"}, {"consent": False}]),
    ),
    min_size=2,
    max_size=30,
)


def _log(moves: list[Move]) -> list[tuple[bytes, int]]:
    t = T
    log = []
    for move in moves:
        t += move.after_ms
        said = {"session_id": move.session, "type": move.kind, "ts": t - move.late_ms, "page": f"/{move.page}"}
        said |= {"price": 9.5, "sent_ts": t} | move.more
        if move.visitor is not None:
            said["visitor_id"] = move.visitor
        log.append((json.dumps(said).encode(), t))
    return log


def _told(engine: Engine, log: list[tuple[bytes, int]], cuts: list[int]) -> tuple[Told, Told]:
    """After the last event, and after all sessions are over."""
    shop = Shop(engine)
    for first, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        if first < end:
            shop.take(log[first:end], first)
    before = shop.told()
    shop.end(log[-1][1] + 48 * HOUR_MS)
    return before, shop.told()


@given(_MOVES, st.data())
@settings(max_examples=examples(60), deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_how_a_log_is_cut_into_batches_changes_nothing(engine: Engine, moves: list[Move], data: st.DataObject) -> None:
    """Sessions that end and go on under their id, visitors with several visits at once, limits for visitors."""
    log = _log(moves)
    one_by_one = _told(engine, log, list(range(1, len(log))))
    assert _told(engine, log, []) == one_by_one
    cuts = sorted(data.draw(st.sets(st.integers(1, len(log) - 1), max_size=4)))
    assert _told(engine, log, cuts) == one_by_one


@pytest.mark.parametrize("cuts", [[], [2], [1, 2, 3]], ids=str)
@pytest.mark.parametrize(
    ("visitors", "shown"),
    [
        (["vera"] * 4, ["gift", "gift", "plain", "plain"]),
        (["vera", "vera", "wim", "wim"], ["gift"] * 4),
        ([None, "vera", None, "vera"], ["gift", "gift", "gift", "gift"]),
    ],
    ids=["the same visitor", "another one", "known late"],
)
def test_what_was_shown_before_a_session_went_on_under_its_id_counts_for_its_visitor(
    visitors: list[str | None], shown: list[str], cuts: list[int]
) -> None:
    """A visitor may be shown one offer; the second visit of the id must know of the first one's, in its batch or not.

    A showing that began before the visitor was known goes on.
    """
    engine = _engine(guardrails={"persuasive_per_visitor": 1}, experiments={})
    gaps = (0, 5_000, 1_800_000, 5_000)
    log = _log([Move("a", *move, 0, 0, {}) for move in zip(gaps, ["add_to_cart"] * 4, visitors, strict=True)])
    _, told = _told(engine, log, cuts)
    documents = [json.loads(text) for *_, text in told.documents]
    events = [said for said in documents if "action" in said and said["seq"] % 256 == 0]
    assert [said["action"] for said in events] == shown


@pytest.mark.parametrize("cuts", [[], [1, 2, 3, 4]], ids=str)
@pytest.mark.issue(20, line=1, sibling=True)
def test_an_upload_of_the_past_counts_and_shows_nothing(engine: Engine, cuts: list[int]) -> None:
    """No decision is made for its events, so that none of them uses up what may be shown to the shopper who is there.

    The summary names what was shown: nothing to the uploaded visit, which ends with the first click of the next.
    """
    old = [Move("a", 500, "add_to_cart", "vera", i, 10_000_000, {}) for i in range(3)]
    now = [Move("a", 5_000, "view_item", "vera", i, 0, {}) for i in range(2)]
    _, told = _told(engine, _log([*old, *now]), cuts)
    documents = [json.loads(text) for *_, text in told.documents]
    uploaded, _ = (said for said in documents if "ended" in said)
    assert uploaded["actions"] == {}
    assert all(said["seq"] // 256 >= 3 for said in documents if "action" in said)
