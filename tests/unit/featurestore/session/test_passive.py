"""What nobody did changes nothing that is measured of what somebody did: gaps, silences, the heads' columns of them."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featurestore.contract.event import PASSIVE, Event
from featurestore.session.features import FEATURES
from featurestore.session.fold import FoldConfig
from featurestore.session.observation import END, EVENT_ROW, SILENCE
from featurestore.session.views import WIDE, wide
from tests.examples import examples
from tests.unit.featurestore.session.fold_cases import START_MS, Folded, Step

CONFIG = FoldConfig()
MEASURED = ("num_clicks", "pages_viewed", "cart_additions", "time_between_clicks", "idle_time")
COLUMNS = [
    place
    for place, name in enumerate(WIDE)
    if name in {"clicks", "gap_mean_s", "idle_s", "since_add"} or name.startswith(("gap_", "type_"))
]

Told = tuple[int, int, str]
"""When it arrives, ms; how long before that it happened; its type."""


def _step(told: Told) -> Step:
    arrives, late, kind = told
    at = START_MS + arrives
    return Step("a", at, Event(session_id="a", type=kind, ts=at - late, sent_ts=at, page="/"))


def _measured(told: list[Told]) -> tuple[list[tuple[float, ...]], list[int], list[float], list[int]]:
    """After each interaction, when silence came since the first, the heads' columns, and the last gaps."""
    kinds = [kind for _, _, kind in told]
    folded = Folded(CONFIG).run([*map(_step, told), Step("a", START_MS + max(at for at, _, _ in told) + 600_000, None)])
    events = iter(kinds)
    clicks, silences, clicked = [], [], False
    for _, row in folded.rows:
        if row.kind == SILENCE and clicked:
            silences.append(row.t)
        if row.kind == EVENT_ROW and next(events) not in PASSIVE:
            clicked = True
            clicks.append(tuple(row.features[FEATURES.index(name)] for name in MEASURED))
    state = folded.states[0]
    return clicks, silences, wide(folded.states)[0][COLUMNS].tolist(), state["dwell"].tolist()


@settings(max_examples=examples(60))
@given(
    st.lists(st.tuples(st.integers(1, 200_000), st.sampled_from(["page_view", "add_to_cart", "purchase"])), min_size=1),
    st.lists(st.tuples(st.integers(0, 1_000_000), st.integers(0, 900_000), st.sampled_from(sorted(PASSIVE)))),
)
@example([(60_000, "page_view"), (30_000, "page_view")], [(0, 0, "session_start")])
@example([(1, "page_view"), (90_000, "purchase")], [(89_000, 88_500, "user_engagement"), (95_000, 94_999, "refund")])
@pytest.mark.issue(20, line=4, sibling=True)
def test_passive_events_change_nothing_measured_wherever_they_come(
    gaps: list[tuple[int, str]], passive: list[Told]
) -> None:
    """Before the first interaction, between, after the last; as they happen or up to a quarter of an hour late."""
    clicks, at = list[Told](), 0
    for gap, kind in gaps:
        at += gap
        clicks.append((at, 0, kind))
    # The session must not end without them where it goes on with them: they come while it lives.
    passive = [(arrives % (at + 1), late, kind) for arrives, late, kind in passive]
    assert _measured(sorted([*clicks, *passive], key=lambda one: one[0])) == _measured(clicks)


@pytest.mark.parametrize("kind", ["purchase", "add_to_cart", "page_view"])
@pytest.mark.issue(20, line=3, sibling=True)
@pytest.mark.contract("The gap of a late event")
def test_a_late_interaction_counts_and_moves_no_gap_of_the_next(kind: str) -> None:
    told: list[Told] = [(0, 0, "page_view"), (20_000, 0, "page_view"), (25_000, 20_000, kind), (30_000, 0, "page_view")]
    clicks, _, _, dwell = _measured(told)
    assert [row[0] for row in clicks] == [1.0, 2.0, 3.0, 4.0]
    assert dwell[:4] == [0, 200, 0, 100], "tenths of a second: its own gap is none, the next counts from the newest"


@pytest.mark.parametrize("kind", sorted(PASSIVE))
@pytest.mark.issue(20, line=3, sibling=True)
def test_a_late_passive_first_event_is_no_interaction_either(kind: str) -> None:
    """A heartbeat by a clock that runs ahead of the first click's: no gap lies between the two."""
    told: list[Told] = [(60_000, 0, kind), (60_500, 60_500, "page_view"), (61_000, 31_000, "page_view")]
    clicks, _, _, dwell = _measured(told)
    values: dict[str, Any] = dict(zip(MEASURED, clicks[-1], strict=True))
    assert (values["num_clicks"], values["time_between_clicks"]) == (2.0, 30.0)
    assert dwell[:2] == [0, 300]


@pytest.mark.parametrize("kind", sorted(PASSIVE))
@pytest.mark.contract("A session of passive events alone")
def test_a_session_of_passive_events_alone_is_decided_falls_silent_and_ends(kind: str) -> None:
    """Its silence counts from the first event, whatever heartbeats follow; its end counts from the last."""
    told: list[Told] = [(0, 0, kind), (20_000, 0, kind), (400_000, 0, kind)]
    ended = 400_000 + CONFIG.session_gap_ms
    folded = Folded(CONFIG).run([*map(_step, told), Step("a", START_MS + ended, None)])
    rows = [(row.kind, row.t - START_MS) for _, row in folded.rows]
    silence = CONFIG.idle_after_ms
    assert [row for row in rows if row[0] == SILENCE] == [(SILENCE, max(silence, CONFIG.idle_mean_ms))]
    assert [row for row in rows if row[0] != SILENCE] == [*((EVENT_ROW, at) for at, _, _ in told), (END, ended)]
    assert folded.rows[-1][1].features[FEATURES.index("num_clicks")] == 0.0
