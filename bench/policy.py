"""The policy alone: its speed, what hysteresis buys, and documents to try an analysis on.

python -m bench.policy speed
python -m bench.policy flips [--eshop FILE]
python -m bench.policy documents --policy FILE --out FOLDER [--response SHARE --to ACTION --seen SHARE]
"""

import argparse
import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from bench import journeys
from bench.context import Context, Samples
from decisions.policy import Policy
from decisions.shipped import DEFAULT_POLICY, load_bundle
from edge.document import exposure_id
from edge.exposures import Exposure
from featurestore.columns.hashing import hash_text
from featurestore.session.fold import empty_states
from featurestore.session.layout import MEMORY
from featurestore.session.observation import SILENCE, Observations
from featurestore.session.visitors import NOBODY
from featurestore.store.streams import SESSIONS
from models.simulator.simulator import SimConfig
from worker.wiring import fold_config

RUNS: Final = 7
BATCH: Final = 4_000

EXPERIMENTS: Final = "\n".join(
    f"  x{i}: {{unit: {unit}, arms: {{control: {{share: 0.5}}, other: {{share: 0.5, replace: {{reviews: none}}}}}}}}"
    for i, unit in enumerate(["session", "visitor"] * 4)
)

HYSTERESIS: Final = {
    "none": "{}",
    "margin 0.5": "{margin: 0.5}",
    "margin 0.9": "{margin: 0.9}",
    "2 in a row (default)": "{persistence: 2}",
    "3 in a row": "{persistence: 3}",
    "0.9, or 3 in a row": "{margin: 0.9, persistence: 3}",
}


def with_hysteresis(text: str, hysteresis: str) -> Policy:
    """A policy with another hysteresis: a later key would be a double one, so the block is cut out."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("hysteresis:"))
    end = next(i for i in range(start + 1, len(lines)) if lines[i] and not lines[i].startswith(" "))
    return Policy.from_text("\n".join([*lines[:start], f"hysteresis: {hysteresis}", *lines[end:]]))


def decide(context: Context) -> Samples:
    """``policy.decide``: the policy alone, in batches of `BATCH` observations of simulated sessions."""
    return _speed(context.size(10_000), context.runs)


def speed(sessions: int) -> None:
    """Print nanoseconds per decision."""
    for name, spent in _speed(sessions, RUNS).items():
        print(f"policy.decide, {name}: {np.median(spent):.0f} ({min(spent):.0f} .. {max(spent):.0f})")


def _speed(sessions: int, runs: int) -> Samples:
    bundle = load_bundle(None)
    text = DEFAULT_POLICY.read_text(encoding="utf-8")
    what = journeys.scored(journeys.simulated(sessions, 42), bundle, fold_config(bundle))
    rows, features, context, ended, *_ = what.seen
    n = rows.size
    others = np.empty((n, 0))
    samples: Samples = {}
    for name, extra in (("ns_per_decision", ""), ("ns_with_8_experiments", f"\nexperiments:\n{EXPERIMENTS}\n")):
        policy = Policy.from_text(text + extra)
        policy.warm_up()
        for _ in range(runs):
            states, memories = empty_states(what.sessions), np.zeros(what.sessions, MEMORY)
            begin = time.perf_counter()
            for a in range(0, n, BATCH):
                cut = slice(a, a + BATCH)
                part = Observations(rows[cut], features[cut], context[cut], ended[:0], 0, 0)
                policy.decide(part, what.probabilities[cut], others[cut], states, memories, NOBODY)
            samples.setdefault(name, []).append((time.perf_counter() - begin) / n * 1e9)
    return samples


def flips(sessions: int, shop: Path | None) -> None:
    """Stage and action changes per session, with and without hysteresis."""
    bundle = load_bundle(None)
    config = fold_config(bundle)
    text = DEFAULT_POLICY.read_text(encoding="utf-8")
    sources = {f"{sessions:,} simulated sessions": journeys.simulated(sessions, 42)}
    if shop is not None:
        clicks = journeys.eshop(shop)
        sources[f"{clicks.sessions:,} eshop sessions, times synthesised"] = clicks
    for title, clicks in sources.items():
        what = journeys.scored(clicks, bundle, config)
        decided = what.seen.rows["kind"] <= SILENCE
        print(title)
        print(f"  {'hysteresis':20} {'flips':>6} {'action changes':>15} {'3 flips or more':>16} {'shows the top':>14}")
        for name, hysteresis in HYSTERESIS.items():
            decisions, ended = journeys.decided(what, with_hysteresis(text, hysteresis))
            some = decisions[decided]
            per_session = ended["flips"].astype(np.int64)
            actions = np.bincount(what.seen.rows["session_index"][decided], some["changed"] >> 1 & 1, what.sessions)
            print(
                f"  {name:20} {per_session.mean():>6.2f} {actions.mean():>15.2f} {(per_session >= 3).mean():>16.1%} "
                f"{(some['stage'] == some['top']).mean():>14.1%}"
            )


def documents(sessions: int, policy: Path, out: Path, response: float, to: Sequence[str], seen: float | None) -> None:
    """``decisions.jsonl`` and ``sessions.jsonl`` of a simulation under a policy.

    Simulated shoppers do not react to what they are shown. ``response`` adds a reaction: of the sessions that were
    shown an action of ``to`` and did not buy, this share buys after all, drawn by a hash of the session id. With
    ``seen`` an action comes on the screen in this share of the sessions alone, only these react, and
    ``exposures.jsonl`` says which.
    """
    bundle = load_bundle(None)
    out.mkdir(parents=True, exist_ok=True)
    counts = [0, 0]
    reports: list[bytes] = []
    config = SimConfig(sessions=sessions, seed=7)
    with (out / "decisions.jsonl").open("wb") as decisions, (out / "sessions.jsonl").open("wb") as summaries:
        for stream, value in journeys.documents(config, bundle, Policy.from_file(policy), fold_config(bundle)):
            counts[stream] += 1
            if stream == SESSIONS:
                summary = msgspec.json.decode(value)
                screen = [action for action in summary["actions"] if _looks(summary, action, seen)]
                summaries.write(_reacted(summary, response, set(screen) & set(to)) + b"\n")
                reports += [_report(summary, action) for action in screen]
            else:
                decisions.write(value + b"\n")
    print(f"{out}/decisions.jsonl: {counts[0]:,} decisions\n{out}/sessions.jsonl: {counts[1]:,} sessions")
    if seen is not None:
        (out / "exposures.jsonl").write_bytes(b"".join(line + b"\n" for line in reports))
        print(f"{out}/exposures.jsonl: {len(reports):,} exposures")


def _looks(summary: dict[str, Any], action: str, seen: float | None) -> bool:
    return seen is None or hash_text(f"{summary['session_id']} {action}") % 10_000 < seen * 10_000


def _report(summary: dict[str, Any], action: str) -> bytes:
    """What the page of such a session reports."""
    session_id, ended = summary["session_id"], summary["ended"]
    named = exposure_id(session_id, action)
    return msgspec.json.encode(
        Exposure(session_id=session_id, exposure_id=named, kind="shown", action=action, ts=ended, received_at=ended)
    )


def _reacted(summary: dict[str, Any], response: float, shown: AbstractSet[str]) -> bytes:
    if shown and summary["outcome"] != "bought" and hash_text(summary["session_id"]) % 10_000 < response * 10_000:
        summary |= {"outcome": "bought", "value": 60.0}
    return msgspec.json.encode(summary)


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("speed", "flips", "documents"):
        commands.add_parser(name).add_argument("--sessions", type=int, default=10_000)
    commands.choices["flips"].add_argument("--eshop", type=Path, metavar="FILE")
    writer = commands.choices["documents"]
    writer.add_argument("--policy", type=Path, required=True, metavar="FILE")
    writer.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    writer.add_argument("--response", type=float, default=0.0, metavar="SHARE")
    writer.add_argument("--to", action="append", default=[], metavar="ACTION")
    writer.add_argument("--seen", type=float, metavar="SHARE")
    args = parser.parse_args()
    if args.command == "speed":
        speed(args.sessions)
    elif args.command == "flips":
        flips(args.sessions, args.eshop)
    else:
        documents(args.sessions, args.policy, args.out, args.response, args.to, args.seen)


if __name__ == "__main__":
    main()
