"""``head in top 20 %``: a condition on the rank of a shopper, by the tenths of the training log."""

import pytest

from decisions.policy.compile import compile_policy
from decisions.policy.conditions import Condition, ConditionError, compared, parse_conditions
from decisions.policy.model import load
from decisions.shipped import load_bundle
from models.heads.scoring import OutputNames

TENTHS = [0.01, 0.02, 0.03, 0.05, 0.08, 0.13, 0.21, 0.34, 0.55]
OUTPUTS = (OutputNames(("order_rest", "order_rest.yes"), TENTHS), OutputNames(("segment.loyal",)))

POLICY = """version: 1
actions:
  banner: {{label: Banner}}
stages:
  Explorer:
    rules:
      - show: banner
        when: {when}
"""


def one(text: str) -> Condition:
    [condition] = parse_conditions(text, OUTPUTS)
    return condition


@pytest.mark.parametrize(("percent", "limit"), [(10, 0.55), (20, 0.34), (50, 0.08), (90, 0.01)])
@pytest.mark.parametrize("form", ["{} %", "{}%"])
def test_the_top_begins_at_the_tenth(percent: int, limit: float, form: str) -> None:
    condition = one(f"order_rest in top {form.format(percent)}")
    assert compared(condition, OUTPUTS) == ("order_rest", (limit,))
    assert str(condition) == f"order_rest in top {percent} %"
    assert one(str(condition)) == condition


def test_a_policy_with_it_is_the_policy_with_the_limit() -> None:
    """The worker compares with a number; nothing is ranked at run time."""
    ranked, plain = (
        compile_policy(load(POLICY.format(when=when), "p.yaml", OUTPUTS)[0], OUTPUTS)
        for when in ("order_rest in top 20 % and pages_viewed >= 2", "order_rest >= 0.34 and pages_viewed >= 2")
    )
    assert ranked.tobytes() == plain.tobytes()


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("order_rest in top 25 %", "top takes 10 %, 20 %"),
        ("order_rest in top", "expected a percentage after top"),
        ("order_rest in top 20", "top takes"),
        ("segment.loyal in top 20 %", "has no tenths, so it has no top; known are order_rest"),
        ("pages_viewed in top 20 %", "has no tenths"),
        ("order_res in top 20 %", "did you mean"),
    ],
)
def test_what_cannot_be_ranked_is_refused(text: str, remedy: str) -> None:
    with pytest.raises(ConditionError, match=remedy):
        one(text)


def test_every_outcome_head_that_ships_has_a_top() -> None:
    names = load_bundle(None).heads.variables
    ranked = [output[0] for output in names if output.tenths]
    assert ranked == ["add_rest", "order_rest", "checkout_rest", "exit_next", "order_before_cart"]
    for name in ranked:
        parse_conditions(f"{name} in top 10 %", names)
