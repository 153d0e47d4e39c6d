"""The command line of training: ``clickstage train``."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from featurestore.contract.trackers import TYPE_HELP, own_types
from featurestore.errors import SettingsError
from models.bundle.bundle import Bundle, refuse_existing
from models.heads.head import Head
from models.heads.outcomes import BUILT_IN, Outcome, read_outcome
from models.rules import StageRules, load_rules
from models.training.classifiers import GROWN
from models.training.eventfile import read_events
from models.training.refit import refit
from models.training.rule_tree import RULES
from models.training.segments import table
from models.training.train import TrainConfig, Trained, save, train


def main(arguments: Sequence[str]) -> int:
    """Train, judge on held-out sessions, write the bundle; returns the exit code.

    Raises:
        SettingsError: if an option, the rules or the events cannot give a model.
        BundleError: if the bundle exists or cannot be written.
    """
    options = _parser().parse_args(arguments)
    rules = StageRules() if options.rules is None else load_rules(options.rules)
    names = set(TrainConfig.model_fields) & set(vars(options))
    config = TrainConfig.checked(**{name: getattr(options, name) for name in names})
    refuse_existing(options.out / f"{config.name}-{config.version}", replace=options.replace)
    events = (
        None if options.events is None else read_events(options.events, options.max_bad_lines, own_types(options.type))
    )
    created = options.created or datetime.now(UTC).date().isoformat()
    if options.refit is not None:
        return _refit(options, events, created)
    outcomes = () if options.no_outcomes else (*BUILT_IN, *(read_outcome(path) for path in options.outcome))
    path, trained = train_bundle(
        config, rules, options.out, created=created, replace=options.replace, events=events, outcomes=outcomes,
        segments=options.segments,
    )  # fmt: skip
    Console().print(summary(trained) + f"\nWrote {path}", soft_wrap=True, highlight=False)
    return 0


def _refit(options: argparse.Namespace, events: list[tuple[bytes, bytes, int]] | None, created: str) -> int:
    """``--refit``: new intercepts for the heads of a bundle."""
    if events is None:
        raise SettingsError("--refit needs --events: a log of what comes now")
    outcomes = (*BUILT_IN, *(read_outcome(path) for path in options.outcome))
    bundle = Bundle.load(options.refit)
    if options.version in (None, bundle.version):
        raise SettingsError(f"--refit needs a --version for the new bundle, other than {bundle.version}")
    path, moved = refit(bundle, events, options.version, options.out, created, outcomes)
    lines = [
        f"{one.name}: {one.observed:,.0f} came, {one.before:,.0f} were expected, now {one.after:,.0f}"
        + (f"; unchanged: {one.stays}" if one.stays else "")
        for one in moved
    ]
    Console().print("\n".join([*lines, f"Wrote {path}"]), soft_wrap=True, highlight=False)
    return 0


def train_bundle(
    config: TrainConfig,
    rules: StageRules,
    directory: Path,
    *,
    created: str,
    replace: bool = False,
    events: list[tuple[bytes, bytes, int]] | None = None,
    console: Console | None = None,
    outcomes: Sequence[Outcome] = BUILT_IN,
    segments: bool = False,
) -> tuple[Path, Trained]:
    """`train` and `save` behind a progress bar on standard error.

    Raises:
        SettingsError, BundleError: as these two do.
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description:<38}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("start", total=1.0)

        def report(step: str, share: float) -> None:
            progress.update(bar, description=step, completed=share)

        trained = train(config, rules, events, report, outcomes, segments=segments)
        report("write the bundle", 0.95)
        path = save(trained, directory, created=created, replace=replace)
        report("done", 1.0)
    return path, trained


def summary(trained: Trained) -> str:
    """What a person wants to know of a training, in a few lines."""
    held = trained.held_out
    stages = ", ".join(f"{name} {values['f1'] or 0:.3f}" for name, values in held["by_stage"].items())
    rows = min(trained.config.rows, trained.train.t.size)
    return (
        f"{trained.config.model} of {trained.forest.n_trees} trees on {rows:,} "
        f"rows of {trained.sessions:,} sessions, forest {trained.forest.digest()[:16]}\n"
        f"held out: {held['rows']:,} rows of {held['sessions']:,} later sessions: accuracy {held['accuracy']:.2%}, "
        f"macro-F1 {held['macro_f1']:.2%} ({stages})\n"
        f"confidence of 0.7 or more in {held['confident_share']:.1%} of the rows, "
        f"{held['flips_per_session']:.2f} changes of stage a session"
        + "".join(f"\n{_told(head)}" for head in trained.heads)
        + ("" if trained.segments is None else f"\n{table(trained.segments)}")
        + "".join(f"\nleft out: {name}: {why}" for name, why in trained.left_out.items())
    )


def _told(head: Head) -> str:
    """One line about an outcome head, from its figures on the latest visits."""
    held: Any = head.training["held_out"]
    if held["auc"] is None:
        return f"{head.name}: not judged, the latest visits do not have both answers"
    return (
        f"{head.name}: {held['base_rate']:.1%} of {held['rows']:,.0f} later rows, AUC {held['auc']:.3f}, "
        f"the top tenth has {held['lift_10']:.1f} times the rate, calibration error {held['ece']:.3f}"
    )


def _parser() -> argparse.ArgumentParser:
    default = TrainConfig()
    parser = argparse.ArgumentParser(prog="clickstage train", description="From simulated or own events to a bundle.")
    parser.add_argument(
        "--out", type=Path, default=Path("bundles"), metavar="DIR", help="where bundles are kept (bundles)"
    )
    parser.add_argument("--replace", action="store_true", help="replace a bundle of that name and version")
    parser.add_argument("--rules", type=Path, metavar="FILE", help="stage rules (.yaml or .json); default: built in")
    parser.add_argument(
        "--events",
        type=Path,
        metavar="FILE",
        help="own events: JSON lines, or your event log as a table; default: simulated",
    )
    parser.add_argument("--type", action="append", default=[], metavar="NAME=TYPE", help=TYPE_HELP)
    parser.add_argument(
        "--max-bad-lines", type=int, metavar="N", help="leave out, count and name up to N lines that are no events"
    )
    parser.add_argument("--created", metavar="TEXT", help="date written into the bundle; default: today")
    parser.add_argument(
        "--outcome", type=Path, action="append", default=[], metavar="FILE", help="an outcome of your own"
    )
    parser.add_argument(
        "--refit", type=Path, metavar="BUNDLE", help="move the intercepts of its outcome heads to --events; same trees"
    )
    parser.add_argument("--no-outcomes", action="store_true", help="no outcome heads")
    parser.add_argument(
        "--segments", action="store_true", help="also find segments of finished visits, for the session summaries"
    )
    parser.add_argument(
        "--model",
        choices=(*GROWN, RULES),
        default=default.model,
        help="of the stage; rules: no model, the rules themselves",
    )
    parser.add_argument("--search", action="store_true", help="choose trees and depth by 5-fold search, as published")
    for name, kind, text in (
        ("name", str, "of the bundle"),
        ("version", str, "of the bundle"),
        ("seed", int, "same seed, same forest"),
        ("sessions", int, "to simulate"),
        ("rows", int, "to train on, at most"),
        ("trees", int, "of the forest"),
        ("depth", int, "of a tree, at most"),
        ("leaves", int, "of a tree, at most; above 63 scoring gets slower"),
        ("noise", float, "share of labels drawn anew"),
        ("space", float, "rows from the whole space of the rules beside the shoppers', as a share of them, 0 for none"),
        ("doubt", float, "how vague the Evaluator's thresholds are, 0 for not at all"),
        ("jobs", int, "processes"),
    ):
        parser.add_argument(f"--{name}", type=kind, default=getattr(default, name), help=f"{text} (%(default)s)")
    parser.add_argument("--bounce-rate", type=float, help="to impute where no visitor is ever known")
    return parser
