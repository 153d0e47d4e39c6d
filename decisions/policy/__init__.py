"""From a stage to what the front end shows: marketing's policy file, checked, compiled and applied."""

from decisions.policy.model import PolicyFile
from decisions.policy.policy import Policy
from decisions.policy.source import PolicyFileError, Problem
from decisions.policy.vocabulary import DECISION, GUARD_WORDS, GUARDS, NO_ACTION, ROUTES, guard_names, guard_words
from decisions.policy.watcher import PolicyWatcher

__all__ = [
    "DECISION",
    "GUARDS",
    "GUARD_WORDS",
    "NO_ACTION",
    "ROUTES",
    "Policy",
    "PolicyFile",
    "PolicyFileError",
    "PolicyWatcher",
    "Problem",
    "guard_names",
    "guard_words",
]
