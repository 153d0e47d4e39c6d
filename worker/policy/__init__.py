"""From a stage to what the front end shows: marketing's policy file, checked, compiled and applied."""

from worker.policy.model import PolicyFile
from worker.policy.policy import Policy
from worker.policy.source import PolicyFileError, Problem
from worker.policy.vocabulary import DECISION, GUARD_WORDS, GUARDS, NO_ACTION, ROUTES, guard_names, guard_words
from worker.policy.watcher import PolicyWatcher

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
