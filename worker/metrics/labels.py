"""Values of metrics' labels, and the bounds of histograms: closed sets, so that no series is named by what comes in.

An axis that could meet an unknown value ends in ``other``. Axes whose values a bundle or a policy file decides (bins,
actions, arms) are `OPEN`: that file bounds them.
"""

from typing import Final

from featurestore.contract.event import REASONS
from featurestore.session.stages import STAGES

OTHER: Final = "other"
OPEN: Final[tuple[str, ...]] = ()

#: What the loop's time goes to. ``score`` is fold, score, decide and encode: one stretch of compiled code.
STEPS: Final = ("decode", "load", "score", "write", "flush", OTHER)

#: What became of a record read from Kafka. Exactly one per record.
OUTCOMES: Final = (
    "applied",
    "duplicate",
    "bot",
    "historic",
    "consent_withdrawn",
    "after_withdrawal",
    "dead_letter",
    "already_applied",
    OTHER,
)

#: Who put a record where it does not belong, as far as its place tells.
PARTITIONERS: Final = ("librdkafka_default", "other")

#: Why a record went to the dead letters.
DEAD_LETTER_REASONS: Final = (*REASONS, "output_too_large")

TIMER_KINDS: Final = ("silence", "end")
STORE_OPS: Final = ("load", "write", "verify", "epoch", "timers", "visitors", "erase", OTHER)
REWIND_CAUSES: Final = (
    "assigned",
    "store_went_back",
    "store_lost",
    "fenced",
    "unknown_outcome",
    "log_gap",
    "topic_recreated",
    "output_refused",
    "operator",
    OTHER,
)
SESSION_OUTCOMES: Final = ("bought", "abandoned_cart", "browsed")
RECOVERY_OUTCOMES: Final = ("bought", "returned", "lost")
RELOAD_OUTCOMES: Final = ("ok", "refused")
#: The stage of a finished session that never had a decision (a bot, or consent withdrawn at once).
STAGES_OR_NONE: Final = (*STAGES, "none")

#: Currencies of order values before any was seen. Orders add those of ISO 4217 that they name; the rest is ``other``.
CURRENCIES_AT_FIRST: Final = ("none", OTHER)

#: Bounds of `event_to_decision_seconds`; 0.01 and 0.05 are the objectives and must stay.
LATENCY_BOUNDS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
#: Bounds of `event_clock_skew_seconds`: an hour, five minutes, a minute, ten seconds and one, fast or slow.
SKEW_BOUNDS_S: Final = (-3600.0, -300.0, -60.0, -10.0, -1.0, 1.0, 10.0, 60.0, 300.0, 3600.0)
#: Bounds of `batch_seconds`.
STEP_BOUNDS_S: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
#: Bounds of `batch_events`.
BATCH_BOUNDS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)
