"""knobs: PSI of every feature under every drift knob of the simulator, for docs/simulator.md.

python bench/knobs.py [--factor 2]
"""

import argparse

import numpy as np

from featurestore.session.features import FEATURES
from models.bundle.baseline import Baseline
from models.rules import StageRules
from models.simulator.knobs import KNOBS
from models.simulator.simulator import SimConfig, simulate
from models.training.dataset import Rows, record


def steady_rows(config: SimConfig) -> Rows:
    """Rows of the sessions after the first 30 %: by then the regulars have a history."""
    recording = record(simulate(config), StageRules())
    late = recording.started > np.quantile(recording.started, 0.3)
    return recording.live.take(late[recording.live.session])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--factor", type=float, action="append")
    parser.add_argument("--sessions", type=int, default=6_000)
    options = parser.parse_args()
    steady = SimConfig(sessions=options.sessions, seed=1, sessions_per_s=0.25)
    rows = steady_rows(steady.model_copy(update={"sessions": 2 * options.sessions}))
    baseline = Baseline.from_training(rows.X, rows.stages)
    print("| knob | " + " | ".join(f"`{feature}`" for feature in FEATURES) + " |")
    print("|---|" + "---|" * len(FEATURES))
    for factor in options.factor or [2.0]:
        for knob in (None, *KNOBS):
            drift = {} if knob is None else {knob: factor}
            psi = baseline.psi_of(steady_rows(steady.model_copy(update={"seed": 2, "drift": drift})).X)
            cells = (f"**{v:.2f}**" if v > 0.25 else f"{v:.2f}" for v in psi)
            print(f"| {'none' if knob is None else f'{knob}={factor:g}'} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
