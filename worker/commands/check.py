"""``clickstage check``: what is wrong with a live Kafka and Redis, or with policy files, and what to change."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from decisions.policy.lint import CODES, lint, report
from featurestore.errors import PolicyError
from worker.commands.options import KAFKA, add_settings, settings_from
from worker.errors import ExitCode
from worker.settings import TOPICS


def main(argv: Sequence[str]) -> int:
    """Print the findings; exit code 11 for a policy with remarks, 4 for a refused one, 7 where the promise is void."""
    codes = "\n".join(f"  {code:24} {text}" for code, text in CODES.items())
    parser = argparse.ArgumentParser(
        prog="clickstage check",
        description=__doc__,
        epilog=f"findings in policies:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--policy", type=Path, nargs="+", metavar="FILE", help="check these policy files, and no server"
    )
    add_settings(parser, tuple(name for name in _NEEDED if name != "policy"))
    args = parser.parse_args(argv)
    if args.policy:
        return _policies(args.policy)
    args.policy = None
    from worker.checks.findings import VOID
    from worker.checks.preflight import look

    worst = ExitCode.OK
    for part, findings in look(settings_from(args)).items():
        sys.stdout.write(f"{part}\n")
        for level, what, remedy in findings:
            sys.stdout.write(f"  {level:7} {what}\n" + (f"          -> {remedy}\n" if remedy else ""))
            if level == VOID:
                worst = ExitCode.UNSAFE
    return worst


_NEEDED = (*KAFKA, "redis", "redis_timeout_s", "group", "env",
           *TOPICS, "topic_id", "rebuild_horizon_s", "buckets", "dlq_max_share", "dlq_max_consecutive")  # fmt: skip


def _policies(paths: Sequence[Path]) -> int:
    refused = remarks = False
    for path in paths:
        text, clean = report(path)
        sys.stdout.write(text + "\n")
        if not clean:
            works = _works(path)
            refused, remarks = refused or not works, remarks or works
    if refused:
        return ExitCode.POLICY
    return ExitCode.REMARKS if remarks else ExitCode.OK


def _works(path: Path) -> bool:
    """Whether a worker takes this policy, whatever there is to remark."""
    try:
        return all(finding.code != "refused" for finding in lint(path))
    except PolicyError:
        return False
