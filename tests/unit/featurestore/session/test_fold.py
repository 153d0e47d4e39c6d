"""The compiled fold against the plain one, and the laws that make timers and batches invisible."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from featurestore.columns.hashing import hash_text
from featurestore.contract.codes import currency_name
from featurestore.contract.event import EVENT_TYPES, Event
from featurestore.session.features import FEATURES
from featurestore.session.fold import FoldConfig, deadlines, observe
from featurestore.session.observation import BOT, CLEAR, END, EVENT_ROW, SILENCE
from featurestore.session.state import LIVE
from tests.examples import examples
from tests.unit.featurestore.session.fold_cases import SESSIONS, START_MS, Folded, Step, by_oracle, crooked_logs, logs
from tests.unit.featurestore.session.fold_oracle import Oracle, Row, Visit, features

CONFIG = FoldConfig()
QUICK = settings(max_examples=examples(20), deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
"""Shrinking a log takes minutes; the first failing one says enough."""
SMALL = FoldConfig(idle_after_ms=30_000, idle_mean_ms=35_000, session_gap_ms=700_000, gap_cap_ms=600_000, bot_clicks=6)


def _same(got: list[tuple[str, Row]], wanted: list[tuple[str, Row]]) -> None:
    assert [(s, r.kind, r.t, r.seq, r.late) for s, r in got] == [(s, r.kind, r.t, r.seq, r.late) for s, r in wanted]
    for (_, a), (_, b) in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a.features, b.features, rtol=1e-12, equal_nan=True)


def _same_state(state: np.void, visit: Visit) -> None:
    assert state["num_clicks"] == visit.clicks
    assert state["pages"] == len(visit.pages)
    assert state["cart_items"] == visit.cart_items
    assert state["cart_value"] == visit.cart_value
    assert state["purchases"] == visit.purchases
    assert state["purchase_value"] == visit.purchase_value
    assert state["refund_value"] == visit.refund_value
    assert currency_name(state["currency"]) == (visit.currency or "")
    assert (state["t_min"], state["t_max"], state["arrival"]) == (visit.oldest, visit.newest, visit.arrival)
    assert (state["skew"], state["other_skew"]) == (visit.skew, visit.other_skew)
    assert state["price_n"] == len(visit.prices)
    assert state["price_sum"] == sum(visit.prices)
    assert (state["price_min"], state["price_max"]) == (min(visit.prices, default=0), max(visit.prices, default=0))
    assert {EVENT_TYPES[i]: n for i, n in enumerate(state["counts"].tolist()) if n} == visit.counts
    at = int(state["recent_at"])
    ring = [*range(at, 16), *range(at)]
    recent = [(EVENT_TYPES[state["recent"][i] - 1], int(state["dwell"][i])) for i in ring if state["recent"][i]]
    assert recent == list(visit.recent)
    assert state["checkout"] == visit.checkout
    assert state["scroll"] == visit.scroll
    assert state["late"] == visit.late
    assert state["category"] == (hash_text(visit.category) & 0xFFFF_FFFF if visit.category else 0)
    assert state["visitor_sessions"] == visit.visitor_sessions
    assert state["offset"] == visit.offset


@given(crooked_logs() | logs(with_ticks=True), st.sampled_from([CONFIG, SMALL]))
@settings(QUICK, max_examples=examples(40))
def test_the_fold_agrees_with_the_plain_one(log: list[Step], config: FoldConfig) -> None:
    """Rows, features, states, finished sessions and duplicates, on any log, late events and ticks included."""
    folded = Folded(config).run(log)
    oracle, rows = by_oracle(log, config)
    _same(folded.rows, rows)
    assert (folded.duplicates, folded.withdrawn) == (oracle.duplicates, oracle.withdrawn)
    assert folded.foreign_money == oracle.foreign_money
    due = deadlines(folded.states, config)
    for slot, session in enumerate(SESSIONS):
        visit = oracle.visits.get(session)
        assert bool(folded.states[slot]["flags"] & LIVE) == (visit is not None)
        assert due[slot] == oracle.deadline(session)
        if visit is not None:
            _same_state(folded.states[slot], visit)
            np.testing.assert_allclose(observe(folded.states[[slot]])[0], features(visit, None), rtol=1e-12)
    for (session, state), (wanted_session, visit) in zip(folded.ended, oracle.ended, strict=True):
        assert session == wanted_session
        _same_state(state, visit)


@given(crooked_logs(), st.data())
@QUICK
def test_a_log_gives_the_same_rows_however_it_is_cut_into_batches(log: list[Step], data: st.DataObject) -> None:
    """The worker's batch size, restarts and rebalances change nothing."""
    whole = Folded(SMALL).run(log)
    cut = Folded(SMALL)
    at = 0
    while at < len(log):
        n = data.draw(st.integers(1, len(log) - at))
        cut.run(log[at : at + n], at)
        at += n
    assert [(s, repr(r)) for s, r in cut.rows] == [(s, repr(r)) for s, r in whole.rows]
    assert cut.states.tobytes() == whole.states.tobytes()
    assert cut.profiles.tobytes() == whole.profiles.tobytes()


@given(logs(ordered=True) | crooked_logs(ordered=True), st.data())
@QUICK
def test_silence_speaks_the_same_whether_a_timer_or_the_next_event_lets_it(
    log: list[Step], data: st.DataObject
) -> None:
    """A log in order of time has one sequence of observations a session, whoever brings them about and how late."""
    end = max(step.t for step in log) + 5 * SMALL.session_gap_ms
    closing = [Step(session, end, None) for session in SESSIONS]
    plain = Folded(SMALL).run([*log, *closing])
    ticked: list[tuple[Step, int]] = []
    for offset, step in enumerate(log):
        ticked.append((step, offset))
        after = log[offset + 1].t if offset + 1 < len(log) else end
        times = sorted(data.draw(st.lists(st.integers(step.t, after), max_size=2)))
        ticked += [(Step(data.draw(st.sampled_from(SESSIONS)), t, None), 0) for t in times]
    timed = Folded(SMALL)
    for step, offset in ticked:
        timed.run([step], offset)
    timed.run(closing)
    for session in SESSIONS:
        assert [repr(r) for s, r in timed.rows if s == session] == [repr(r) for s, r in plain.rows if s == session]


@given(logs(with_ticks=True))
@QUICK
def test_the_deadline_is_when_the_next_tick_brings_a_row(log: list[Step]) -> None:
    """A timer at the deadline always finds something to do, one a millisecond before never does."""
    folded = Folded(SMALL).run(log)
    due = deadlines(folded.states, SMALL).tolist()
    for session, at in zip(SESSIONS, due, strict=True):
        if at:
            before = len(folded.rows)
            folded.run([Step(session, at - 1, None)])
            assert len(folded.rows) == before
            remembered = folded.states.tobytes()
            folded.run([Step(session, at, None)])
            assert len(folded.rows) > before or folded.states.tobytes() != remembered


def _click(session: str, t: int, kind: str = "click", **fields: object) -> Step:
    return Step(session, t, Event(session_id=session, type=kind, ts=t, **fields))  # type: ignore[arg-type] # a test's shorthand


def test_the_features_of_a_session_worked_out_by_hand() -> None:
    log = [
        _click("a", START_MS, "session_start"),
        _click("a", START_MS + 1_000, "page_view", page="/"),
        _click("a", START_MS + 3_000, "view_item", page="/shoes"),
        _click("a", START_MS + 9_000, "add_to_cart", page="/shoes", quantity=3),
        _click("a", START_MS + 10_000, "scroll", page="/cart"),
    ]
    row = Folded(CONFIG).run(log).rows[-1][1]
    assert dict(zip(FEATURES, row.features, strict=True)) == pytest.approx(
        {
            "session_duration": 10.0,
            "num_clicks": 3.0,
            "pages_viewed": 3.0,
            "cart_additions": 3.0,
            "time_between_clicks": 4.0,
            "bounce_rate": math.nan,
            "engagement_score": 0.3,
            "cart_ratio": 1.0,
            "idle_time": 4.0,
        },
        nan_ok=True,
    )


@pytest.mark.contract("Exactly 30 minutes without a record")
def test_a_gap_of_thirty_minutes_ends_a_session_and_the_next_event_starts_another() -> None:
    step = CONFIG.session_gap_ms
    rows = (
        Folded(CONFIG)
        .run([_click("a", START_MS), _click("a", START_MS + step - 1), _click("a", START_MS + 2 * step - 1)])
        .rows
    )
    assert [r.kind for _, r in rows] == [EVENT_ROW, SILENCE, EVENT_ROW, SILENCE, END, EVENT_ROW]
    assert rows[-1][1].features[1] == 1


def test_a_single_gap_counts_at_most_ten_minutes() -> None:
    rows = Folded(CONFIG).run([_click("a", START_MS), _click("a", START_MS + 1_500_000)]).rows
    assert rows[-1][1].features[4] == 600.0


@pytest.mark.contract("More than 250 interactions")
def test_a_session_of_more_than_250_interactions_is_a_bot_and_counted_on() -> None:
    folded = Folded(CONFIG).run([_click("a", START_MS + 1_000 * i) for i in range(252)])
    assert [r.kind for _, r in folded.rows] == [EVENT_ROW] * 250 + [BOT] * 2
    assert folded.states[0]["num_clicks"] == 252


def test_a_bot_of_a_hundred_thousand_clicks_overflows_nothing() -> None:
    """Counters stop at their largest value and the ring of gaps goes on turning."""
    folded = Folded(CONFIG)
    step = Step("a", START_MS, Event(session_id="a", type="click", ts=START_MS))
    folded.run([step])
    state = folded.states
    state["num_clicks"] = state["gap_n"] = 65_520
    log = [_click("a", START_MS + 1_000 * (i + 1) + i * i) for i in range(40)]
    folded.run(log)
    gaps = np.diff([START_MS, *(s.t for s in log)])[-5:]
    assert folded.states[0]["num_clicks"] == 65_535
    assert folded.rows[-1][1].features[8] == pytest.approx(gaps.mean() / 1000)


def test_the_sixty_fifth_page_is_not_counted() -> None:
    folded = Folded(CONFIG).run([_click("a", START_MS + i, page=f"/{i}") for i in range(70)])
    assert folded.rows[-1][1].features[2] == 64


def test_an_event_id_is_remembered_for_sixty_four_events() -> None:
    log = [_click("a", START_MS + i, event_id=f"e{i}") for i in range(65)]
    folded = Folded(CONFIG).run(
        [*log, _click("a", START_MS + 70, event_id="e1"), _click("a", START_MS + 71, event_id="e0")]
    )
    assert folded.duplicates == 1
    assert folded.states[0]["num_clicks"] == 66


def test_consent_withdrawn_leaves_nothing_of_the_session() -> None:
    folded = Folded(CONFIG).run(
        [_click("a", START_MS, page="/p", visitor_id="v"), _click("a", START_MS + 5, consent=False)]
    )
    assert [r.kind for _, r in folded.rows] == [EVENT_ROW, CLEAR]
    state = folded.states[0]
    assert (state["flags"], state["pages"], state["visitor"], state["withdrawn"]) == (0, 0, 0, START_MS + 5)


@pytest.mark.contract("When the bounce rate is read")
def test_a_visitors_bounces_are_known_to_the_next_session_alone() -> None:
    hour = 3_600_000
    visit = {"visitor_id": "v", "page": "/p"}
    folded = Folded(CONFIG).run(
        [
            _click("a", START_MS, **visit),
            _click("a", START_MS + hour, **visit),
            _click("a", START_MS + hour + 1, page="/q"),
        ]
    )
    assert math.isnan(folded.rows[0][1].features[5])
    assert folded.rows[-1][1].features[5] == 1.0
    folded.run([_click("a", START_MS + 3 * hour, **visit)])
    assert folded.rows[-1][1].features[5] == 0.5


@pytest.mark.parametrize(
    ("events", "rate"),
    [
        ([{"page": "/p"}], 1.0),
        ([{"page": "/p"}, {"kind": "scroll", "page": "/p"}], 1.0),
        ([{"page": "/p"}, {"page": "/p"}], 0.0),
        ([{"page": "/p"}, {"page": "/q"}], 0.0),
        ([{"page": "/p", "kind": "purchase", "value": 5.0}], 0.0),
        ([{}], 0.0),
    ],
    ids=["one page", "and scrolled", "acted again", "two pages", "bought", "no page is known"],
)
def test_a_bounce_is_one_page_with_one_interaction_and_no_purchase(events: list[dict[str, Any]], rate: float) -> None:
    log = [_click("a", START_MS + i, visitor_id="v", **event) for i, event in enumerate(events)]
    folded = Folded(CONFIG).run([*log, _click("a", START_MS + 3_600_000, visitor_id="v")])
    assert folded.rows[-1][1].features[5] == rate


def test_the_compiled_fold_is_what_runs() -> None:
    """No silent fall-back to the interpreter."""
    from featurestore.session import fold as fold_module

    Folded(CONFIG).run([_click("a", START_MS)])
    assert fold_module._fold.signatures  # type: ignore[attr-defined] # numba's dispatcher


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"idle_after_ms": 0}, "idle_after_ms"),
        ({"idle_mean_ms": 200_000}, "a fifth"),
        ({"session_gap_ms": 600_000}, "session_gap_ms"),
    ],
)
def test_constants_that_would_silence_the_timers_are_refused(wrong: dict[str, int], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        FoldConfig(**wrong)


def test_the_oracle_is_not_the_fold() -> None:
    """It shares the contract's names with the fold, and no code."""
    assert Oracle.apply.__module__ == "tests.unit.featurestore.session.fold_oracle"
