"""``clickstage check``: what is wrong with a live Kafka and Redis, or with policy files, and what to change."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from decisions.policy.conditions import HeadOutputs
from decisions.policy.lint import CODES, REFUSED, lint, report
from decisions.policy.model import PolicyFile
from decisions.policy.policy import load_file
from featurestore.errors import PolicyError, SettingsError
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
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="the policy in use, whose experiments must survive the change (default: CLICKSTAGE_POLICY)",
    )
    add_settings(parser, _NEEDED)
    args = parser.parse_args(argv)
    if args.policy:
        return _policies(args.policy, args.against, args.bundle)
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


_NEEDED = (*KAFKA, "redis", "redis_timeout_s", "group", "env", "decision_prefix",
           "bundle", *TOPICS, "topic_id", "rebuild_horizon_s", "buckets", "dlq_max_share",
           "dlq_max_consecutive")  # fmt: skip


def _policies(paths: Sequence[Path], against: Path | None, bundle: str | None) -> int:
    """Check files as a worker with this bundle would read them; its heads are known to conditions."""
    from decisions.shipped import load_bundle

    chosen = bundle or os.environ.get("CLICKSTAGE_BUNDLE")
    outputs = load_bundle(Path(chosen) if chosen else None).names
    in_use = against or Path(os.environ.get("CLICKSTAGE_POLICY") or ".")
    if against is not None and not against.is_file():
        raise SettingsError(f"--against {against}: there is no such file; give the policy in use")
    refused = remarks = False
    for path in paths:
        before = None
        if in_use.is_file() and not (path.exists() and path.samefile(in_use)):
            before = load_file(in_use)
        text, clean = report(path, outputs, before)
        sys.stdout.write(text + "\n")
        if not clean:
            works = _works(path, outputs, before)
            refused, remarks = refused or not works, remarks or works
    if refused:
        return ExitCode.POLICY
    return ExitCode.REMARKS if remarks else ExitCode.OK


def _works(path: Path, outputs: HeadOutputs, before: PolicyFile | None) -> bool:
    """Whether a worker takes this policy and running experiments survive it, whatever else there is to remark."""
    try:
        return not REFUSED & {finding.code for finding in lint(path, outputs, before)}
    except PolicyError:
        return False
