"""Routes, guards and the decision record: the closed lists that the engine writes and everybody else reads.

Numbers are persisted in documents and exported in metrics: append, never reorder.
"""

from collections.abc import Iterator
from functools import cache
from typing import Final

import numpy as np

ROUTES: Final = (
    "act",  # the model was sure enough; an action of the stage is shown
    "fallback",  # not sure enough, or no rule of the stage applied; the stage's fallback chose an action
    "neutral",  # the same, and the neutral action is shown
    "held",  # another stage is likelier, but not clearly or for long enough: what holds stays
    "capped",  # every action that applied was withheld by a cap, a cool-down or its expiry
    "guarded",  # every action that applied was withheld by a guardrail
    "killed",  # a kill switch is on
    "holdout",  # an experiment keeps this shopper on the neutral action
    "bot",  # a bot is counted, not scored
    "ended",  # the session ended, or consent was withdrawn; nothing is shown
)
"""How a decision came about; the index is its code."""

ACT: Final = 0
FALLBACK: Final = 1
NEUTRAL: Final = 2
HELD: Final = 3
CAPPED: Final = 4
GUARDED: Final = 5
KILLED: Final = 6
HOLDOUT: Final = 7
BOT: Final = 8
ENDED: Final = 9

GUARDS: Final = (
    "low_confidence",
    "urgency_first_visit",
    "urgency_confidence",
    "session_persuasion_cap",
    "visitor_persuasion_cap",
    "action_session_cap",
    "action_visitor_cap",
    "cool_down",
    "offer_ended",
    "excluded_category",
    "action_killed",
    "all_killed",
    "holdout",
    "memory_full",
    "condition_lapsed",
)
"""What spoke against showing an action; a decision carries the set, the index is the bit."""

GUARD_WORDS: Final = (
    "the model was not sure enough to act",
    "no urgency for a first-time visitor",
    "not sure enough for urgency",
    "enough persuasion in this session",
    "enough persuasion for this visitor today",
    "this action was shown often enough in this session",
    "this action was shown often enough to this visitor",
    "this action is cooling down",
    "this offer has ended",
    "no persuasion in this category",
    "this action is switched off",
    "all actions are switched off",
    "this shopper is held out by an experiment",
    "too many different actions in one session",
    "the condition of this action does not hold any more",
)
"""The same in words for `reasons`, by the same index."""

LOW_CONFIDENCE: Final = 1 << 0
URGENCY_FIRST_VISIT: Final = 1 << 1
URGENCY_CONFIDENCE: Final = 1 << 2
SESSION_PERSUASION_CAP: Final = 1 << 3
VISITOR_PERSUASION_CAP: Final = 1 << 4
ACTION_SESSION_CAP: Final = 1 << 5
ACTION_VISITOR_CAP: Final = 1 << 6
COOL_DOWN: Final = 1 << 7
OFFER_ENDED: Final = 1 << 8
EXCLUDED_CATEGORY: Final = 1 << 9
ACTION_KILLED: Final = 1 << 10
ALL_KILLED: Final = 1 << 11
GUARD_HOLDOUT: Final = 1 << 12
MEMORY_FULL: Final = 1 << 13
CONDITION_LAPSED: Final = 1 << 14

STAGE_CHANGED: Final = 1
ACTION_CHANGED: Final = 2

NO_ACTION: Final = "none"
"""Name of action 0: show nothing."""

DECISION: Final = np.dtype(
    [
        ("confidence", "<f8"),  # the model's probability of `stage`
        ("offer_until", "<i8"),  # epoch ms at which the offer shown ends, 0 for none
        ("arms", "<u4"),  # four bits per experiment in file order: arm + 1, 0 for not enrolled
        ("action", "<u2"),  # index in the policy's action_names
        ("guards", "<u2"),  # set of GUARDS
        ("stage", "u1"),  # stage decided, after hysteresis
        ("top", "u1"),  # likeliest stage of the model, before hysteresis
        ("route", "u1"),  # index in ROUTES
        ("changed", "u1"),  # STAGE_CHANGED | ACTION_CHANGED against the session's previous decision
        ("rule", "<u2"),  # the rule that chose the action, numbered from 1 over all stages; 0 for none
    ]
)
"""One row a decision."""


def guard_names(bits: int) -> Iterator[str]:
    """The names of the guards in the set ``bits``."""
    return (name for i, name in enumerate(GUARDS) if bits >> i & 1)


@cache
def guard_words(bits: int) -> tuple[str, ...]:
    """The guards in the set ``bits``, in words."""
    return tuple(words for i, words in enumerate(GUARD_WORDS) if bits >> i & 1)
