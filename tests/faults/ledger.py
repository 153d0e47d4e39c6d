"""The result of every fault: a printed table and ``out/faults.json``."""

import json
import os
from pathlib import Path

import msgspec

OUT_VARIABLE = "CLICKSTAGE_TEST_FAULTS_OUT"
OUT = Path(os.environ.get(OUT_VARIABLE) or Path(__file__).parents[2] / "out" / "faults.json")


class Row(msgspec.Struct):
    """What one fault did, at one seed.

    Attributes:
        fault: name, number in the plan, and variant.
        injected: how often.
        events: distinct events sent.
        lost: events that no session counted.
        doubled: events that a session counted twice.
        differing: decisions and summaries that are missing, too many or other than the batch recompute's.
        repeated: documents found again, equal: allowed, told for information.
        recovery_s: from the end of the fault until all that had been sent by then was applied.
    """

    fault: str
    seed: int
    injected: int
    events: int
    lost: int
    doubled: int
    differing: int
    repeated: int
    recovery_s: float


def write_json(rows: list[Row], path: Path = OUT) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([msgspec.to_builtins(row) for row in rows], indent=1) + "\n")


def table(rows: list[Row]) -> str:
    """The rows for people."""
    head = (
        f"{'fault':<46}{'seed':>5}{'times':>6}{'events':>8}{'lost':>6}{'doubled':>8}{'differing':>10}{'repeated':>9}"
        f"{'recovery s':>11}"
    )
    return "\n".join(
        [
            head,
            *(
                f"{r.fault:<46}{r.seed:>5}{r.injected:>6}{r.events:>8}{r.lost:>6}{r.doubled:>8}{r.differing:>10}"
                f"{r.repeated:>9}{r.recovery_s:>11.1f}"
                for r in rows
            ),
        ]
    )
