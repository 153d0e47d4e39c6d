"""The command; see the package."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.identity.compare import SEQ_STEP, Difference, Document, by_key, by_place, by_session, compare
from tests.identity.log import START_MS, Log, make_log, simulated_rate, simulated_sessions
from tests.identity.side import Side
from tests.revisions import C8D4F88, REPOSITORY, NoRevision, clean_environment, newest_bundle, tree_of
from tests.services import Unavailable

UNSTEADY: Final = ('clickstage_events_total{outcome="consent_withdrawn"}',)
"""Told, not compared: a worker that knows of an erasure already leaves out the withdrawal that comes with it."""

Outputs = Mapping[str, Mapping[str, Sequence[Document]]]
DECISIONS: Final = "decisions"
SUMMARIES: Final = "session summaries"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both sides and print; 0 if they agree, 1 if not, 2 if they could not be run."""
    options = _options(arguments)
    began = time.monotonic()
    try:
        base, candidate = tree_of(options.base), tree_of(options.candidate)
        bundle = options.bundle or newest_bundle(base)
        with tempfile.TemporaryDirectory(prefix="identity-") as folder:
            directory = options.keep or Path(folder)
            directory.mkdir(parents=True, exist_ok=True)
            log = _log(base, directory / "simulated.jsonl", options.events, options.seed)
            _say(f"the log: {log.counts['events']:,} events of seed {options.seed}, bundle {bundle.name}")
            sides = [
                Side("base", base, bundle, directory / "base", _say),
                Side("candidate", candidate, bundle, directory / "candidate", _say),
            ]
            with ThreadPoolExecutor(len(sides)) as pool:
                for running in [pool.submit(side.run, log) for side in sides]:
                    running.result()
    except (NoRevision, Unavailable) as reason:
        _say(f"cannot run: {reason}")
        return 2
    code = _report(log, sides[0], sides[1], options.keep)
    _say(f"{options.base} against {options.candidate}, {time.monotonic() - began:.0f} s")
    return code


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.identity",
        description="Run one log through two revisions and compare decisions and summaries to the byte.",
    )
    parser.add_argument("--base", default=C8D4F88, metavar="REV", help="a git revision or a folder (%(default).7s)")
    parser.add_argument(
        "--candidate", default=str(REPOSITORY), metavar="REV", help="a git revision or a folder (this tree)"
    )
    parser.add_argument("--events", type=int, default=200_000, metavar="N", help="events in the log (200,000)")
    parser.add_argument("--seed", type=int, default=19, metavar="S", help="the same seed makes the same log (19)")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="model of both sides (the newest of the base)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep logs there, and what differs in full")
    return parser.parse_args(arguments)


def _log(base: Path, file: Path, events: int, seed: int) -> Log:
    """The log, its simulated part made by the base's own command."""
    flags = {
        "--sessions": simulated_sessions(events),
        "--rate": simulated_rate(events),
        "--seed": seed,
        "--start-ms": START_MS,
        "--out": file,
    }
    command = [sys.executable, "-m", "worker", "simulate", *(str(part) for pair in flags.items() for part in pair)]
    subprocess.run(command, cwd=base, env=clean_environment(base), check=True)
    with file.open("rb") as lines:
        return make_log(lines, events, seed)


def _report(log: Log, base: Side, candidate: Side, keep: Path | None) -> int:
    (one, repeats), (two, repeats_too) = _outputs(base), _outputs(candidate)
    differences = {"records read": _inputs(base, candidate)}
    differences |= {name: compare(found, two[name]) for name, found in one.items()}
    counts = log.counts | _counts(one)
    for name, count in counts.items():
        _say(f"  {name:<28}{count:>10,}")
    for series, count in sorted(base.counters.items()):
        _say(f"  {series:<60}{count:>10,}" + _unless_equal(count, candidate.counters[series]))
    _say(f"  equal repeats left out: base {repeats}, candidate {repeats_too}")
    for name, difference in differences.items():
        _say(f"{name}: {_told(difference)}")
    if keep is not None:
        _write(keep / "differences.jsonl", differences, one, two)
    uncounted = any(base.counters[s] != candidate.counters[s] for s in base.counters if s not in UNSTEADY)
    differing = uncounted or any(differences.values())
    lacking = [name for name, count in counts.items() if not count]
    if lacking:
        _say(f"the log is too small to show anything about: {', '.join(lacking)}")
    _say("DIFFERENT" if differing else "no difference" + (", but incomplete" if lacking else ""))
    return int(differing or bool(lacking))


def _outputs(side: Side) -> tuple[Outputs, int]:
    """What a side produced, by output, and how many equal repeats were left out."""
    decisions, repeats = by_session(side.topics["decisions"])
    summaries, again = by_session(side.topics["sessions"])
    outputs = {
        DECISIONS: decisions,
        SUMMARIES: summaries,
        "dead letters": by_place(side.topics["clicks.dlq"]),
        "decisions in Redis": by_key(side.stored),
    }
    return outputs, repeats + again


def _counts(outputs: Outputs) -> dict[str, int]:
    """Of the base's outputs, for people."""
    decisions = [document for part in outputs[DECISIONS].values() for document in part]
    summaries = [document for part in outputs[SUMMARIES].values() for document in part]
    counts = {name: sum(map(len, found.values())) for name, found in outputs.items()}
    counts["sessions"] = len({*outputs[DECISIONS], *outputs[SUMMARIES]})
    counts["silences"] = sum(0 < document.seq % SEQ_STEP < SEQ_STEP - 1 for document in decisions)
    counts["bots among the summaries"] = sum(b'"bot":true' in document.value for document in summaries)
    return counts


def _write(file: Path, differences: Mapping[str, Difference], base: Outputs, candidate: Outputs) -> None:
    """What differs, in full: a line for each session, key or place."""
    with file.open("w", encoding="utf-8") as lines:
        for name, difference in differences.items():
            for where in sorted(difference.where):
                sides = {"base": base[name].get(where, []), "candidate": candidate[name].get(where, [])}
                told = {side: [document.value.decode() for document in part] for side, part in sides.items()}
                lines.write(json.dumps({"output": name, "where": where} | told) + "\n")


def _inputs(base: Side, candidate: Side) -> Difference:
    """Whether both workers read the same; only what ``clickstage erase`` adds can differ."""
    one, two = (
        Counter((m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value()) for m in side.topics["clicks"])
        for side in (base, candidate)
    )
    return Difference(missing=(one - two).total(), extra=(two - one).total())


def _unless_equal(count: int, other: int) -> str:
    return "" if count == other else f"  candidate {other:,}"


def _told(difference: Difference) -> str:
    if not difference:
        return "no difference"
    fields = ", ".join(f"{name} ({count})" for name, count in difference.fields.most_common(20))
    return f"{difference.missing} missing, {difference.extra} extra, {difference.other} other" + (
        f"; in {fields}" if fields else ""
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
