"""Rows of outcome heads: labels come from the rest of the visit only, and four measured traps are not fallen into."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from featurestore.session.observation import END
from featurestore.session.views import CART_COLUMNS, TOTALS, WIDE
from models.heads.outcomes import BUILT_IN
from models.heads.ranking import auc
from models.rules import StageRules
from models.simulator.simulator import SimConfig, SimEvent, simulate
from models.training.dataset import Observed, observe_log
from models.training.outcome_fit import fit_boosting, log_odds
from models.training.outcomes import (
    OutcomeRows,
    Parts,
    outcome_rows,
    split_visits,
    split_visits_by_time,
    visit_folds,
)
from tests.examples import examples

START_MS = 1_767_225_600_000
HOUR_MS = 3_600_000


def event(session: str, name: str, t: int) -> SimEvent:
    return session.encode(), json.dumps({"session_id": session, "type": name, "ts": t}).encode(), t


def rows_of(events: list[SimEvent]) -> OutcomeRows:
    """With an event two hours after the last, so that no other visit is cut off."""
    log = sorted(events, key=lambda e: e[2])
    end = event("end", "page_view", log[-1][2] + 2 * HOUR_MS)
    return outcome_rows(observe_log([[*log, end]], StageRules(), wide=True), StageRules())


def one_visit(*names: str, gap_ms: int = 5_000) -> OutcomeRows:
    return rows_of([event("s", name, START_MS + gap_ms * i) for i, name in enumerate(names)])


def test_a_label_is_about_later_events_only() -> None:
    """The row of the order itself says no; the row before it says yes."""
    rows = one_visit("page_view", "add_to_cart", "begin_checkout", "purchase", "page_view")
    at = ~rows.silent
    assert rows.label("add_rest")[at].tolist() == [True, False, False, False, False]
    assert rows.label("checkout_rest")[at].tolist() == [True, True, False, False, False]
    assert rows.label("order_rest")[at].tolist() == [True, True, True, False, False]
    assert rows.label("exit_next")[at].tolist() == [False, False, False, False, True]
    assert rows.position[at].tolist() == [1, 2, 3, 4, 5]


def test_events_that_nobody_did_are_no_reason_to_stay() -> None:
    rows = one_visit("page_view", "scroll")
    assert rows.label("exit_next")[~rows.silent].tolist() == [True, True]


def test_a_silence_asks_about_what_follows_it() -> None:
    log = [event("s", "page_view", START_MS), event("s", "purchase", START_MS + 300_000)]
    rows = rows_of(log)
    silent = rows.label("order_rest")[rows.silent].tolist()
    assert silent[0] is True, "the order came after five minutes"
    assert silent[-1] is False


def test_a_pause_of_half_an_hour_makes_two_visits() -> None:
    log = [event("s", "page_view", START_MS), event("s", "purchase", START_MS + 40 * 60_000)]
    rows = rows_of(log)
    assert np.unique(rows.visit).size == 2
    assert not rows.label("order_rest").any()


def test_a_visit_cut_off_by_the_end_of_the_log_is_left_out() -> None:
    log = [event("s", "page_view", START_MS), event("late", "page_view", START_MS + HOUR_MS)]
    rows = outcome_rows(observe_log([log], StageRules(), wide=True), StageRules())
    assert rows.censored == 1
    assert np.unique(rows.visit).size == 1


@settings(max_examples=examples(40))
@given(st.lists(st.sampled_from(["page_view", "add_to_cart", "purchase", "scroll"]), min_size=1, max_size=12))
def test_labels_are_those_of_a_plain_look_ahead(names: list[str]) -> None:
    rows = one_visit(*names)
    for row in np.flatnonzero(~rows.silent):
        rest = names[rows.position[row] :]
        assert rows.label("add_rest")[row] == ("add_to_cart" in rest)
        assert rows.label("order_rest")[row] == ("purchase" in rest)
        assert rows.label("exit_next")[row] == (not set(rest) - {"scroll"})


@pytest.fixture(scope="module")
def seen() -> Observed:
    config = SimConfig(sessions=4_000, seed=3, sessions_per_s=0.2, mix={"buyer": 2.0})
    return observe_log(simulate(config), StageRules(), wide=True)


@pytest.fixture(scope="module")
def rows(seen: Observed) -> OutcomeRows:
    return outcome_rows(seen, StageRules())


@pytest.fixture(scope="module")
def finished(seen: Observed) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The wide view of finished sessions, and whether they ordered: what a shop's database has."""
    wide = seen.wide[seen.rows["kind"] == END]
    return wide, wide[:, WIDE.index("purchases")] > 0


def columns_without(left_out: frozenset[str]) -> list[int]:
    return [i for i, name in enumerate(WIDE) if name not in left_out]


def score(X: NDArray[np.float64], y: NDArray[np.bool_], train: NDArray[np.bool_], columns: list[int]) -> float:
    z = log_odds(fit_boosting(X[train][:, columns], y[train], 0), X[~train][:, columns])
    return auc(y[~train], z)


def halves(n: int) -> NDArray[np.bool_]:
    return np.asarray(np.arange(n) % 2 == 0, np.bool_)


def test_trap_a_finished_session_shows_its_order(finished: tuple[NDArray[np.float64], NDArray[np.bool_]]) -> None:
    """Scoring finished sessions gives an AUC of 1; the heads, on prefixes, must not come near it."""
    wide, ordered = finished
    assert score(wide, ordered, halves(ordered.size), columns_without(frozenset())) > 0.999


def test_heads_on_prefixes_are_not_clairvoyant(rows: OutcomeRows) -> None:
    parts = split_visits(rows, 1)
    y = rows.label("order_rest")
    z = log_odds(fit_boosting(rows.wide[parts.train], y[parts.train], 0), rows.wide[parts.test])
    assert 0.75 < auc(y[parts.test], z) < 0.97


def test_trap_totals_tell_what_the_left_out_columns_told(
    finished: tuple[NDArray[np.float64], NDArray[np.bool_]],
) -> None:
    """All clicks less those that are counted are those in the cart and the checkout: that is why both are left out."""
    wide, ordered = finished
    counted = [i for i, name in enumerate(WIDE) if name.startswith("n_") and name not in CART_COLUMNS | {"n_scroll"}]
    hidden = wide[:, WIDE.index("clicks")] - wide[:, counted].sum(axis=1)
    assert auc(ordered, hidden) > 0.97
    honest = score(wide, ordered, halves(ordered.size), columns_without(CART_COLUMNS | TOTALS))
    assert honest < 0.95
    assert {"clicks"} <= TOTALS


def test_trap_a_model_of_finished_sessions_is_poor_on_prefixes(
    rows: OutcomeRows, finished: tuple[NDArray[np.float64], NDArray[np.bool_]]
) -> None:
    parts = split_visits(rows, 1)
    y, test = rows.label("order_rest"), parts.test & ~rows.silent
    wide, ordered = finished
    on_finished = log_odds(fit_boosting(wide, ordered, 0), rows.wide[test])  # it has even seen the test's visits
    on_prefixes = log_odds(fit_boosting(rows.wide[parts.train], y[parts.train], 0), rows.wide[test])
    assert auc(y[test], on_finished) < auc(y[test], on_prefixes) - 0.1


def disjoint(rows: OutcomeRows, parts: Parts) -> bool:
    groups = [set(rows.visit[part].tolist()) for part in parts]
    return not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])


def test_trap_no_visit_stands_on_two_sides_of_a_split(rows: OutcomeRows) -> None:
    """Rows of one visit overlap: with some in training, the others are nearly known."""
    for parts in (split_visits(rows, 7), split_visits_by_time(rows), *visit_folds(rows, 7, 4)):
        assert disjoint(rows, parts)
        assert all(part.any() for part in parts)


def test_a_split_in_time_trains_on_what_was_over(rows: OutcomeRows) -> None:
    parts = split_visits_by_time(rows)
    last_trained = rows.ended[rows.visit[parts.train]].max()
    assert last_trained < rows.started[rows.visit[parts.calibrate]].min()
    assert rows.ended[rows.visit[parts.calibrate]].max() < rows.started[rows.visit[parts.test]].min()


def test_every_outcome_that_ships_occurs_in_the_simulated_shop(rows: OutcomeRows) -> None:
    for outcome in BUILT_IN:
        y = rows.label(outcome.name)[outcome.eligible(rows.wide)]
        assert 0.005 < y.mean() < 0.5
