"""The compiled loop decides as its readable twin, and keeps its promises whatever it is fed."""

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from decisions.policy import Policy
from decisions.policy.conditions import category_code
from decisions.policy.engine import decide_rows
from featurestore.contract.codes import currency_code
from featurestore.session.observation import BOT, CLEAR, END, EVENT_ROW, SILENCE, UPLOAD
from featurestore.session.stages import STAGES
from tests.examples import examples
from tests.unit.decisions.policy.policy_cases import (
    QUIET,
    START,
    decided,
    memories,
    policies,
    policy_text,
    row_lists,
    run,
    sure,
)
from tests.unit.decisions.policy.policy_twin import Row, Twin

DEFAULT = Path(__file__).parents[4] / "deploy" / "policies" / "default.yaml"
SLOW = settings(max_examples=examples(15), suppress_health_check=[HealthCheck.too_slow])


def at(seconds: float, stage: str, confidence: float = 0.95, **context: float) -> Row:
    kind = int(context.pop("kind", EVENT_ROW))
    session_index = int(context.pop("session_index", 0))
    t = START + round(seconds * 1000)
    whole = {name: value if name == "cart_value" else int(value) for name, value in context.items()}
    return Row(session_index, kind, t, QUIET, sure(stage, confidence), **whole)  # type: ignore[arg-type]  # by name


def timed_offer(**parts: object) -> Policy:
    offer = {"label": "x", "persuasive": True, "urgency": True, "offer_minutes": 15} | parts
    actions = {"offer": offer, "panel": {"label": "Panel"}}
    stages = {"Intent Buyer": {"rules": [{"show": "offer"}]}, "Evaluator": {"rules": [{"show": "panel"}]}}
    return Policy.from_text(policy_text(actions=actions, stages=stages))


@SLOW
@given(policies(), row_lists())
def test_the_compiled_loop_decides_as_the_twin(text: str, rows: list[Row]) -> None:
    policy = Policy.from_text(text)
    twin = Twin(policy.file)
    memory = memories(2)
    answers = decided(policy, rows, memory)
    assert answers == [twin.decide(row) for row in rows]
    for session_index, session in twin.sessions.items():
        m = memory[session_index]
        assert m["stage_ms"][: len(STAGES)].tolist() == list(session.spent.values())
        assert (m["flips"], m["persuasive"]) == (session.flips, session.persuasive)
        used = slice(0, m["n_actions"])
        names = [policy.action_of[i] for i in m["action_id"][used].tolist()]
        counts = dict(zip(names, m["action_count"][used].tolist(), strict=True))
        assert counts == {name: s.count for name, s in session.showings.items()}


@SLOW
@given(policies(), row_lists(), st.data())
def test_decisions_do_not_depend_on_how_the_log_is_cut_into_batches(
    text: str, rows: list[Row], data: DataObject
) -> None:
    policy = Policy.from_text(text)
    cut = data.draw(st.integers(0, len(rows)))
    whole, parts = memories(2), memories(2)
    answers = decided(policy, rows, whole)
    assert answers == decided(policy, rows[:cut], parts) + decided(policy, rows[cut:], parts)
    assert whole.tobytes() == parts.tobytes()


@SLOW
@given(policies(), row_lists(n_sessions=3))
def test_sessions_do_not_touch_each_other(text: str, rows: list[Row]) -> None:
    policy = Policy.from_text(text)
    answers = decided(policy, rows, memories(3))
    for session_index in range(3):
        alone = [i for i, row in enumerate(rows) if row.session_index == session_index]
        assert decided(policy, [rows[i] for i in alone], memories(3)) == [answers[i] for i in alone]


@SLOW
@given(policies(), row_lists(size=60))
def test_caps_cool_downs_and_expiry_hold_under_any_interleaving(text: str, rows: list[Row]) -> None:
    policy = Policy.from_text(text)
    file = policy.file
    begun: dict[int, Counter[str]] = defaultdict(Counter)
    last_shown: dict[tuple[int, str], int] = {}
    clock: dict[int, int] = {}
    for row, answer in zip(rows, decided(policy, rows, memories(2)), strict=True):
        session_index = row.session_index
        if row.kind in {CLEAR, END}:
            begun[session_index].clear()
            clock[session_index] = 0
            for key in [k for k in last_shown if k[0] == session_index]:
                del last_shown[key]
            continue
        now = clock[session_index] = max(row.t, clock.get(session_index, 0))
        if row.kind in {BOT, UPLOAD}:
            continue
        action = file.actions.get(answer.action)
        if action is None:
            continue
        if answer.offer_until:
            assert now < answer.offer_until, "an offer is never shown after its end"
            assert answer.offer_until <= now + (action.offer_minutes or 0) * 60_000
        assert answer.action not in file.kill_switches.actions
        resumed = action.offer_minutes and now < last_shown.get((session_index, answer.action), 0)
        if answer.action_changed and not resumed:
            begun[session_index][answer.action] += 1
            if (session_index, answer.action) in last_shown:
                assert now >= last_shown[session_index, answer.action] + action.cool_down_seconds * 1000
        last_shown[session_index, answer.action] = answer.offer_until or now
        if action.session_cap is not None:
            assert begun[session_index][answer.action] <= action.session_cap
        cap = file.guardrails.persuasive_per_session
        if cap is not None:
            assert sum(n for name, n in begun[session_index].items() if file.actions[name].persuasive) <= cap


def test_the_same_inputs_give_the_same_decisions() -> None:
    policy = timed_offer()
    rows = [at(i, STAGES[i % 4]) for i in range(50)]
    assert decided(policy, rows, memories(1)) == decided(policy, rows, memories(1))


def test_an_offer_of_fifteen_minutes_ends_after_fifteen_minutes_and_stays_ended() -> None:
    answers = decided(timed_offer(), [at(60 * m, "Intent Buyer") for m in (0, 5, 14.99, 15, 16, 60)], memories(1))
    assert [a.action for a in answers] == ["offer", "offer", "offer", "none", "none", "none"]
    assert {a.offer_until for a in answers[:3]} == {START + 900_000}
    assert answers[3].route == "capped"
    assert "offer_ended" in answers[3].guards


def test_an_offer_that_the_shopper_comes_back_to_keeps_its_old_end() -> None:
    rows = [at(0, "Intent Buyer"), at(60, "Evaluator"), at(600, "Intent Buyer"), at(901, "Intent Buyer")]
    answers = decided(timed_offer(), rows, memories(1))
    assert [a.action for a in answers] == ["offer", "panel", "offer", "none"]
    assert answers[2].offer_until == START + 900_000


def test_an_offer_may_come_again_only_after_its_cool_down() -> None:
    policy = timed_offer(max_per_session=2, cool_down_seconds=1800)
    answers = decided(policy, [at(60 * m, "Intent Buyer") for m in (0, 20, 44, 45, 59, 61, 200)], memories(1))
    assert [a.action for a in answers] == ["offer", "none", "none", "offer", "offer", "none", "none"]


def test_no_urgency_for_a_first_time_visitor() -> None:
    policy = timed_offer()
    first, known, unknown = (
        decided(policy, [at(0, "Intent Buyer", visitor=v, visitor_sessions=n)], memories(1))[0]
        for v, n in ((9, 0), (9, 1), (0, 0))
    )
    assert (first.action, first.route, first.guards) == ("none", "guarded", frozenset({"urgency_first_visit"}))
    assert known.action == unknown.action == "offer"


def test_no_urgency_below_its_confidence() -> None:
    policy = timed_offer()
    answer = decided(policy, [at(0, "Intent Buyer", 0.75)], memories(1))[0]
    assert (answer.action, answer.route) == ("none", "guarded")


def test_below_the_threshold_the_fallback_stage_chooses() -> None:
    policy = Policy.from_text(policy_text())
    doubtful = (0.34, 0.58, 0.04, 0.04)
    answer = decided(policy, [Row(0, EVENT_ROW, START, QUIET, doubtful)], memories(1))[0]
    assert (answer.stage, answer.route, answer.action) == ("Evaluator", "fallback", "banner")


def test_a_stage_change_waits_for_margin_or_persistence() -> None:
    policy = Policy.from_text(policy_text(hysteresis={"margin": 0.5, "persistence": 3}))
    rows = [at(0, "Explorer"), *(at(i, "Evaluator", 0.4) for i in range(1, 4))]
    assert [a.stage for a in decided(policy, rows, memories(1))] == ["Explorer"] * 3 + ["Evaluator"]
    rows = [at(0, "Explorer"), at(1, "Evaluator", 0.4), at(2, "Evaluator", 0.9)]
    answers = decided(policy, rows, memories(1))
    assert [(a.stage, a.route) for a in answers][1:] == [("Explorer", "held"), ("Evaluator", "act")]
    assert answers[1].action == "banner"


def test_silence_changes_the_stage_at_once() -> None:
    policy = Policy.from_text(policy_text(hysteresis={"persistence": 50}))
    rows = [at(0, "Explorer"), at(60, "Drop-Off Risk", kind=SILENCE)]
    assert decided(policy, rows, memories(1))[1].stage == "Drop-Off Risk"


def test_the_time_in_a_stage_counts_up_to_the_end_of_the_session() -> None:
    policy = Policy.from_text(policy_text())
    rows = [at(0, "Explorer"), at(30, "Evaluator"), at(50, "Drop-Off Risk", kind=SILENCE), at(1800, "", kind=END)]
    memory = memories(1)
    _, ended = run(policy, rows, memory)
    assert ended[0]["stage_ms"][:4].tolist() == [30_000, 20_000, 0, 600_000]


def test_a_session_after_the_end_starts_with_an_empty_memory() -> None:
    policy = timed_offer()
    rows = [at(0, "Intent Buyer"), at(1800, "", kind=END), at(2000, "Intent Buyer")]
    memory = memories(1)
    answers = decided(policy, rows, memory)
    assert [a.action for a in answers] == ["offer", "none", "offer"]
    assert memory[0]["persuasive"] == 1


def test_withdrawn_consent_leaves_no_trace() -> None:
    memory = memories(1)
    decided(timed_offer(), [at(0, "Intent Buyer"), at(1, "", kind=CLEAR)], memory)
    assert not any(memory.tobytes())


def test_an_offer_keeps_its_end_through_a_reload_that_changes_its_length() -> None:
    memory = memories(1)
    decided(timed_offer(), [at(0, "Intent Buyer")], memory)
    answers = decided(timed_offer(offer_minutes=60), [at(60 * m, "Intent Buyer") for m in (5, 15)], memory)
    assert [(a.action, a.offer_until) for a in answers] == [("offer", START + 900_000), ("none", 0)]


def test_an_action_that_a_reload_removed_is_no_longer_held() -> None:
    memory = memories(1)
    decided(timed_offer(), [at(0, "Intent Buyer")], memory)
    policy = Policy.from_text(policy_text(hysteresis={"persistence": 5}))
    answer = decided(policy, [at(1, "Explorer")], memory)[0]
    assert (answer.route, answer.action) == ("held", "none")


def test_kill_switches_act_on_showings_under_way() -> None:
    memory = memories(1)
    decided(timed_offer(), [at(0, "Intent Buyer")], memory)
    actions = {"offer": {"label": "x", "persuasive": True, "offer_minutes": 15}}
    stages = {"Intent Buyer": {"rules": [{"show": "offer"}]}}
    for switches, route in (({"actions": ["offer"]}, "killed"), ({"all": True}, "killed")):
        policy = Policy.from_text(policy_text(actions=actions, stages=stages, kill_switches=switches))
        answer = decided(policy, [at(1, "Intent Buyer")], memory)[0]
        assert (answer.action, answer.route) == ("none", route)


def test_a_cart_value_meets_its_own_price() -> None:
    """Also a cart whose sum is a rounding error short of it."""
    rules = [{"show": "banner", "when": "cart_value >= 79.9"}]
    policy = Policy.from_text(policy_text(stages={"Explorer": {"rules": rules}}))
    for worth in (79.9, 79.9 - 1e-11, 39.95 + 39.95):
        answer = decided(policy, [at(0, "Explorer", cart_value=worth)], memories(1))[0]
        assert answer.action == "banner"
    assert decided(policy, [at(0, "Explorer", cart_value=79.89)], memories(1))[0].action == "none"


@pytest.mark.issue(20, line=14)
def test_a_cart_in_another_currency_meets_no_condition_on_its_value() -> None:
    rules = [{"show": "banner", "when": "cart_value >= 50"}]
    euros = Policy.from_text(policy_text(currency="EUR", stages={"Explorer": {"rules": rules}}))
    any_money = Policy.from_text(policy_text(stages={"Explorer": {"rules": rules}}))
    for named, shown in (("EUR", "banner"), ("JPY", "none"), ("", "banner")):
        row = at(0, "Explorer", cart_value=9_000, currency=currency_code(named))
        assert decided(euros, [row], memories(1))[0].action == shown
        assert decided(any_money, [row], memories(1))[0].action == "banner"
    assert euros.hash != any_money.hash


@pytest.mark.issue(20, line=19)
def test_a_held_action_whose_condition_has_lapsed_is_not_shown() -> None:
    """A reminder of an empty basket: the purchase ends it at once, the waiting stage does not."""
    actions = {"reminder": {"label": "x"}, "always": {"label": "y"}}
    rules = [{"show": "reminder", "when": "cart_items >= 1"}, {"show": "always"}]
    stages = {"Drop-Off Risk": {"rules": rules}}
    policy = Policy.from_text(policy_text(actions=actions, stages=stages, hysteresis={"persistence": 5}))
    memory = memories(1)
    first, kept, bought, later = decided(
        policy,
        [
            at(0, "Drop-Off Risk", cart_items=1),
            at(1, "Explorer", cart_items=1),
            at(2, "Explorer", purchases=1),
            at(3, "Drop-Off Risk", purchases=1),
        ],
        memory,
    )
    assert (first.action, kept.route, kept.action) == ("reminder", "held", "reminder")
    assert (bought.route, bought.action, bought.guards) == ("held", "none", frozenset({"condition_lapsed"}))
    assert (later.route, later.action) == ("act", "always")


@pytest.mark.parametrize("replaced", [False, True], ids=["of the rule", "of an arm in its place"])
@pytest.mark.parametrize(
    ("when", "before", "after"),
    [
        ("category in [shoes]", {"category": category_code("shoes")}, {"category": category_code("health")}),
        ("cart_value >= 50", {"cart_value": 60.0}, {"cart_value": 40.0}),
        ("purchases == 0", {}, {"purchases": 1}),
    ],
    ids=["another category", "a smaller cart", "an order"],
)
@pytest.mark.issue(20, line=19, sibling=True)
def test_an_offer_that_is_held_ends_with_its_condition_however_it_came(
    when: str, before: dict[str, float], after: dict[str, float], *, replaced: bool
) -> None:
    """Whatever the condition asks; also what an arm shows in the place of the rule's action."""
    actions = {"offer": {"label": "x"}, "other": {"label": "y"}}
    stages = {"Evaluator": {"threshold": 0.0, "rules": [{"show": "offer", "when": when}]}}
    arms = {"a": {"share": 1.0, **({"replace": {"offer": "other"}} if replaced else {})}, "b": {"share": 0.0}}
    trial = {"trial": {"unit": "session", "arms": arms}}
    text = policy_text(actions=actions, stages=stages, experiments=trial, hysteresis={"persistence": 5})
    rows = [at(0, "Evaluator", **before), at(1, "Explorer", **before), at(2, "Explorer", **after)]
    shown, held, over = decided(Policy.from_text(text), rows, memories(1))
    assert shown.action == held.action == ("other" if replaced else "offer")
    assert (held.route, over.route, over.action) == ("held", "held", "none")
    assert over.guards == {"condition_lapsed"}


def test_counters_saturate() -> None:
    memory = memories(1)
    policy = Policy.from_text(policy_text())
    rows = [at(i, "Explorer" if i % 2 else "Evaluator") for i in range(600)]
    decided(policy, rows, memory)
    assert memory[0]["flips"] == 255
    assert max(memory[0]["action_count"]) == 255


def test_the_loop_is_the_compiled_one() -> None:
    policy = Policy.from_text(policy_text())
    policy.warm_up()
    assert decide_rows.signatures  # type: ignore[attr-defined]  # numba's dispatcher


def test_twelve_actions_fit_into_eight_places_without_breaking_a_cap() -> None:
    actions = {f"a{i}": {"label": "x", **({"max_per_session": 1} if i % 2 else {})} for i in range(18)}
    rules = [{"show": name, "when": f"num_clicks == {i}"} for i, name in enumerate(actions)]
    policy = Policy.from_text(policy_text(actions=actions, stages={"Explorer": {"rules": rules}}))
    order = [*range(18), *range(18)]
    rows = [Row(0, EVENT_ROW, START + i, (0.0, float(n), *QUIET[2:]), sure("Explorer")) for i, n in enumerate(order)]
    answers = decided(policy, rows, memories(1))
    shown = Counter(a.action for a in answers)
    assert all(shown[f"a{i}"] <= 1 for i in range(1, 18, 2))
    assert sum(shown[f"a{i}"] for i in range(1, 18, 2)) == 8
    assert any("memory_full" in a.guards for a in answers)
    assert all(shown[f"a{i}"] == 2 for i in range(0, 18, 2))


def test_no_observations_give_no_decisions() -> None:
    decisions, ended = run(Policy.from_text(policy_text()), [], memories(0))
    assert decisions.size == ended.size == 0
    assert np.array_equal(decisions["stage"], [])


CASES = {
    "A": ("Explorer", 0.87, {}, "act", "trending-banner"),
    "B": ("Evaluator", 0.91, {}, "act", "comparison-panel"),
    "C": ("Intent Buyer", 0.95, {"cart_items": 3, "cart_value": 90}, "act", "timed-discount"),
    "D": ("Drop-Off Risk", 0.83, {"cart_items": 1, "kind": SILENCE}, "act", "exit-intent-reminder"),
    "E": ("Evaluator", 0.58, {}, "fallback", "category-banner"),
}
"""The published cases: pages, stage and confidence as published; what the default policy must make of them."""

PAGES = {"A": 3, "B": 18, "C": 7, "D": 9, "E": 14}


@pytest.mark.parametrize("case", CASES)
def test_the_default_policy_gives_the_published_actions(case: str) -> None:
    stage, confidence, context, route, action = CASES[case]
    policy = Policy.from_file(DEFAULT)
    row = at(0, stage, confidence, **context)
    row = replace(row, features=(0.0, 0.0, PAGES[case], *QUIET[3:]))
    answer = decided(policy, [row], memories(1))[0]
    assert (answer.stage, answer.route, answer.action) == (stage, route, action)
    if case == "C":
        offer = policy.file.actions[action]
        assert (offer.discount_percent, answer.offer_until - row.t) == (10, 15 * 60_000)
    if case == "D":
        assert "shipping is free" in policy.file.actions[action].label
