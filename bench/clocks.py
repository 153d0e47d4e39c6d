"""What wrong clocks do to silence: simulated shoppers, their devices' clocks off by up to five minutes.

python -m bench.clocks [--sessions 4000]

The same clicks arrive at the same times; only ``ts`` differs. A silence is false where a shopper's clock alone brings
it about: it is decided with the wrong clock and not with the right one. Reported of all gaps between interactions.
"""

import argparse
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.context import Context, Samples
from bench.journeys import MINUTES_31, simulated
from featurestore.session.fold import FoldConfig, empty_states, fold, ticks
from featurestore.session.observation import SILENCE
from featurestore.session.visitors import PROFILE

WRONG_MS: Final = 300_000
"""Clocks are off by up to this, fast or slow, evenly."""
SEED: Final = 20


def silences(events: NDArray[np.void], sessions: int) -> tuple[NDArray[np.int64], int]:
    """How many silences each session has, shape (sessions,), and how many gaps there are between interactions."""
    states, profiles = empty_states(sessions), np.zeros(sessions, PROFILE)
    states["session"] = np.arange(1, sessions + 1)
    last = int(events["arrival"].max()) + MINUTES_31
    seen = [fold(states, profiles, part, FoldConfig()).rows for part in (events, ticks(list(range(sessions)), last))]
    rows = np.concatenate(seen)
    silent = rows["kind"] == SILENCE
    return np.bincount(rows["session_index"][silent], minlength=sessions), int(events.size - sessions)


def measure(sessions: int, seed: int = SEED, *, sent_ts: bool = False) -> dict[str, float]:
    """Silences of one fleet with right and with wrong clocks."""
    clicks = simulated(sessions, seed)
    right, gaps = silences(clicks.events, clicks.sessions)
    wrong_clock = clicks.events.copy()
    off = np.random.default_rng(seed).integers(-WRONG_MS, WRONG_MS + 1, clicks.sessions)
    wrong_clock["t"] += off[wrong_clock["session_index"]]
    if sent_ts:
        wrong_clock["sent"] = wrong_clock["arrival"] + off[wrong_clock["session_index"]]
    wrong, _ = silences(wrong_clock, clicks.sessions)
    false = int(np.maximum(wrong - right, 0).sum())
    missed = int(np.maximum(right - wrong, 0).sum())
    return {"gaps": gaps, "silences": int(right.sum()), "false": false, "missed": missed, "false_share": false / gaps}


def clocks(context: Context) -> Samples:
    """``clocks``: false and missed silences of a fleet with wrong clocks."""
    samples: Samples = {}
    for name, sent_ts in (("ts_alone", False), ("sent_ts", True)):
        figures = measure(context.size(20_000), sent_ts=sent_ts)
        samples |= {f"{name}.{figure}": [float(value)] for figure, value in figures.items()}
    return samples


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=4_000)
    options = parser.parse_args()
    for name, sent_ts in (("ts alone", False), ("with sent_ts", True)):
        figures = measure(options.sessions, sent_ts=sent_ts)
        words = ", ".join(f"{value:,.0f} {figure}" for figure, value in figures.items() if figure != "false_share")
        print(f"{name}: {words}; {figures['false_share']:.3%} of gaps are a false silence")


if __name__ == "__main__":
    main()
