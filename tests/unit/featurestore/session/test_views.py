"""The wide view: every column from a session told by hand, and the laws that keep it servable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.contract.event import TYPE_CODE, Event, columns
from featurestore.session.features import FEATURES
from featurestore.session.fold import FoldConfig, empty_states, fold, ticks
from featurestore.session.observation import EVENT_ROW, SILENCE, Observations
from featurestore.session.state import SILENT
from featurestore.session.views import CART_COLUMNS, N_WIDE, NEVER, TOTALS, WIDE, wide
from featurestore.session.visitors import PROFILE
from tests.examples import examples
from tests.unit.featurestore.session.fold_cases import START_MS, Step, logs

SAME = {
    "session_duration": "duration_s",
    "num_clicks": "clicks",
    "pages_viewed": "pages",
    "cart_additions": "cart_additions",
    "time_between_clicks": "gap_mean_s",
    "engagement_score": "clicks_per_s",
    "idle_time": "idle_s",
}
"""Published features that the view repeats."""


def folded(events: list[Event], until_ms: int | None = None) -> tuple[Observations, np.ndarray]:
    """The observations of one session's events, and its state afterwards."""
    states, profiles = empty_states(1), np.zeros(1, PROFILE)
    rows = columns(events, [0] * len(events), range(len(events)), [event.ts for event in events])
    seen = fold(states, profiles, rows, FoldConfig(), wide=True)
    if until_ms is not None:
        seen = fold(states, profiles, ticks([0], until_ms), FoldConfig(), wide=True)
    return seen, states


def test_each_column_says_what_its_name_says() -> None:
    t = START_MS  # 2023-11-14 22:13:20 UTC, a Tuesday
    events = [
        Event(session_id="s", type="session_start", ts=t, device="mobile", source="paid"),
        Event(session_id="s", type="view_item", ts=t + 1_000, page="/a", price=10.0),
        Event(session_id="s", type="scroll", ts=t + 2_000, page="/a", scroll_depth=40.0),
        Event(session_id="s", type="add_to_cart", ts=t + 11_000, page="/a", price=10.0, quantity=2),
        Event(session_id="s", type="view_cart", ts=t + 31_000, page="/cart"),
        Event(session_id="s", type="begin_checkout", ts=t + 61_000, page="/checkout"),
    ]
    row = dict(zip(WIDE, folded(events)[0].wide[-1].tolist(), strict=True))
    expected = {
        "duration_s": 61,
        "clicks": 4,
        "pages": 3,
        "clicks_per_page": 4 / 3,
        "gap_mean_s": 20,
        "idle_s": 20,
        "silent_s": 0,
        "gap_1_s": 30,
        "gap_2_s": 20,
        "gap_3_s": 10,
        "cart_additions": 2,
        "cart_items": 2,
        "cart_value": 20,
        "checkout_step": 1,
        "purchases": 0,
        "since_add": 2,
        "type_1": TYPE_CODE["begin_checkout"],
        "type_2": TYPE_CODE["view_cart"],
        "type_3": TYPE_CODE["add_to_cart"],
        "type_4": TYPE_CODE["view_item"],
        "n_view_item": 1,
        "n_add_to_cart": 1,
        "n_scroll": 1,
        "n_purchase": 0,
        "scroll": 40,
        "price_n": 2,
        "price_mean": 10,
        "price_sd": 0,
        "bounce_rate": -1,
        "device": 2,
        "source": 3,
        "hour": 22,
        "weekday": 1,
    }
    assert {name: row[name] for name in expected} == {name: np.float32(value) for name, value in expected.items()}


def test_before_anything_happened_the_unknown_has_its_own_value() -> None:
    row = dict(zip(WIDE, folded([Event(session_id="s", type="page_view", ts=START_MS)])[0].wide[-1], strict=True))
    assert (row["since_add"], row["gap_1_s"], row["type_1"], row["type_2"]) == (NEVER, -1, TYPE_CODE["page_view"], -1)
    assert (row["price_mean"], row["price_min"], row["bounce_rate"]) == (-1, -1, -1)


def test_in_silence_the_open_gap_shows() -> None:
    events = [Event(session_id="s", type="page_view", ts=START_MS + 1_000 * k) for k in range(3)]
    seen, _ = folded(events, START_MS + 600_000)
    assert seen.rows["kind"].tolist() == [SILENCE]
    row = dict(zip(WIDE, seen.wide[0].tolist(), strict=True))
    assert row["silent_s"] == (seen.rows["t"][0] - START_MS - 2_000) / 1_000
    assert row["gap_1_s"] == 1


def test_a_fold_without_the_view_computes_none() -> None:
    states, profiles = empty_states(1), np.zeros(1, PROFILE)
    rows = columns([Event(session_id="s", type="page_view", ts=START_MS)], [0], [0], [START_MS])
    assert fold(states, profiles, rows, FoldConfig()).wide.shape[1] == 0


@settings(max_examples=examples(60))
@given(logs())
def test_the_fold_s_view_is_that_of_the_state_finite_and_exact_in_32_bits(log: list[Step]) -> None:
    """A tree's thresholds are float32: a value that is none could fall on either side of one."""
    events = [step.event for step in log if step.event is not None and step.session == "a"]
    for upto in range(1, len(events) + 1):
        seen, states = folded(events[:upto])
        if seen.rows.size == 0:
            continue
        assert np.isfinite(seen.wide).all()
        assert np.array_equal(seen.wide, seen.wide.astype(np.float32))
        # A duplicate or a withdrawn event has no row. A passive event in silence sees the open gap, the state does not.
        at_event = seen.rows["kind"][-1] == EVENT_ROW and seen.rows["event"][-1] == upto - 1
        if at_event and not states["flags"][0] & SILENT:
            assert np.array_equal(wide(states)[0], seen.wide[-1])
            for published, column in SAME.items():
                value = seen.features[-1, FEATURES.index(published)]
                assert seen.wide[-1, WIDE.index(column)] == np.float32(value)


def test_the_columns_are_named_once_and_the_groups_are_columns() -> None:
    assert len(set(WIDE)) == N_WIDE
    assert set(WIDE) >= CART_COLUMNS
    assert set(WIDE) >= TOTALS
    assert not CART_COLUMNS & TOTALS


@given(st.lists(st.floats(0.01, 1e9), min_size=1, max_size=12), st.sampled_from([0.0, 1e8]))
@pytest.mark.issue(20, line=13, sibling=True)
def test_the_spread_of_prices_is_exact_however_large_they_are(prices: list[float], added: float) -> None:
    """Sums of squares would lose all digits of a spread that is small beside the prices."""
    prices = [price + added for price in prices]
    events = [
        Event(session_id="s", type="view_item", ts=START_MS + 1_000 * k, price=price) for k, price in enumerate(prices)
    ]
    row = dict(zip(WIDE, folded(events)[0].wide[-1].tolist(), strict=True))
    assert row["price_sd"] == pytest.approx(float(np.std(prices)), rel=1e-6, abs=1e-6)
    assert (row["price_sd"] == 0) == (len(set(prices)) == 1)
