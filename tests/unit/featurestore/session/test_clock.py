"""What wrong clocks, late uploads and absurd record times do to a session: nothing that is shown."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.contract.event import Event
from featurestore.session.features import FEATURES
from featurestore.session.fold import FoldConfig, deadlines
from featurestore.session.observation import END, EVENT_ROW, SILENCE, UPLOAD
from featurestore.session.state import LIVE
from tests.examples import examples
from tests.unit.featurestore.session.fold_cases import START_MS, Folded, Step, crooked_logs

CONFIG = FoldConfig()
MINUTE, HOUR = 60_000, 3_600_000


def _step(happened: int, *, wrong: int = 0, arrives: int | None = None, sent: int | None = None, **fields: Any) -> Step:
    """An event that happened ``happened`` ms after the start, by a clock that is ``wrong`` ms slow."""
    told: dict[str, Any] = {"session_id": "a", "type": "click", "ts": START_MS + happened - wrong, **fields}
    if sent is not None:
        told["sent_ts"] = START_MS + sent - wrong
    arrival = happened if arrives is None else arrives
    return Step("a", START_MS + arrival, Event(**told))


def _run(*steps: Step) -> Folded:
    return Folded(CONFIG).run(steps)


def _kinds(folded: Folded) -> list[int]:
    return [row.kind for _, row in folded.rows]


def _last(folded: Folded) -> dict[str, float]:
    return dict(zip(FEATURES, folded.rows[-1][1].features, strict=True))


@pytest.mark.parametrize("says", [False, True])
@pytest.mark.parametrize("wrong", [-7_200_000, -300_000, -45_000, 0, 45_000, 240_000, 300_000, 7_200_000, 10**12])
@pytest.mark.issue(20, line=1)
def test_a_wrong_clock_is_no_silence(wrong: int, says: bool) -> None:
    """A click every ten seconds: no gap of theirs is a Drop-Off, whatever the device's clock shows."""
    folded = _run(*(_step(t, wrong=wrong, arrives=t + 40, sent=t if says else None) for t in range(0, 60_000, 10_000)))
    doubtful = wrong == 7_200_000 and not says
    assert _kinds(folded) == [UPLOAD if doubtful else EVENT_ROW] + [EVENT_ROW] * 5, "the second click shows the clock"
    assert (_last(folded)["session_duration"], _last(folded)["time_between_clicks"]) == (50.0, 10.0)
    due = deadlines(folded.states, CONFIG)[0]
    assert due == START_MS + 50_040 + 5 * 35_000 - 4 * 10_000, "silence is judged on arrival"


@pytest.mark.issue(20, line=1, sibling=True)
def test_a_clock_that_is_set_during_a_visit_is_no_silence_either() -> None:
    steps = [_step(t, wrong=240_000 if t < 30_000 else 0) for t in range(0, 60_000, 10_000)]
    folded = _run(*steps)
    assert _kinds(folded) == [EVENT_ROW] * 6
    assert _last(folded)["time_between_clicks"] == 10.0
    back = _run(*(_step(t, wrong=0 if t < 30_000 else 240_000) for t in range(0, 90_000, 10_000)))
    assert _kinds(back) == [EVENT_ROW] * 9
    assert _last(back)["session_duration"] == 80.0


@pytest.mark.issue(20, line=1, sibling=True)
def test_a_browser_with_a_slow_clock_beside_a_server_with_a_right_one() -> None:
    """Two senders in one session: no gap is longer than what arrived shows."""
    steps = [_step(t, wrong=240_000 if t % 20_000 else 0) for t in range(0, 200_000, 10_000)]
    folded = _run(*steps)
    assert SILENCE not in _kinds(folded)
    assert _last(folded)["session_duration"] <= 190.0
    assert max(folded.states[0]["gaps"]) <= 20_000


@pytest.mark.issue(20, line=1)
def test_an_offline_phone_keeps_the_spacing_of_its_clicks() -> None:
    """Thirteen clicks over 270 s, uploaded at once two minutes later."""
    clicks = [_step(22_500 * n, arrives=390_000 + n) for n in range(13)]
    folded = _run(*clicks)
    assert _kinds(folded) == [EVENT_ROW] * 13
    assert _last(folded)["session_duration"] == pytest.approx(270.0, abs=0.1)
    assert _last(folded)["time_between_clicks"] == pytest.approx(22.5, abs=0.01)
    folded.run([_step(410_000, arrives=410_000)], 13)
    assert folded.rows[-1][1].kind == EVENT_ROW


@pytest.mark.parametrize("says", [False, True])
@pytest.mark.issue(20, line=1)
def test_an_upload_of_hours_ago_counts_and_decides_nothing_live(says: bool) -> None:
    """From its first event on, with ``sent_ts`` and without: no clock is known yet that would be merely wrong."""
    sent = 2 * HOUR
    clicks = [_step(22_500 * n, arrives=sent + n, sent=sent if says else None) for n in range(13)]
    folded = _run(*clicks)
    assert _kinds(folded) == [UPLOAD] * 13
    assert _last(folded)["session_duration"] == pytest.approx(270.0, abs=0.1)
    folded.run([Step("a", START_MS + sent + CONFIG.session_gap_ms - 1, None)])
    assert SILENCE not in _kinds(folded)
    assert deadlines(folded.states, CONFIG)[0] == START_MS + sent + 12 + CONFIG.session_gap_ms
    if says:
        assert folded.states[0]["t_min"] == START_MS


@pytest.mark.parametrize("apart", [0, 200])
def test_events_of_one_moment_in_an_old_upload_decide_nothing_either(apart: int) -> None:
    """session_start and page_view in one millisecond say nothing about a clock."""
    clicks = [_step(n * apart, arrives=2 * HOUR + n) for n in range(3)]
    assert _kinds(_run(*clicks)) == [UPLOAD] * 3


def test_an_old_upload_in_slow_parts_decides_nothing_while_its_clock_does_not_go_as_the_logs() -> None:
    """Three seconds between parts of which each holds a click of half a minute later."""
    folded = _run(*(_step(30_000 * n, arrives=2 * HOUR + 3_000 * n) for n in range(8)))
    assert _kinds(folded) == [UPLOAD] * 8


def test_one_click_by_a_clock_of_1970_is_live() -> None:
    """No phone keeps an event for years."""
    assert _kinds(_run(_step(0, wrong=START_MS))) == [EVENT_ROW]


def test_a_click_after_an_old_upload_begins_a_visit_of_its_own() -> None:
    sent = 2 * HOUR
    folded = _run(_step(0, arrives=sent, sent=sent), _step(sent + MINUTE, sent=sent + MINUTE))
    assert _kinds(folded) == [UPLOAD, END, EVENT_ROW]
    assert _last(folded)["num_clicks"] == 1


def test_old_clicks_that_arrive_during_a_visit_stretch_nothing() -> None:
    """They are of an earlier visit: counted, and neither late silence nor an hour of duration."""
    folded = _run(
        _step(2 * HOUR, sent=2 * HOUR),
        _step(0, arrives=2 * HOUR + 5_000, sent=2 * HOUR + 5_000),
        _step(2 * HOUR + 10_000, sent=2 * HOUR + 10_000),
    )
    assert _kinds(folded) == [EVENT_ROW, UPLOAD, EVENT_ROW]
    assert (_last(folded)["session_duration"], _last(folded)["num_clicks"]) == (10.0, 3)


@settings(max_examples=examples(20))
@given(crooked_logs(), st.sampled_from([-HOUR, -7_000, 3_000, 10 * MINUTE, 59 * MINUTE]))
def test_a_clock_that_all_times_share_moves_what_is_seen_and_changes_nothing(log: list[Step], ahead: int) -> None:
    """A producer's host or the broker is ahead, record and event alike: all measures are differences."""
    moved = []
    for step in log:
        event = step.event
        if event is not None:
            sent = None if event.sent_ts is None else event.sent_ts + ahead
            event = msgspec.structs.replace(event, ts=event.ts + ahead, sent_ts=sent)
        moved.append(Step(step.session, step.t + ahead, event))
    for (name, row), (moved_name, moved_row) in zip(_run(*log).rows, _run(*moved).rows, strict=True):
        assert (name, row.kind, row.t + ahead, row.seq, row.late) == (moved_name, *moved_row[:4])
        np.testing.assert_array_equal(row.features, moved_row.features)


@pytest.mark.parametrize("says", [False, True])
@pytest.mark.parametrize("ahead", [58 * MINUTE, 10 * MINUTE])
@pytest.mark.issue(20, line=1)
def test_one_record_with_an_absurd_time_stretches_no_session(ahead: int, says: bool) -> None:
    """It may cut it in two, as half an hour without a click would; the next record puts the time right."""
    times = range(0, 70_000, 10_000)
    folded = _run(*(_step(t, arrives=t + ahead * (t == 30_000), sent=t if says else None) for t in times))
    assert _kinds(folded).count(END) == (ahead > CONFIG.session_gap_ms)
    lengths = [row.features[0] for _, row in folded.rows]
    assert max(lengths) <= 60.0
    assert folded.states[0]["arrival"] == START_MS + 60_000
    assert deadlines(folded.states, CONFIG)[0] <= START_MS + 60_000 + 5 * 35_000


@pytest.mark.parametrize("says", [False, True])
@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("ahead", [20 * MINUTE, 29 * MINUTE, MINUTE])
@pytest.mark.issue(20, line=1, sibling=True)
def test_first_records_with_an_absurd_time_stretch_no_session(ahead: int, first: int, says: bool) -> None:
    """The session moves back with the first records that show it: one where one was ahead, two where several were."""
    times = range(0, 90_000, 10_000)
    steps = [_step(t, arrives=t + ahead * (n < first), sent=t if says else None) for n, t in enumerate(times)]
    folded = _run(*steps)
    assert _kinds(folded) == [EVENT_ROW] * len(steps)
    assert _last(folded)["session_duration"] == 80.0
    assert max(row.features[0] for _, row in folded.rows) <= 80.0
    assert (folded.states[0]["arrival"], folded.states[0]["t_min"]) == (START_MS + 80_000, START_MS)
    assert deadlines(folded.states, CONFIG)[0] <= START_MS + 80_000 + 5 * 35_000


@pytest.mark.parametrize("says", [False, True])
@pytest.mark.parametrize("behind", [MINUTE, 25 * MINUTE, 3 * HOUR])
def test_one_record_from_the_past_makes_no_silence(behind: int, says: bool) -> None:
    """Its producer's clock is slow; the records before it agree, and the next one does."""
    times = range(0, 70_000, 10_000)
    folded = _run(*(_step(t, arrives=t - behind * (t == 30_000), sent=t if says else None) for t in times))
    assert _kinds(folded) == [EVENT_ROW] * 7
    assert folded.states[0]["arrival"] == START_MS + 60_000
    assert _last(folded)["session_duration"] == 60.0
    assert folded.states[0]["other_skew"] == 0


@pytest.mark.issue(20, line=1, sibling=True)
def test_several_records_from_the_past_show_that_those_before_came_from_the_future() -> None:
    times = range(0, 90_000, 10_000)
    folded = _run(*(_step(t, arrives=t + 20 * MINUTE * (t < 30_000)) for t in times))
    assert folded.states[0]["arrival"] == START_MS + 80_000


def test_a_retry_of_an_event_does_not_move_the_clock() -> None:
    """Events that are sent twice arrive late, all by the same time: that is no other clock."""
    steps = [_step(t, event_id=f"e{t}") for t in range(0, 50_000, 10_000)]
    again = [_step(t, arrives=t + 60_000, event_id=f"e{t}") for t in range(0, 50_000, 10_000)]
    folded = _run(*steps, *again)
    assert (folded.duplicates, folded.states[0]["skew"], folded.states[0]["other_skew"]) == (5, 0, 0)


# -- what nobody did -------------------------------------------------------------------------------


@pytest.mark.issue(20, line=3)
@pytest.mark.contract("The gap before the first interaction")
def test_an_earlier_interaction_after_a_passive_event_has_no_gap_before_it() -> None:
    """session_start at T+60000, page_view at T, page_view at T+30000: thirty seconds between clicks."""
    folded = _run(_step(60_000, type="session_start"), _step(0, type="page_view"), _step(30_000, type="page_view"))
    assert _last(folded)["time_between_clicks"] == 30.0
    assert folded.states[0]["dwell"].tolist()[:2] == [0, 300]


@pytest.mark.parametrize(
    "kind", ["view_promotion", "scroll", "user_engagement", "page_ping", "video_progress", "first_visit"]
)
@pytest.mark.issue(20, line=4)
def test_a_passive_event_ends_no_silence_and_changes_no_gap(kind: str) -> None:
    folded = _run(_step(0, type="page_view"), _step(5_000), _step(120_000, type=kind), _step(130_000, type=kind))
    assert _kinds(folded) == [EVENT_ROW, EVENT_ROW, SILENCE, EVENT_ROW, EVENT_ROW]
    silence, first, second = (dict(zip(FEATURES, row.features, strict=True)) for _, row in folded.rows[2:])
    assert silence["idle_time"] < first["idle_time"] < second["idle_time"]
    assert first["time_between_clicks"] == 5.0
    folded.run([_step(140_000)], 4)
    assert folded.rows[-1][1].kind == EVENT_ROW
    assert _last(folded)["time_between_clicks"] == 70.0
    assert folded.states[0]["num_clicks"] == 3


# -- once ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "again", [{"event_id": "p1"}, {"event_id": "p2", "transaction_id": "T1"}, {"transaction_id": "T1"}]
)
@pytest.mark.issue(20, line=11)
def test_a_purchase_that_is_sent_again_counts_once_for_a_day(again: dict[str, Any]) -> None:
    """45 minutes later its session is over, and still it is known."""
    first: dict[str, Any] = {"type": "purchase", "value": 56.0, "transaction_id": "T1", "event_id": "p1"}
    if "transaction_id" not in again:
        del first["transaction_id"]
    folded = _run(_step(0, **first), _step(45 * MINUTE, type="purchase", value=56.0, **again))
    assert (folded.duplicates, _kinds(folded)) == (1, [EVENT_ROW, SILENCE, END])
    folded.run([_step(46 * MINUTE, type="purchase", value=50.0, transaction_id="T2")], 2)
    assert folded.states[0]["purchase_value"] == 50.0
    folded.run([_step(50 * MINUTE, type="purchase", value=56.0, **again)], 3)
    assert folded.duplicates == 2
    folded.run([Step("a", START_MS + 26 * HOUR, None)])
    assert not folded.states[0]["orders"], "and after a day it is forgotten"
    assert not folded.states[0]["arrival"]


@pytest.mark.issue(20, line=11, sibling=True)
@pytest.mark.issue(20, line=14)
def test_two_orders_of_one_session_and_partial_refunds_all_count() -> None:
    folded = _run(
        *(_step(n, type="purchase", value=50.0, transaction_id=f"T{n}") for n in range(12)),
        _step(20, type="refund", value=10.0, transaction_id="T1"),
        _step(21, type="refund", value=5.5, transaction_id="T1"),
    )
    state = folded.states[0]
    assert (state["purchases"], state["purchase_value"], state["refund_value"]) == (12, 600.0, 15.5)
    assert (state["num_clicks"], folded.duplicates) == (12, 0), "a refund is no click"


@pytest.mark.issue(20, line=10)
def test_a_retry_after_a_withdrawal_of_consent_brings_nothing_back() -> None:
    told: dict[str, Any] = {"page": "/p", "event_id": "e"}
    folded = _run(
        _step(0, **told), _step(1_000, consent=False), _step(0, arrives=2_000, **told), _step(500, arrives=40 * MINUTE)
    )
    assert (folded.withdrawn, folded.states[0]["flags"] & LIVE) == (2, 0)
    folded.run([_step(41 * MINUTE)], 4)
    assert folded.states[0]["num_clicks"] == 1, "what happens after it begins anew"
    folded.run([_step(900, arrives=42 * MINUTE)], 5)
    assert (folded.withdrawn, folded.states[0]["num_clicks"]) == (3, 1)


# -- money and items -------------------------------------------------------------------------------


@pytest.mark.issue(20, line=13)
def test_sums_of_large_amounts_are_exact() -> None:
    values = [19_990_001.0, 19_990_002.0, 19_990_003.0]
    folded = _run(*(_step(n, type="purchase", value=value) for n, value in enumerate(values)))
    assert folded.states[0]["purchase_value"] == 59_970_006.0
    cart = _run(*(_step(n, type="add_to_cart", price=16_777_217.0) for n in range(3)))
    assert cart.states[0]["cart_value"] == 50_331_651.0


@pytest.mark.issue(20, line=14)
def test_amounts_in_a_second_currency_are_left_out_and_counted() -> None:
    folded = _run(
        _step(0, type="add_to_cart", price=10.0, currency="EUR"),
        _step(1, type="add_to_cart", price=9_000.0, currency="JPY"),
        _step(2, type="add_to_cart", price=5.0),
    )
    state = folded.states[0]
    assert (state["cart_value"], state["cart_items"], folded.foreign_money) == (15.0, 3, 1)


@pytest.mark.issue(20, line=14)
def test_counts_of_a_type_go_on_beyond_255() -> None:
    folded = _run(*(_step(1_000 * n, type="view_item") for n in range(300)))
    assert folded.states[0]["counts"].max() == 300


@pytest.mark.parametrize(
    ("visit", "bounced"),
    [
        ([{"page": "/"}], True),
        ([{"page": "/"}, {"page": "/", "type": "scroll"}], True),
        ([{"page": "/"}, {"page": "/"}], False),
        ([{"page": "/", "type": "purchase", "value": 9.0}], False),
        ([{}], False),
        ([{"page": "/"}, {"page": "/b", "type": "page_ping"}], False),
    ],
)
@pytest.mark.issue(20, line=19)
@pytest.mark.contract("What a bounce is")
def test_a_bounce_is_one_page_and_nothing_done_there(visit: list[dict[str, Any]], bounced: bool) -> None:
    steps = [_step(n, visitor_id="v", **fields) for n, fields in enumerate(visit)]
    folded = _run(*steps, _step(2 * HOUR, visitor_id="v"))
    [profile] = folded.profiles[folded.profiles["sessions"] > 0]
    assert bool(profile["bounced"][0]) == bounced
    assert np.isfinite(folded.rows[-1][1].features[5])
