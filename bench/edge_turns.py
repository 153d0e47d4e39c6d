"""edge_turns: the edge of an earlier revision and the edge of this tree, in turns on one Kafka, Redis and worker.

python -m bench.edge_turns BASE [--turns 6] [--only decide push ...] [--json FILE]

``BASE`` is a revision, or its folder. Both edges stand beside each other, and one at a time is under load. Each figure
is the median of the turns; ``ratio`` is that of this tree to the base, with a 95 % interval. On a busy machine the
ratios and the CPU time of the edge (``cpu_ms``, for each request) count, not the delays.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from bench.edge import INLINE_RATE, STREAMS, EdgeProcess, event_of, told
from bench.edge_streams import Streams
from bench.processes import usage
from bench.stack import REPOSITORY, Stack, WorkerProcess
from bench.stats import ratio, summarise
from tests.revisions import NoRevision, tree_of

TURNS: Final = 6
SECONDS: Final = 2.5
SESSIONS: Final = 2_000
ROUNDS: Final = 6


class Load(NamedTuple):
    """Requests to one address.

    Attributes:
        path: of the requests.
        events: in each request.
        rate: requests a second; 0 for as many as the connections carry.
        connections: that stay open.
    """

    path: str
    events: int
    rate: float
    connections: int

    def requests(self) -> list[tuple[str, str]]:
        """What is sent, in turn."""
        count = 4_000 // self.events
        if self.events == 1:
            return [(self.path, json.dumps(event_of(i % SESSIONS, i))) for i in range(count)]
        return [
            (self.path, json.dumps([event_of((i + k) % SESSIONS, i + k) for k in range(self.events)]))
            for i in range(count)
        ]

    def on(self, edge: EdgeProcess) -> dict[str, float]:
        """What one turn gives."""
        found = edge.load(self.requests(), self.rate, SECONDS, self.connections)
        return {
            "events_per_s": found["per_s"] * self.events,
            "p50_ms": found["p50_ms"],
            "p99_ms": found["p99_ms"],
            "cpu_ms": found["cpu_ms"],
        }


LOADS: Final = {
    "decide": Load("/v1/decide?key=demo", 1, INLINE_RATE, 64),
    "events_decide": Load("/v1/events?key=demo&decide=1", 1, INLINE_RATE, 64),
    "collect_1": Load("/v1/events?key=demo", 1, 0, 64),
    "collect_50": Load("/v1/events?key=demo", 50, 0, 32),
}
PUSH: Final = "push"


def main() -> int:
    """Take turns and print; 2 if the base cannot be had."""
    options = _options()
    try:
        trees = {"base": tree_of(options.base), "head": REPOSITORY}
    except NoRevision as reason:
        print(f"edge_turns: {reason}", file=sys.stderr)
        return 2
    found: dict[str, dict[str, list[float]]] = {name: {} for name in trees}
    with Stack() as stack:
        topics, group = stack.topics(4), stack.group()
        with (
            WorkerProcess(stack, topics, group) as worker,
            EdgeProcess(stack, topics, group, tree=trees["base"]) as base,
            EdgeProcess(stack, topics, group, tree=trees["head"]) as head,
        ):
            edges = {"base": base, "head": head}
            for process in (worker, base, head):
                process.wait_ready()
            for name, load in LOADS.items():
                if name in options.only:
                    _turns(name, edges, options.turns, found, load.on)
            if PUSH in options.only:
                _pushed(stack, edges, options.turns, found)
    _print(found)
    if options.json:
        document = {
            side: {name: summarise(runs).document() for name, runs in figures.items()}
            for side, figures in found.items()
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


def _turns(
    name: str,
    edges: dict[str, EdgeProcess],
    turns: int,
    found: dict[str, dict[str, list[float]]],
    one: Callable[[EdgeProcess], dict[str, float]],
) -> None:
    """The first turn of each warms it up, and is not counted; each edge is first as often as the other."""
    for turn in range(turns + 1):
        for side in list(edges)[:: 1 if turn % 2 else -1]:
            for figure, value in one(edges[side]).items() if turn else _warmed(one, edges[side]):
                found[side].setdefault(f"{name}.{figure}", []).append(value)


def _warmed(one: Callable[[EdgeProcess], dict[str, float]], edge: EdgeProcess) -> tuple[()]:
    one(edge)
    return ()


def _pushed(stack: Stack, edges: dict[str, EdgeProcess], turns: int, found: dict[str, dict[str, list[float]]]) -> None:
    """Decisions written for `STREAMS` streams at once; the time from the write until a stream has heard."""
    numbers = iter(range(1, 1_000_000))
    with stack.redis.client() as client, Streams(edges["base"].port) as base, Streams(edges["head"].port) as head:
        streams: dict[str, Any] = {"base": base, "head": head}
        sessions = {side: edge.sessions(STREAMS) for side, edge in edges.items()}
        for side in edges:
            streams[side].open(sessions[side])

        def one(edge: EdgeProcess) -> dict[str, float]:
            side = next(name for name, known in edges.items() if known is edge)
            before = usage(edge.serving()).cpu_s
            waits = [x for _ in range(ROUNDS) for x in told(client, streams[side], sessions[side], next(numbers))]
            spent = usage(edge.serving()).cpu_s - before
            p50, p99 = (np.percentile(waits, [50, 99]) * 1000).tolist()
            return {"p50_ms": p50, "p99_ms": p99, "cpu_us": spent * 1e6 / len(waits)}

        _turns(PUSH, edges, turns, found, one)


def _print(found: dict[str, dict[str, list[float]]]) -> None:
    for name, base in found["base"].items():
        head = found["head"][name]
        before, after, change = summarise(base), summarise(head), ratio(base, head)
        print(
            f"{name:<28}{before.median:>10,.2f} ({before.low:,.2f} to {before.high:,.2f}) "
            f"-> {after.median:>10,.2f} ({after.low:,.2f} to {after.high:,.2f})  "
            f"ratio {change.ratio:.3f} ({change.low:.3f} to {change.high:.3f})",
            flush=True,
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.edge_turns", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("base", metavar="BASE", help="the earlier revision, or its folder")
    parser.add_argument("--turns", type=int, default=TURNS, metavar="N", help=f"counted turns of each side ({TURNS})")
    known = [*LOADS, PUSH]
    parser.add_argument("--only", nargs="+", default=known, choices=known, metavar="LOAD", help=", ".join(known))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
