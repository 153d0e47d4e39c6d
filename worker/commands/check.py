"""``clickstage check``: say what is wrong with policy files, before a worker meets them."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from worker.errors import ExitCode
from worker.policy.lint import CODES, report


def main(argv: Sequence[str]) -> int:
    """Print the findings of each file; the exit code says whether there are any."""
    codes = "\n".join(f"  {code:24} {text}" for code, text in CODES.items())
    parser = argparse.ArgumentParser(
        prog="clickstage check",
        description=__doc__,
        epilog=f"findings:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--policy", type=Path, nargs="+", required=True, metavar="FILE", help="policy files to check")
    args = parser.parse_args(argv)
    clean = True
    for path in args.policy:
        text, good = report(path)
        clean = clean and good
        sys.stdout.write(text + "\n")
    return ExitCode.OK if clean else ExitCode.POLICY
