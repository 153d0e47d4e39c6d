"""Delayed truth: the join of decisions with finished sessions, and its figures."""

import json
import math
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from decisions.shipped import load_bundle
from featurestore.session.features import FEATURES
from featurestore.session.observation import SEQ_STEP
from featurestore.session.stages import DROP_OFF_RISK, EVALUATOR, EXPLORER, INTENT_BUYER, STAGES
from models.rules import StageRules
from worker.checks.decision_accuracy import accuracy, as_json, export, join, macro_f1, report
from worker.checks.outcome_truth import Asked, asked_by
from worker.metrics.catalogue import PREFIX

DAY_MS = 86_400_000
RULES = StageRules()
PLAIN = dict.fromkeys(FEATURES, 0.0) | {"num_clicks": 3.0, "pages_viewed": 2.0, "session_duration": 60.0}
BUYER = PLAIN | {"cart_additions": 3.0}


def decision(session: str, at: int, stage: int, **changes: Any) -> bytes:
    probabilities = [0.9 if i == stage else 0.1 / 3 for i in range(4)]
    fields = {
        "session_id": session,
        "source": "topic",
        "seq": at * SEQ_STEP,
        "stage": STAGES[stage],
        "probabilities": probabilities,
    }
    return json.dumps(fields | changes).encode()


def summary(session: str, at: int, features: dict[str, float], outcome: str = "browsed", **changes: Any) -> bytes:
    fields = {
        "session_id": session,
        "source": "topic",
        "seq": at * SEQ_STEP + SEQ_STEP - 1,
        "ended": 10 * DAY_MS + 5,
        "features": features,
        "outcome": outcome,
        "bot": False,
        "model": "production-1",
    }
    return json.dumps(fields | changes).encode()


def test_the_last_decision_on_an_event_is_judged_by_the_rules() -> None:
    decisions = [
        decision("a", 1, EXPLORER),
        decision("a", 2, INTENT_BUYER),
        decision("a", 2, DROP_OFF_RISK, seq=2 * SEQ_STEP + 1),  # on silence
        decision("b", 5, EVALUATOR, probabilities=[0.5, 0.3, 0.1, 0.1]),  # held by hysteresis
    ]
    truth = join(decisions, [summary("a", 2, BUYER, "bought"), summary("b", 5, PLAIN)], RULES)
    (day,) = truth.days
    assert day.shown[INTENT_BUYER, INTENT_BUYER] == 1
    assert day.shown[EXPLORER, EVALUATOR] == 1
    assert day.predicted[EXPLORER, EXPLORER] == 1
    assert (day.sessions, day.decisions) == (2, 4)
    assert accuracy(day.shown) == 0.5
    assert day.precision() == {INTENT_BUYER: 1.0, EVALUATOR: 1.0}


def test_one_id_can_have_several_sessions_and_one_that_goes_on() -> None:
    decisions = [decision("a", at, stage) for at, stage in ((1, EXPLORER), (9, INTENT_BUYER), (20, EVALUATOR))]
    truth = join(decisions, [summary("a", 9, BUYER, "bought"), summary("a", 1, PLAIN)], RULES)
    assert truth.days[0].shown[EXPLORER, EXPLORER] == 1
    assert truth.days[0].shown[INTENT_BUYER, INTENT_BUYER] == 1
    assert truth.days[0].decisions == 2


def test_a_summary_produced_twice_is_one_session() -> None:
    truth = join([decision("a", 1, EXPLORER)], [summary("a", 1, PLAIN)] * 2, RULES)
    assert truth.days[0].sessions == 1
    assert truth.unmatched == 0


def test_a_topic_created_anew_is_another_source() -> None:
    truth = join([decision("a", 1, EXPLORER, source="old")], [summary("a", 1, PLAIN)], RULES)
    assert (truth.days, truth.unmatched) == ([], 1)


def test_bots_and_unreadable_documents_are_counted_and_left_out() -> None:
    decisions = [
        b"{",
        decision("a", 1, EXPLORER).replace(b"Explorer", b"Shopper"),
        decision("a", 1, EXPLORER, probabilities=[1.0]),
    ]
    truth = join(decisions, [b"[]", summary("b", 1, PLAIN, bot=True), summary("a", 1, PLAIN)], RULES)
    assert (truth.unreadable, truth.bots, truth.unmatched) == (3, 1, 1)


def test_days_are_utc_days_of_the_end_and_today_is_not_full() -> None:
    decisions = [decision(name, 1, EXPLORER) for name in "ab"]
    truth = join(decisions, [summary("a", 1, PLAIN), summary("b", 1, PLAIN, ended=11 * DAY_MS)], RULES)
    assert [day.day.isoformat() for day in truth.days] == ["1970-01-11", "1970-01-12"]
    full = truth.last_full_day(11 * DAY_MS + 1)
    assert full is truth.days[0]
    assert truth.last_full_day(10 * DAY_MS + 1) is None


def test_macro_f1_is_the_mean_over_the_stages_that_occur() -> None:
    confusion = np.zeros((4, 4), np.int64)
    confusion[0, 0], confusion[0, 1], confusion[2, 2] = 8, 2, 5
    assert macro_f1(confusion) == pytest.approx((2 * 8 / 18 + 0 / 2 + 1) / 3)
    assert math.isnan(macro_f1(np.zeros((4, 4), np.int64)))
    assert math.isnan(accuracy(np.zeros((4, 4), np.int64)))


def test_the_metrics_of_a_day() -> None:
    truth = join([decision("a", 2, INTENT_BUYER)], [summary("a", 2, BUYER, "abandoned_cart")], RULES)
    registry = CollectorRegistry()
    export(truth.days[0], 7_000, registry)
    assert registry.get_sample_value(PREFIX + "truth_macro_f1") == 1.0
    assert registry.get_sample_value(PREFIX + "truth_stage_precision", {"stage": "Intent Buyer"}) == 0.0
    assert registry.get_sample_value(PREFIX + "truth_stage_precision", {"stage": "Explorer"}) is None
    assert registry.get_sample_value(PREFIX + "truth_sessions") == 1.0
    assert registry.get_sample_value(PREFIX + "truth_run_timestamp_seconds") == 7.0


def test_a_day_without_sessions_has_a_size_and_no_figures() -> None:
    registry = CollectorRegistry()
    export(join([], [], RULES).last_full_day(0), 7_000, registry)
    assert registry.get_sample_value(PREFIX + "truth_macro_f1") is None
    assert registry.get_sample_value(PREFIX + "truth_sessions") == 0.0


def test_the_report_says_what_was_judged_and_what_was_left_out() -> None:
    truth = join([decision("a", 2, INTENT_BUYER)], [summary("a", 2, BUYER, "bought"), summary("b", 1, PLAIN)], RULES)
    text = report(truth)
    assert "| 1970-01-11 | 1 | 1 | 1.000 | 1.000 | 1.000 | - | - | 1.000 | - |" in text
    assert "1 sessions without a decision" in text
    assert "production-1 (1)" in text
    assert as_json(truth)["days"][0]["precision"] == {"Intent Buyer": 1.0}
    assert json.loads(json.dumps(as_json(join([], [], RULES)))) == {
        "days": [],
        "bots": 0,
        "unmatched": 0,
        "unreadable": 0,
        "models": {},
        "clicks_gone": 0,
    }


ASKED = {
    "order_rest": Asked(frozenset({"purchase"}), absent=False),
    "exit_next": Asked(frozenset({"click"}), absent=True),
}


def click(session: str, kind: str) -> bytes:
    return json.dumps({"session_id": session, "type": kind, "ts": 1}).encode()


def test_probabilities_are_judged_by_what_came_strictly_later() -> None:
    """The order itself is no later order, nor is one after the session's end; an unknown type is a click."""
    order = {"order_rest": 0.5, "exit_next": None}
    decisions = [
        decision("a", 0, EXPLORER, outcomes=order),
        decision("b", 2, EXPLORER, outcomes=order),
        decision("c", 4, EXPLORER, outcomes={"order_rest": 0.25, "exit_next": 0.5, "another": 0.5}),
        decision("c", 4, EXPLORER, outcomes={"order_rest": 1.0}, seq=4 * SEQ_STEP + 1),  # in silence
        decision("gone", 9, EXPLORER, outcomes=order),
    ]
    kinds = ["click", "purchase", "purchase", "click", "click", "tried_on", "purchase"]
    log = [click(session, kind) for session, kind in zip("aabbccc", kinds, strict=True)]
    ends = {"a": 1, "b": 3, "c": 5, "gone": 9}
    summaries = [summary(session, at, PLAIN) for session, at in ends.items()]
    truth = join(decisions, summaries, RULES, lambda: [(0, b"{"), *enumerate(log)], ASKED)
    found = as_json(truth)["days"][0]["outcomes"]
    assert found["order_rest"] == {
        "sessions": 3, "moments": 3, "expected": 1.25, "observed": 1, "ratio": 0.8, "auc": 0.75, "lift_10": 3.0,
    }  # fmt: skip
    assert (found["exit_next"]["sessions"], found["exit_next"]["observed"]) == (1, 0)
    assert found.keys() == {"order_rest", "exit_next"}
    assert truth.clicks_gone == 1
    assert "| 1970-01-11 | order_rest | 3 | 3 | 1.2 | 1 | 0.80 | 0.750 | 3.0 |" in report(truth)


def test_a_session_counts_once_at_the_same_moment_whatever_the_order() -> None:
    decisions = [decision("a", at, EXPLORER, outcomes={"order_rest": at / 10}) for at in range(1, 9)]
    log = [(at, click("a", "click")) for at in range(1, 9)]
    ways = [join(order, [summary("a", 8, PLAIN)], RULES, lambda: log, ASKED) for order in (decisions, decisions[::-1])]
    said = [way.days[0].heads["order_rest"].said for way in ways]
    assert said[0] == said[1]
    assert len(said[0]) == 1


def test_a_head_that_is_right_at_each_moment_is_not_off_where_long_visits_have_the_outcome() -> None:
    """Every second visit has nine events and orders at the end: of ten moments eight have the order ahead."""
    decisions: list[bytes] = []
    summaries: list[bytes] = []
    log: list[bytes] = []
    for number in range(1_000):
        session = f"visit-{number}"
        last = (number % 2) * 8
        for at in range(last + 1):
            decisions.append(decision(session, len(log), EXPLORER, outcomes={"order_rest": 0.8}))
            log.append(click(session, "purchase" if at == last > 0 else "click"))
        summaries.append(summary(session, len(log) - 1, PLAIN))
    truth = join(decisions, summaries, RULES, lambda: enumerate(log), ASKED)
    figures = [day.heads["order_rest"].figures() for day in truth.days]
    assert sum(f["moments"] for f in figures) == len(log)
    assert 0.9 < sum(f["observed"] for f in figures) / sum(f["expected"] for f in figures) < 1.1


def test_clicks_are_not_read_for_decisions_without_outcomes() -> None:
    def read() -> list[tuple[int, bytes]]:
        raise AssertionError("read")

    truth = join([decision("a", 1, EXPLORER)], [summary("a", 1, PLAIN)], RULES, read, ASKED)
    assert "outcome heads" not in report(truth)


def test_the_heads_of_the_bundle_that_ships_are_asked() -> None:
    asked = asked_by(load_bundle(None).heads)
    assert asked["order_rest"] == ASKED["order_rest"]
    assert asked["exit_next"].absent
    assert "stage" not in asked
