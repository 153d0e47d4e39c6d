"""A shop whose shoppers live five times as fast: rules and a bundle for tests that wait for stages.

The rules are the product's own setting, and so is a stage that is the rules themselves. What the story takes at a
shopper's pace, with the model that ships, runs every night.
"""

from pathlib import Path
from typing import Final

from models.rules import StageRules
from models.simulator.simulator import SimConfig, simulate
from models.training.command import train_bundle
from models.training.rule_tree import RULES
from models.training.train import TrainConfig

SPEED: Final = 5
QUICK: Final = StageRules(
    idle_s=6.0,
    idle_mean_s=6.6,
    idle_after_s=15.0,  # longer than a busy machine takes to show a page
    engagement_below_per_s=15.0,
    short_session_s=180.0,
    evaluator_duration_s=25.0,
    gap_cap_s=120.0,
)


def quick_bundle(directory: Path) -> Path:
    """A bundle of these rules, with outcomes of as quick a shop."""
    events = [event for chunk in simulate(SimConfig(sessions=2_000, seed=7, speed=SPEED)) for event in chunk]
    config = TrainConfig(model=RULES, name="quick", bounce_rate=0.3)
    path, _ = train_bundle(config, QUICK, directory, created="2026-01-01", events=events)
    return path
