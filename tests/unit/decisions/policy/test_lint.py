"""The linter finds what it promises and leaves honest policies alone."""

from pathlib import Path
from typing import Any

import pytest

from decisions.policy import Policy
from decisions.policy.lint import CODES, lint, lint_text, report
from decisions.shipped import load_bundle
from models.heads.scoring import Names, OutputNames
from tests.unit.decisions.policy.policy_cases import policy_text

PRESETS = sorted((Path(__file__).parents[4] / "deploy" / "policies").glob("*.yaml"))
NO_SEGMENTS = Names([OutputNames(("order_before_cart",), before_cart=True)])
"""What policies may name of a bundle with the stage and one head, and without segments."""
PUSH = {"persuasive": True, "urgency": True}


def stages(*rules: dict[str, Any], **others: Any) -> dict[str, Any]:
    """All four stages, Explorer with these rules."""
    panel = {"rules": [{"show": "panel"}]}
    return {
        "Explorer": {"rules": list(rules)},
        "Evaluator": panel,
        "Intent Buyer": panel,
        "Drop-Off Risk": panel,
        **others,
    }


def actions(**more: dict[str, Any]) -> dict[str, Any]:
    return {"panel": {"label": "Panel"}} | more


def with_offer(**offer: Any) -> str:
    return policy_text(actions=actions(x={"label": "Offer"} | offer), stages=stages({"show": "x"}))


def arms(**replace: str) -> dict[str, Any]:
    return {"control": {"share": 0.5}, "other": {"share": 0.5, "replace": replace}}


FOUND = {
    "refused": policy_text(neutral="nowhere"),
    "fake-scarcity": with_offer(label="Only 3 left, hurry up!"),
    "vague-urgency": with_offer(label="Hurry, this offer ends soon"),
    "endless-urgency": with_offer(**PUSH),
    "unlimited-persuasion": policy_text(
        actions=actions(x={"label": "x", "persuasive": True}),
        stages=stages({"show": "x"}),
        guardrails={"persuasive_per_session": None},
    ),
    "urgency-on-first-visit": policy_text(
        actions=actions(x=PUSH | {"label": "x", "offer_minutes": 5}),
        stages=stages({"show": "x"}),
        guardrails={"urgency_for_first_time_visitors": True},
    ),
    "urgency-on-doubt": policy_text(
        actions=actions(x=PUSH | {"label": "x", "offer_minutes": 5}),
        stages=stages({"show": "x"}),
        guardrails={"urgency_min_confidence": 0.6},
    ),
    "discount-escalation": policy_text(
        actions=actions(
            small={"label": "5 %", "persuasive": True, "discount_percent": 5},
            large={"label": "20 %", "persuasive": True, "discount_percent": 20},
        ),
        stages=stages({"show": "large", "when": "idle_time > 60"}, {"show": "small"}),
    ),
    "unreachable-rule": policy_text(
        actions=actions(x={"label": "x"}), stages=stages({"show": "x"}, {"show": "panel", "when": "pages_viewed > 3"})
    ),
    "stage-without-action": policy_text(),
    "unused-action": policy_text(actions=actions(x={"label": "x"}), stages=stages({"show": "panel"})),
    "low-threshold": policy_text(
        actions=actions(), stages=stages(Evaluator={"threshold": 0.3, "rules": [{"show": "panel"}]})
    ),
    "never-acts": policy_text(
        actions=actions(), stages=stages(Evaluator={"threshold": 1.0, "rules": [{"show": "panel"}]})
    ),
    "persuasion-on-doubt": policy_text(
        actions=actions(x={"label": "x", "persuasive": True}),
        stages=stages({"show": "x"}, Evaluator={"rules": [{"show": "panel"}], "fallback": "Explorer"}),
    ),
    "no-comparison": policy_text(
        experiments={
            "e": {
                "arms": {
                    "a": {"share": 0.5, "replace": {"banner": "panel"}},
                    "b": {"share": 0.5, "replace": {"panel": "banner"}},
                }
            }
        }
    ),
    "overlapping-experiments": policy_text(
        experiments={"one": {"arms": arms(banner="panel")}, "two": {"arms": arms(banner="none")}}
    ),
    "everybody-held-out": policy_text(
        experiments={"e": {"arms": {"holdout": {"share": 0.9, "holdout": True}, "shown": {"share": 0.1}}}}
    ),
}


FOUND |= {
    "overlapping-holdout": policy_text(
        experiments={
            "one": {"arms": {"holdout": {"share": 0.1, "holdout": True}, "shown": {"share": 0.9}}},
            "two": {"arms": arms(banner="panel")},
        }
    ),
    "label-contradicts": with_offer(label="15 % off", persuasive=True, discount_percent=10),
    "odd-discount": with_offer(label="All free", persuasive=True, discount_percent=100),
    "milliseconds": policy_text(stages=stages({"show": "panel", "when": "session_duration >= 60000"})),
    "amount-without-currency": policy_text(stages=stages({"show": "panel", "when": "cart_value >= 60"})),
    "unknown-currency": policy_text(currency="EUE"),
    "unknown-segment": policy_text(stages=stages({"show": "panel", "when": "earlier_segment == buyers"})),
    "never-known": policy_text(
        stages=stages(**{"Intent Buyer": {"rules": [{"show": "panel", "when": "order_before_cart >= 0.2"}]}})
    ),
    "percent-for-share": policy_text(stages=stages({"show": "panel", "when": "bounce_rate >= 50"})),
}
AGAINST = {"moved-arms", "changed-arm", "older-salt"}


@pytest.mark.parametrize("code", sorted(CODES.keys() - AGAINST))
def test_every_code_has_a_policy_that_earns_it(code: str) -> None:
    assert code in {f.code for f in lint_text(FOUND[code], outputs=NO_SEGMENTS)}


@pytest.mark.parametrize(
    ("when", "found"),
    [
        ("order_before_cart >= 0.2", False),
        ("order_before_cart >= 0.2 and cart_value >= 0", False),
        ("order_before_cart >= 0.2 and cart_items == 0", False),
        ("order_before_cart >= 0.2 and cart_items < 2", False),
        ("order_before_cart >= 0.2 and cart_items > 0", True),
        ("cart_value >= 60 and order_before_cart >= 0.2", True),
        ("order_before_cart >= 0.2 and cart_additions in [1, 2]", True),
    ],
)
def test_what_is_known_without_a_cart_is_not_asked_of_one(when: str, found: bool) -> None:
    """In other stages than Intent Buyer only a rule that asks for a cart as well meets nobody."""
    text = policy_text(currency="EUR", stages=stages({"show": "panel", "when": when}, {"show": "panel"}))
    findings = [f for f in lint_text(text, outputs=NO_SEGMENTS) if f.code == "never-known"]
    assert bool(findings) == found
    assert all("Ask `order_rest` here" in f.message for f in findings)


@pytest.mark.parametrize("path", PRESETS, ids=lambda p: p.stem)
def test_the_presets_load_and_lint_clean(path: Path) -> None:
    """With the bundle that ships, whose segments one of them names."""
    names = load_bundle(None).names
    assert lint(path, names) == []
    text, clean = report(path, names)
    assert clean
    assert Policy.from_file(path).hash in text


def test_there_are_six_presets() -> None:
    assert [p.stem for p in PRESETS] == ["default", "electronics", "fashion", "grocery", "segments", "travel"]


@pytest.mark.parametrize(
    "label",
    [
        "Only 2 left!", "Just 5 remaining", "3 in stock", "12 people are viewing this", "Selling fast", "Almost gone",
        "Last chance", "In high demand", "Only 4 rooms left",
    ],
)  # fmt: skip
def test_claims_of_scarcity_are_found(label: str) -> None:
    assert "fake-scarcity" in {f.code for f in lint_text(with_offer(label=label))}


@pytest.mark.parametrize(
    "label", ["10 % off, valid for 15 minutes", "Your basket is what you left", "In stock in size 38"]
)
def test_honest_labels_are_left_alone(label: str) -> None:
    assert lint_text(with_offer(label=label)) == []


def test_findings_carry_the_line_of_what_they_are_about() -> None:
    text = with_offer(label="Only 3 left")
    [finding] = lint_text(text)
    assert "Only 3 left" in text.splitlines()[finding.line - 1]


def test_a_rule_after_one_that_may_be_withheld_is_reachable() -> None:
    text = policy_text(
        actions=actions(x={"label": "x", "persuasive": True, "max_per_session": 1}),
        stages=stages({"show": "x"}, {"show": "panel"}),
    )
    assert lint_text(text) == []


@pytest.mark.parametrize(
    ("first", "second", "reachable"),
    [
        ("pages_viewed >= 3", "pages_viewed >= 5", False),
        ("pages_viewed >= 5", "pages_viewed >= 3", True),
        ("device in [mobile, tablet]", "device == mobile", False),
        ("device == mobile", "device in [mobile, tablet]", True),
        ("pages_viewed > 3 and device == mobile", "pages_viewed > 3", True),
        ("idle_time < 9", "idle_time < 3 and device == mobile", False),
        ("purchases == 0", "cart_items > 5 and cart_items < 3", False),
        ("purchases == 0", "device == mobile and device == tablet", False),
    ],
)
def test_reach_follows_from_the_conditions(first: str, second: str, reachable: bool) -> None:
    text = policy_text(
        actions=actions(x={"label": "x"}),
        stages=stages({"show": "x", "when": first}, {"show": "panel", "when": second}),
    )
    assert ("unreachable-rule" not in {f.code for f in lint_text(text)}) is reachable


def test_discounts_that_do_not_grow_are_left_alone() -> None:
    deal = {"label": "10 %", "persuasive": True, "discount_percent": 10, "max_per_session": 1}
    text = policy_text(actions=actions(x=deal), stages=stages({"show": "x", "when": "idle_time > 60"}, {"show": "x"}))
    assert lint_text(text) == []


def test_a_larger_discount_for_going_silent_is_found() -> None:
    deal = {"label": "x", "persuasive": True, "max_per_session": 1}
    text = policy_text(
        actions=actions(five=deal | {"discount_percent": 5}, ten=deal | {"discount_percent": 10}),
        stages=stages({"show": "five"}, **{"Drop-Off Risk": {"rules": [{"show": "ten"}]}}),
    )
    assert [f.code for f in lint_text(text)] == ["discount-escalation"]


@pytest.mark.parametrize(
    ("offer", "message"),
    [
        ({"label": "12,5 percent off", "discount_percent": 10}, "the label says 12.5 %, `discount_percent` is 10"),
        ({"label": "20% off today"}, "the label says 20 %, the action grants none"),
        ({"label": "Held for 2 hours", "offer_minutes": 15}, "the label says 120 minutes, `offer_minutes` is 15"),
        ({"label": "A tenth off", "discount_percent": 0.1}, "write 10 for 10 %"),
    ],
)
def test_a_label_says_what_the_action_grants(offer: dict[str, Any], message: str) -> None:
    assert any(message in finding.message for finding in lint_text(with_offer(persuasive=True, **offer)))


@pytest.mark.parametrize(
    ("condition", "remedy"),
    [
        ("session_duration >= 60000", "write 60 for 60 s"),
        ("idle_time > 30000", "write 30 for 30 s"),
        ("time_between_clicks in [5, 20000]", "write 20 for 20 s"),
        ("stage.intent_buyer >= 70", "write 0.7"),
    ],
)
def test_a_number_in_another_unit_is_found(condition: str, remedy: str) -> None:
    text = policy_text(stages=stages({"show": "panel", "when": condition}))
    outputs = (("stage.intent_buyer",),)
    assert [remedy in f.message for f in lint_text(text, outputs=outputs) if f.code != "unused-action"] == [True]


@pytest.mark.parametrize(
    ("parts", "share"),
    [
        (
            {"experiments": {"e": {"arms": arms(), "share": 80}}},
            "experiments.e.share: a share is a number between 0 and 1; write 0.8",
        ),
        ({"stages": {"Explorer": {"threshold": "70%"}}}, "write 0.7"),
        ({"hysteresis": {"margin": "0,5"}}, "write 0.5"),
        ({"guardrails": {"urgency_min_confidence": 90.0}}, "write 0.9"),
    ],
)
def test_a_percentage_for_a_share_is_refused_with_the_share(parts: dict[str, Any], share: str) -> None:
    """And so is one in quotes; -3 and 800 mean nothing, so nothing is proposed for them."""
    [finding] = lint_text(policy_text(**parts))
    assert finding.message.endswith(share)
    [finding] = lint_text(policy_text(hysteresis={"margin": 800}))
    assert "write" not in finding.message


def test_conditions_may_name_the_heads_of_the_bundle() -> None:
    text = policy_text(stages=stages({"show": "banner", "when": "order_rest >= 0.2"}, {"show": "panel"}))
    assert [f.code for f in lint_text(text)] == ["refused"]
    assert lint_text(text, outputs=(("stage.explorer",), ("order_rest",))) == []
