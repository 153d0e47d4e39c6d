"""``clickstage experiment``: how many sessions an experiment needs, and what its sessions say."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from decisions.experiments.report import analyse, read_lines
from decisions.experiments.stats import obrien_fleming, sample_size
from decisions.experiments.text import render, render_size, to_json
from decisions.policy.policy import load_file
from featurestore.errors import SettingsError
from worker.errors import ExitCode


def main(argv: Sequence[str]) -> int:
    """Print a size or an analysis."""
    parser = argparse.ArgumentParser(prog="clickstage experiment", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    size = commands.add_parser("size", help="sessions per arm")
    size.add_argument("--baseline", type=float, required=True, metavar="RATE", help="conversion now, 0.025 for 2.5 %%")
    size.add_argument("--lift", type=float, required=True, metavar="SHARE", help="relative lift to find, 0.1 for 10 %%")
    size.add_argument("--alpha", type=float, default=0.05, help="two-sided error of the first kind (default 0.05)")
    size.add_argument("--power", type=float, default=0.8, help="chance to find the lift (default 0.8)")
    size.add_argument("--looks", type=int, default=5, metavar="N", help="analyses of the sequential plan; 1 for none")
    read = commands.add_parser("analyse", help="lift, sample ratio and fairness, from the topics' documents")
    read.add_argument(
        "--decisions", required=True, metavar="FILE", help="decisions topic, one document a line; - for none"
    )
    read.add_argument("--sessions", required=True, metavar="FILE", help="sessions topic, one document a line")
    read.add_argument(
        "--exposures", metavar="FILE", help="exposures topic, one document a line: lift by what was really shown, too"
    )
    read.add_argument("--experiment", metavar="NAME", help="only this one (default: all)")
    read.add_argument("--control", metavar="ARM", help="compare with this arm (default: control, holdout or the first)")
    read.add_argument(
        "--policy",
        type=Path,
        metavar="FILE",
        help="the policy that was in use: it knows the shares of the arms, and whether sessions or visitors were drawn",
    )
    read.add_argument(
        "--shares", metavar="ARM=SHARE,...", help="expected sizes of the arms (default: the policy's, else equal)"
    )
    read.add_argument(
        "--benefit", action="append", default=[], metavar="ACTION", help="whose showing and fair share are asked for"
    )
    read.add_argument(
        "--min-group", type=int, default=100, metavar="N", help="do not judge smaller groups (default 100)"
    )
    read.add_argument("--look", metavar="K/N", help="the K-th of N looks of a sequential plan: print its bound")
    read.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    try:
        text = _size(args) if args.command == "size" else _analyse(args)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    sys.stdout.write(text + "\n")
    return ExitCode.OK


def _size(args: argparse.Namespace) -> str:
    return render_size(sample_size(args.baseline, args.lift, args.alpha, args.power), args.looks)


def _analyse(args: argparse.Namespace) -> str:
    reports = analyse(
        read_lines(args.decisions),
        read_lines(args.sessions),
        args.experiment,
        exposures=read_lines(args.exposures) if args.exposures else None,
        control=args.control,
        shares=_shares(args.shares),
        policy=load_file(args.policy) if args.policy else None,
        benefit=args.benefit,
        min_group=args.min_group,
    )
    if args.json:
        return to_json(reports)
    if not reports:
        return "no session is in an experiment"
    bound = _bound(args.look)
    return "\n\n".join(render(report, bound) for report in reports)


def _shares(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    try:
        shares = {name.strip(): float(share) for name, _, share in pairs}
    except ValueError:
        raise SettingsError("--shares wants ARM=SHARE,ARM=SHARE, like control=0.1,treatment=0.9") from None
    if any(share <= 0 for share in shares.values()):
        raise SettingsError("--shares: every share must be more than 0")
    return shares


def _bound(text: str | None) -> float | None:
    if text is None:
        return None
    k, _, n = text.partition("/")
    if not (k.isdigit() and n.isdigit() and 1 <= int(k) <= int(n) <= 20):
        raise SettingsError("--look wants K/N with K at most N and N at most 20, like 2/5")
    return obrien_fleming(int(n))[int(k) - 1]
