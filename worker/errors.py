"""Exit codes: what a supervisor and an on-call engineer go by. RUNBOOK.md says what to do for each."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    USAGE = 2  # a setting or an argument is missing or wrong
    BUNDLE = 3  # the model bundle was refused
    POLICY = 4  # the policy file was refused
    STUCK = 6  # no progress while the log grows
    UNSAFE = 7  # Kafka or Redis cannot be reached at start, or void the promise
    SHUTDOWN = 8  # shutdown overran its time
    CHECK = 9  # a self-check found a difference, or nothing is known of the session that was asked for
    PORT = 10  # a port to listen at is taken
    REMARKS = 11  # the policy file can be used, and the linter has remarks
    INTERNAL = 70  # a bug
