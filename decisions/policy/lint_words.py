"""What the linter says about labels: claims, pressure, and promises that the action does not keep."""

import re
from collections.abc import Iterator
from typing import Final

from decisions.policy.model import PolicyFile
from decisions.policy.source import Path

SCARCITY: Final = (
    "only a few",
    "almost gone",
    "almost sold out",
    "nearly gone",
    "selling fast",
    "going fast",
    "in high demand",
    "high demand",
    "last one",
    "last chance",
    "last pieces",
    "limited stock",
    "low stock",
    "while stocks last",
    "before it's gone",
    "before it is gone",
    "people are viewing",
    "people are looking",
    "others are viewing",
    "just bought",
)
"""Claims about stock and other shoppers: nothing in Clickstage knows either."""

HURRY: Final = (
    "hurry",
    "act now",
    "now or never",
    "don't miss",
    "do not miss",
    "ends soon",
    "expires soon",
    "today only",
)
"""Time pressure without a time."""

_PERCENT: Final = re.compile(r"(\d{1,4}(?:[.,]\d{1,3})?)\s?(?:%|percent\b)")
_MINUTES: Final = re.compile(r"(\d{1,5}(?:[.,]\d{1,3})?)[\s-]?(min(?:ute)?s?\b|hours?\b|hrs?\b|h\b)")


def wording(policy: PolicyFile) -> Iterator[tuple[Path, str, str]]:
    """Claims that nothing here can know, and pressure without a time."""
    for name, action in policy.actions.items():
        label = " ".join(action.label.lower().replace("\u2019", "'").split())
        at: Path = ("actions", name, "label")
        claims = [words for words in SCARCITY if words in label]
        if not claims:
            claims = _only_n_left(label)
        if claims:
            yield at, "fake-scarcity", f"{claims[0]!r} is a claim that nothing here can know to be true; leave it out"
        pressing = [words for words in HURRY if words in label]
        if pressing and action.offer_minutes is None:
            yield (
                at,
                "vague-urgency",
                f"{pressing[0]!r} without a real end; set `offer_minutes` and say it, or leave it out",
            )


def _only_n_left(label: str) -> list[str]:
    """``only 3 left``, ``2 in stock``, ``just 5 remaining``, ``4 rooms left`` and the like."""
    words = label.replace(",", " ").replace("!", " ").replace(".", " ").split()
    for i, word in enumerate(words):
        one, two = (*words[i + 1 : i + 3], "", "")[:2]
        if word.isdigit() and one in {"left", "remaining"}:
            return [" ".join(words[max(i - 1, 0) : i + 2])]
        if word.isdigit() and (two == "left" or (one, two) == ("in", "stock")):
            return [" ".join(words[max(i - 1, 0) : i + 3])]
    return []


def promises(policy: PolicyFile) -> Iterator[tuple[Path, str, str]]:
    """Discounts and times of labels against those that the action grants."""
    for name, action in policy.actions.items():
        at: Path = ("actions", name)
        label = action.label.lower()
        percents = [_number(text) for text in _PERCENT.findall(label)]
        granted = action.discount_percent
        if granted is None and percents and action.persuasive:
            yield (
                (*at, "label"),
                "label-contradicts",
                f"the label says {percents[0]:g} %, the action grants none; set `discount_percent: {percents[0]:g}`",
            )
        elif granted is not None and percents and granted not in percents:
            yield (
                (*at, "label"),
                "label-contradicts",
                f"the label says {percents[0]:g} %, `discount_percent` is {granted:g}; make them equal",
            )
        minutes = [_number(n) * (1 if unit.startswith("min") else 60) for n, unit in _MINUTES.findall(label)]
        if action.offer_minutes is not None and minutes and action.offer_minutes not in minutes:
            yield (
                (*at, "label"),
                "label-contradicts",
                f"the label says {minutes[0]:g} minutes, `offer_minutes` is {action.offer_minutes:g}; make them equal",
            )
        if granted is not None and granted >= 100:
            yield (*at, "discount_percent"), "odd-discount", "100 % gives the basket away; write 10 for 10 %"
        elif granted is not None and granted <= 1:
            yield (
                (*at, "discount_percent"),
                "odd-discount",
                f"{granted:g} is {granted:g} %; write {granted * 100:g} for {granted * 100:g} %",
            )


def _number(text: str) -> float:
    return float(text.replace(",", "."))
