"""The four stages of the journey. The numbers are persisted and never renumbered."""

from typing import Final

STAGES: Final = ("Explorer", "Evaluator", "Intent Buyer", "Drop-Off Risk")

EXPLORER: Final = 0
EVALUATOR: Final = 1
INTENT_BUYER: Final = 2
DROP_OFF_RISK: Final = 3
