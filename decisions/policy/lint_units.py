"""What the linter says about numbers in conditions that are in another unit than the variable, or in none."""

from collections.abc import Iterator
from typing import Final

from decisions.policy.conditions import suggest
from decisions.policy.model import PolicyFile
from decisions.policy.source import Path
from featurestore.contract.currencies import CURRENCIES

LONGEST_S: Final = {"session_duration": 6 * 3600.0, "idle_time": 1800.0, "time_between_clicks": 1800.0}
"""Seconds that hardly any session reaches (30 quiet minutes end one): a larger number is in milliseconds."""

_SHARES: Final = ("bounce_rate", "stage.explorer", "stage.evaluator", "stage.intent_buyer", "stage.drop_off_risk")


def units(policy: PolicyFile) -> Iterator[tuple[Path, str, str]]:
    """Milliseconds where seconds are compared, percent where a share is, amounts of no currency."""
    for stage, entry in policy.stages.items():
        for i, rule in enumerate(entry.rules):
            for condition in rule.conditions():
                at: Path = ("stages", stage, "rules", i, "when")
                value = max(condition.values)
                if condition.variable == "cart_value" and not policy.currency:
                    yield at, "amount-without-currency", f"{condition}: of which currency? Set `currency:`, like EUR"
                if value > LONGEST_S.get(condition.variable, value):
                    remedy = f"times are in seconds, write {value / 1000:g} for {_span(value / 1000)}"
                    yield at, "milliseconds", f"{condition}: that is {_span(value)}; {remedy}"
                if condition.variable in _SHARES and value > 1:
                    yield at, "percent-for-share", f"{condition}: a share is between 0 and 1; write {value / 100:g}"


def currencies(policy: PolicyFile) -> Iterator[tuple[Path, str, str]]:
    """A currency that ISO 4217 does not have: no session would be in it."""
    if policy.currency and policy.currency not in CURRENCIES:
        yield (
            ("currency",),
            "unknown-currency",
            f"{policy.currency} is no code of ISO 4217{suggest(policy.currency, CURRENCIES)}",
        )


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
