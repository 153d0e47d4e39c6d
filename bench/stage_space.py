"""stage_space: how right the stage is on the whole space of the rules, by how many such rows it was trained on.

python -m bench.stage_space [--shares 0 0.5 1]

Trains the stage as it ships (12,000 simulated sessions) for each share and asks it about 40,000 rows that no training
uses. *Far*: not within a tenth of a threshold. *Sure and wrong*: of the rows with a confidence of 0.7 and more.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Final

from models.rules import StageRules
from models.simulator.simulator import simulate
from models.training.dataset import record
from models.training.space import near_threshold, space_rows
from models.training.train import TrainConfig, filled, train_on

ROWS: Final = 40_000
SEED: Final = 987_654
SURE: Final = 0.7


def main(arguments: Sequence[str]) -> None:
    """Print one line a share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    options = parser.parse_args(arguments)
    rules, config = StageRules(), TrainConfig()
    recording = record(simulate(config.simulation()), rules)
    X = space_rows(rules, ROWS, SEED)
    truth, far = rules.label(X), ~near_threshold(X, rules, 0.1)
    print(
        "| space rows | fit | simulated shoppers, later sessions | far rows right | all rows right | sure and wrong |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    for share in options.shares:
        begin = time.perf_counter()
        trained = train_on(recording, config.model_copy(update={"space": share}), rules)
        seconds = time.perf_counter() - begin
        scores = trained.forest.predict(filled(X, trained.medians))
        right, sure = scores.argmax(axis=1) == truth, scores.max(axis=1) >= SURE
        cells = (
            f"{share:g} of the shoppers'",
            f"{seconds:.0f} s",
            f"{trained.held_out['accuracy']:.2%}",
            f"{right[far].mean():.2%}",
            f"{right.mean():.2%}",
            f"{(sure & ~right).sum() / sure.sum():.2%}",
        )
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
