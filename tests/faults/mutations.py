"""Takes one part of the protocol out at a time; a named test must then fail: ``python -m tests.faults.mutations``.

Nothing on disk is changed: the part is patched away in the workers' own processes (`patches.MUTATIONS`).
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.faults.patches import MUTATION, MUTATIONS

REPOSITORY: Final = Path(__file__).parents[2]

CAUGHT_BY: Final[dict[str, str]] = {
    "no_epoch_compare": "test_workers.py::test_zombie[classic-1]",
    "no_offset_compare": "test_redis.py::test_rollback_under_a_living_worker[1]",
    "no_watch": "test_fences.py::test_an_owner_who_was_replaced_after_its_last_write_cannot_write[redis]",
    "no_reacquire": "test_redis.py::test_flushall[1]",
    "counter_epoch": "test_fences.py::test_no_epoch_is_given_twice[redis]",
    "no_flush": "test_kafka.py::test_decisions_refused_and_the_worker_killed",
    "no_landing": "test_cluster.py::test_cluster_sigkill_before_the_decisions[1]",
}
assert CAUGHT_BY.keys() == MUTATIONS.keys()


def main() -> int:
    """Run each mutation's test twice, without and with it; 0 if the first passes and the second fails, everywhere."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutations", description=__doc__)
    parser.add_argument("mutation", nargs="*", choices=[*MUTATIONS, []], help="default: all")
    wanted = parser.parse_args().mutation or list(MUTATIONS)
    _say(f"{'taken out':<20}{'test':<66}{'whole':>8}{'mutated':>9}{'s':>6}")
    survived = 0
    for name in wanted:
        began = time.monotonic()
        whole, mutated = _passes(name, None), _passes(name, name)
        survived += not whole or mutated
        words = ["passes" if whole else "FAILS", "PASSES" if mutated else "fails"]
        _say(f"{name:<20}{CAUGHT_BY[name]:<66}{words[0]:>8}{words[1]:>9}{time.monotonic() - began:>6.0f}")
    _say("every mutation is caught" if not survived else f"{survived} NOT caught")
    return 1 if survived else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _passes(name: str, mutation: str | None) -> bool:
    environment = dict(os.environ, CLICKSTAGE_FAULT_SEEDS="1")
    if mutation:
        environment[MUTATION] = mutation
    options = ["-q", "-m", "", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, f"tests/faults/{CAUGHT_BY[name]}"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:
        raise RuntimeError(f"pytest could not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
