"""What the linter says about conditions on what is only known while the cart is empty, where the cart is not."""

from collections.abc import Iterator
from typing import Final

from decisions.policy.conditions import TOP, Condition, HeadOutputs
from decisions.policy.model import PolicyFile
from decisions.policy.source import Path
from featurestore.session.stages import INTENT_BUYER, STAGES
from models.heads.scoring import OutputNames

FILLED: Final = ("cart_additions", "cart_items", "cart_value")
"""Whoever has more than nothing of these has put something into the cart."""


def before_cart(policy: PolicyFile, outputs: HeadOutputs) -> Iterator[tuple[Path, str, str]]:
    """Conditions that no shopper meets, since the head that they ask has no answer for one with a cart.

    Args:
        policy: that was loaded.
        outputs: of the bundle's heads.
    """
    early = {name for names in outputs if isinstance(names, OutputNames) and names.before_cart for name in names}
    for stage, entry in policy.stages.items():
        for i, rule in enumerate(entry.rules):
            conditions = rule.conditions()
            why = f"who is an {stage} has" if stage == STAGES[INTENT_BUYER] else _asks_for_a_cart(conditions)
            for condition in conditions if why else ():
                name = condition.variable.removesuffix(TOP)
                if name in early:
                    message = (
                        f"{condition}: {name} is known until something is put into the cart, and {why}; nobody meets "
                        f"this. Ask `order_rest` here, or move the rule to {STAGES[0]} or {STAGES[1]}"
                    )
                    yield ("stages", stage, "rules", i, "when"), "never-known", message


def _asks_for_a_cart(conditions: tuple[Condition, ...]) -> str:
    for condition in conditions:
        least = min(condition.values)
        more = least >= 0 if condition.operator == ">" else least > 0 and condition.operator in {">=", "==", "in"}
        if condition.variable in FILLED and more:
            return f"`{condition}` asks for that"
    return ""
