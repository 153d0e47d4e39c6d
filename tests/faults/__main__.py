"""``python -m tests.faults``: every fault, in two processes at once; one table, one ``out/faults.json``.

Most of a fault's time is waiting: for a session timeout, for a session's end. Each process has a broker of its own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

import msgspec

from tests.faults.ledger import OUT, OUT_VARIABLE, Row, table, write_json

REPOSITORY = Path(__file__).parents[2]
PYTEST = [sys.executable, "-m", "pytest", "-m", ""]


def main() -> int:
    """Run and print; pytest's exit code, the worst of all."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (2)")
    options, rest = parser.parse_known_args()
    tests = _collected(rest)
    with tempfile.TemporaryDirectory() as folder:
        parts = [Path(folder) / f"rows-{job}.json" for job in range(options.jobs)]
        started = [_start(tests[job :: options.jobs], part, rest) for job, part in enumerate(parts)]
        readers = [threading.Thread(target=_copy, args=(job, process.stdout)) for job, process in enumerate(started)]
        for reader in readers:
            reader.start()
        codes = [process.wait() for process in started]
        for reader in readers:
            reader.join()
        found = [msgspec.json.decode(part.read_bytes(), type=list[Row]) for part in parts if part.exists()]
    rows = sorted((row for part in found for row in part), key=lambda row: (_number(row.fault), row.fault, row.seed))
    write_json(rows)
    _say(f"\n{table(rows)}\n{len(rows)} rows, written to {OUT.relative_to(REPOSITORY)}")
    _say("all processes passed" if not any(codes) else f"FAILED: pytest ended with {codes}")
    return max(codes)


def _collected(rest: list[str]) -> list[str]:
    command = [*PYTEST, "tests/faults", "--collect-only", "-q", "-p", "no:randomly", *rest]
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    tests = [line for line in said.stdout.splitlines() if "::" in line]
    if not tests:
        raise SystemExit(f"no test was found:\n{said.stdout}{said.stderr}")
    return tests


def _start(tests: list[str], part: Path, rest: list[str]) -> "subprocess.Popen[str]":
    command = [*PYTEST, "-v", "--timeout", "600", "-p", "no:cacheprovider", *rest, *tests]
    environment = os.environ | {OUT_VARIABLE: str(part)}
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _copy(job: int, lines: IO[str] | None) -> None:
    for line in lines or ():
        _say(f"[{job}] {line.rstrip()}")


def _number(fault: str) -> int:
    """In the plan."""
    first = fault.split(maxsplit=1)[0]
    return int(first) if first.isdigit() else -1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
