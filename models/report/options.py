"""The options of ``clickstage evaluate``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from featurestore.contract.trackers import TYPE_HELP
from models.report.outcome_evaluation import LOGS
from models.study import shoppers

DATA: Final = Path(__file__).parents[2].parent / "shared" / "data"
REPORT: Final = Path("out") / "report"
DESCRIPTION: Final = "The published study, the streaming protocol and real labels, as one page and one JSON file."


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says; SystemExit if it cannot be."""
    parser = argparse.ArgumentParser(prog="clickstage evaluate", description=DESCRIPTION)
    parser.add_argument(
        "--report", type=Path, default=REPORT, metavar="DIR", help="where report.html and .json go (%(default)s)"
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="judge what workers decided, from their topics, instead; `evaluate --live --help` has its options",
    )
    parser.add_argument("--seed", type=int, default=42, help="of everything that is drawn (default: %(default)s)")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="the served bundle (default: the one that ships)")
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="DIR", help=f"folder of {shoppers.FILE} (default: ../shared/data)"
    )
    parser.add_argument("--quick", action="store_true", help="rough figures in seconds")
    parser.add_argument(
        "--outcomes", action="store_true", help="the outcome heads instead: outcomes.html, .json, and tables printed"
    )
    parser.add_argument(
        "--recurrent", action="store_true", help="with --outcomes: GRU and LSTM on L's log too; needs clickstage[torch]"
    )
    parser.add_argument(
        "--only",
        choices=LOGS,
        action="append",
        default=[],
        help="with --outcomes: this log alone; may be given several times",
    )
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        metavar="FILE",
        help="with --outcomes: judge the heads on this log alone, events of the contract as JSON lines or your event "
        "log as CSV, Parquet or JSON lines (docs/training.md); .gz too",
    )
    parser.add_argument("--type", action="append", default=[], metavar="NAME=TYPE", help=TYPE_HELP)
    options = parser.parse_args(argv)
    _fit(parser, options)
    return options


def _fit(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Options that do not go together end the command, as argparse's own mistakes do."""
    if options.file is not None and not options.outcomes:
        parser.error("a FILE goes with --outcomes")
    if options.recurrent and (not options.outcomes or options.file is not None):
        parser.error("--recurrent goes with --outcomes, without a FILE: it compares on L's log")
    if options.only and (not options.outcomes or options.file is not None):
        parser.error("--only goes with --outcomes, without a FILE")
    if options.type and options.file is None:
        parser.error("--type goes with --outcomes FILE")
    if options.outcomes and options.data.is_file():
        parser.error(f"--data is the folder of other people's logs; to judge your own: --outcomes {options.data}")
