"""``clickstage score FILE``: what every head says about a file of events, or of sessions, one row each."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TextIO

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from decisions.core import Judge
from decisions.intake import Records
from decisions.log_pass import LogPass, Scored
from decisions.shipped import load_bundle, load_policy
from featurestore.contract.decode import decode_unchecked
from featurestore.contract.tables import OTHER_FILES, Table, open_table, refuse_seconds
from featurestore.contract.trackers import TYPE_HELP, own_types
from featurestore.errors import SettingsError
from featurestore.session.stages import STAGES
from models.bundle.bundle import Bundle
from models.heads.scoring import word
from models.heads.session_rows import RowScorer
from worker.errors import ExitCode
from worker.wiring import fold_config

NOTES: Final = """files:
  .jsonl, .json, .ndjson   one JSON object a line          .csv   a header and a row each
  .parquet                 needs `pip install pyarrow`     .gz    behind .jsonl or .csv
  With the columns session_id, type and ts a file holds events of the contract, in the order in which they arrived. A
  shop's own event log will do too, with columns such as event_time, event_type and user_session (docs/training.md).
  Any other file holds sessions, one a row: columns are the nine features of the stage (docs/model.md), or those that
  a head reads (docs/outcomes.md). An empty cell is a missing value. A head whose columns are not there is left out.

The output has a line number of the file, session_id and ts (of events), and a column a probability. A head that is
only asked before the cart has an empty cell afterwards.
"""
BATCH: Final = 8_192
_SPECIAL: Final = frozenset(',"\r\n')
"""What a CSV cell is quoted for."""
_encode: Final = msgspec.json.Encoder().encode
_STAGE_COLUMNS: Final = ("stage", *(word(stage) for stage in STAGES))


def main(argv: Sequence[str]) -> int:
    """Score the file, write the rows, say how many.

    Raises:
        SettingsError: the file cannot be read, holds neither events nor sessions, or is not in order of time.
        BundleError: the bundle was refused.
    """
    parser = argparse.ArgumentParser(
        prog="clickstage score",
        description=__doc__,
        epilog=NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--type", action="append", default=[], metavar="NAME=TYPE", help=TYPE_HELP)
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="the model; default: the one that ships")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the CSV goes; default: standard output")
    args = parser.parse_args(argv)
    bundle = load_bundle(args.bundle)
    with ExitStack() as stack:
        table = stack.enter_context(open_table(args.file, own_types(args.type)))
        out = sys.stdout
        if args.out is not None:
            try:
                out = stack.enter_context(args.out.open("w", encoding="utf-8", newline=""))
            except OSError as error:
                raise SettingsError(f"--out {args.out}: {error.strerror}; name a file that can be written") from None
        advance = stack.enter_context(_Bar(table))
        said = (score_events if table.holds_events else score_sessions)(table, bundle, out, advance)
    print(said, file=sys.stderr)
    return ExitCode.OK


def score_events(table: Table, bundle: Bundle, out: TextIO, advance: Callable[[], None]) -> str:
    """Score events as a worker would, after each one; what was done, in a line."""
    judge = Judge(bundle, load_policy(None, bundle.heads.variables), fold_config(bundle), bundle.heads)
    run, order = LogPass(judge), _Order(table.path, judge.config.session_gap_ms)
    out.write(",".join(["line", "session_id", "ts", *_STAGE_COLUMNS, *_names(bundle)]) + "\n")
    events = scored = 0
    bad: list[tuple[int, str]] = []
    for numbers, values in table.events(BATCH):
        found = run.score(Records(0, list(values), numbers, [-1] * len(numbers)))
        events, scored = events + found.read, scored + found.offsets.size
        bad += found.bad
        out.write(_lines(found))
        run.let_time_pass(order.watermark(found, values))
        advance()
    said = f"{scored:,} of {events:,} events scored; bots, duplicates and withdrawn sessions are not"
    if bad:
        said += f"; {len(bad):,} lines are no events, the first is line {bad[0][0]}: {bad[0][1]}"
    return said


def score_sessions(table: Table, bundle: Bundle, out: TextIO, advance: Callable[[], None]) -> str:
    """Score rows that are sessions; what was done, in a line."""
    scorer = RowScorer(bundle.heads, table.columns)
    if not scorer.heads:
        raise SettingsError(
            f"{table.path}: has neither session_id, type and ts of events nor the columns of a head; "
            f"the stage wants {', '.join(bundle.stage.columns)}. If it holds events: {OTHER_FILES}"
        )
    out.write(",".join(["line", *scorer.names]) + "\n")
    rows = 0
    for numbers, values in table.numbers(scorer.columns, BATCH):
        outputs = scorer.score(values)
        rows += len(numbers)
        out.write("".join([f"{n},{row}\n" for n, row in zip(numbers, _cells(outputs), strict=True)]))
        advance()
    left = [head.name for head in bundle.heads if head.name not in scorer.heads]
    return f"{rows:,} sessions scored" + (f"; their columns are not in the file: {', '.join(left)}" if left else "")


class _Order:
    """The watermark of a file: its clocks may err, its order may not."""

    def __init__(self, path: Path, gap_ms: int) -> None:
        self._path, self._gap_ms, self._at = path, gap_ms, 0

    def watermark(self, found: Scored, values: Sequence[bytes]) -> int:
        """The middle time of a batch, so that one wrong clock ends nobody's session; it never goes back.

        Raises:
            SettingsError: most of a batch is older than a session may pause, or its times are seconds.
        """
        times = found.t if found.t.size else np.array([decode_unchecked(v).ts for v in values[:1] if not found.bad])
        if times.size:
            middle = int(np.median(times))
            refuse_seconds(self._path, middle)
            if middle < self._at - self._gap_ms:
                raise SettingsError(f"{self._path}: is not in the order of time; sort it by ts, then score it")
            self._at = max(self._at, middle)
        return self._at


class _Bar:
    """A progress bar on standard error, by bytes or rows of the file; does nothing where that is no terminal."""

    def __init__(self, table: Table) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._table = table
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task(table.path.name, total=table.size)

    def __enter__(self) -> Callable[[], None]:
        self._progress.start()
        return lambda: self._progress.update(self._task, completed=self._table.position())

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _names(bundle: Bundle) -> Iterator[str]:
    """Of the outputs of the heads beside the stage, as policy conditions have them."""
    return (names[0] for names in bundle.heads.variables[len(STAGES) :])


def _lines(found: Scored) -> str:
    stages = np.argmax(found.probabilities, axis=1).tolist()
    cells = _cells(np.concatenate([found.probabilities, found.outputs], axis=1))
    ids = found.sessions if _SPECIAL.isdisjoint("".join(found.sessions)) else list(map(_quoted, found.sessions))
    rows = zip(found.offsets.tolist(), ids, found.t.tolist(), stages, cells, strict=True)
    return "".join([f"{n},{name},{t},{STAGES[stage]},{row}\n" for n, name, t, stage, row in rows])


def _cells(values: NDArray[np.float64]) -> list[str]:
    """Each row's shortest texts that read back as the same float64, nothing for NaN; the JSON writer is fastest."""
    rows = _encode(values.tolist()).decode()[2:-2].replace("null", "")
    return rows.split("],[") if len(values) else []


def _quoted(text: str) -> str:
    return text if _SPECIAL.isdisjoint(text) else '"' + text.replace('"', '""') + '"'
