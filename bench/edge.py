"""The edge: inline decisions, collecting, and pushing to open streams, with worker, Kafka and Redis beside."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final, Self
from urllib.request import urlopen

import numpy as np

from bench.context import Context, Samples
from bench.edge_streams import Streams
from bench.processes import rss_mb, usage
from bench.stack import ENV, READY_S, REPOSITORY, Stack, Topics, WorkerProcess, disown
from tests.services import free_port

INLINE_RATE: Final = 1_000
SECONDS: Final = 5.0
MOST_RUNS: Final = 3
"""More would take the benchmark beyond five minutes."""
SESSIONS: Final = 2_000
STREAMS: Final = 1_000
CROWD: Final = 5_000
"""Streams that a process must hold."""
ROUNDS: Final = 20


class EdgeProcess:
    """``clickstage edge`` on a stack, one process, without limits.

    Args:
        stack: where.
        topics: which.
        group: of the worker.
        options: more flags.
        tree: the checkout whose edge runs (`bench.edge_turns`).
    """

    def __init__(
        self,
        stack: Stack,
        topics: Topics,
        group: str,
        options: Mapping[str, object] | None = None,
        tree: Path = REPOSITORY,
    ) -> None:
        self.port = free_port()
        self.log = stack.directory / f"edge-{group}-{self.port}.log"
        flags = {
            "kafka": stack.kafka.bootstrap,
            "redis": stack.redis.url,
            "env": ENV,
            "group": group,
            "topic": topics.clicks,
            "edge-port": self.port,
            "edge-spool": stack.directory / f"spool-{group}",
            **{f"edge-{name}-rate": 0 for name in ("key", "address", "session")},
            **(options or {}),
        }
        arguments = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        with stack.redis.client() as client:
            disown(client)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker", "edge", *arguments],
                cwd=tree,
                env=os.environ | {"PYTHONPATH": str(tree)},
                stdout=log,
                stderr=log,
            )

    def wait_ready(self) -> None:
        """Block until /readyz says so."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
            time.sleep(0.1)
        raise TimeoutError(f"the edge is not ready:\n{self.log.read_text()[-2_000:]}")

    def sessions(self, count: int) -> list[tuple[str, str]]:
        """New sessions and their tokens."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        begun = []
        for _ in range(count):
            connection.request("POST", "/v1/sessions?key=demo", b"", {"Content-Type": "text/plain"})
            told = json.loads(connection.getresponse().read())
            begun.append((told["session_id"], told["token"]))
        connection.close()
        return begun

    def memory_mb(self) -> float:
        """Resident memory of the process that serves."""
        return rss_mb(self.serving())

    def serving(self) -> int:
        """The process that serves: the largest child."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return max(map(int, children), key=rss_mb)

    def load(self, requests: list[tuple[str, str]], rate: float, seconds: float, connections: int) -> dict[str, Any]:
        """What the open-loop client measures, and ``cpu_ms``: of the edge, for each request that was answered."""
        plan = {"requests": requests, "rate": rate, "seconds": seconds, "connections": connections}
        command = [sys.executable, "-m", "bench.edge_client", "127.0.0.1", str(self.port)]
        serving = self.serving()
        before = usage(serving).cpu_s
        said = subprocess.run(
            command, input=json.dumps(plan), cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        if said.returncode:
            raise RuntimeError(f"the load failed:\n{said.stderr[-2_000:]}\nthe edge:\n{self.log.read_text()[-2_000:]}")
        told: dict[str, Any] = json.loads(said.stdout)
        told["cpu_ms"] = (usage(serving).cpu_s - before) * 1000 / max(told["answered"], 1)
        refused = {status: n for status, n in told["statuses"].items() if not status.startswith("2")}
        if refused:
            print(f"  not answered with 2xx: {refused}", flush=True)
        return told

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        self._process.kill()
        self._process.wait()


def edge(context: Context) -> Samples:
    """``edge``: one process of the edge, one worker, Kafka and Redis on the same cores.

    The client gives way where it sends as much as it can; where it measures delays at a fixed rate it does not.
    """
    topics = context.stack.topics(4)
    samples: Samples = {}
    seconds = max(SECONDS / 4, 2.5) if context.quick else SECONDS
    for _ in range(min(context.runs, MOST_RUNS)):
        context.stack.flush()
        group = context.stack.group()
        with WorkerProcess(context.stack, topics, group) as worker, EdgeProcess(context.stack, topics, group) as served:
            worker.wait_ready()
            served.wait_ready()
            for name, value in (*_inline(served, seconds), *_collect(served, seconds), *_push(context, served)):
                samples.setdefault(name, []).append(value)
    return samples


def event_of(session: int, number: int) -> dict[str, Any]:
    """An event of a shopper who looks around, now and then with something for the cart."""
    kind = ("page_view", "view_item", "view_item", "add_to_cart")[number % 4]
    now = time.time_ns() // 1_000_000
    return {"session_id": f"bench-{session}", "type": kind, "ts": now, "page": f"/p/{number % 17}", "price": 20.5}


def _inline(served: EdgeProcess, seconds: float) -> list[tuple[str, float]]:
    """1,000 decisions a second: on events that go to Kafka too (collect), and on events that do not (ask)."""
    found = []
    for name, path in (("decide", "/v1/decide?key=demo"), ("events_decide", "/v1/events?key=demo&decide=1")):
        requests = [(path, json.dumps(event_of(i % SESSIONS, i))) for i in range(INLINE_RATE * 4)]
        told = served.load(requests, INLINE_RATE, seconds, 64)
        found += [
            (f"{name}_per_s", told["per_s"]),
            (f"{name}_p50_ms", told["p50_ms"]),
            (f"{name}_p99_ms", told["p99_ms"]),
            (f"{name}_cpu_ms", told["cpu_ms"]),
        ]
    return found


def _collect(served: EdgeProcess, seconds: float) -> list[tuple[str, float]]:
    """As many events a second as 64 connections can send, one and fifty a request."""
    one = [("/v1/events?key=demo", json.dumps(event_of(i % SESSIONS, i))) for i in range(2_000)]
    fifty = [
        ("/v1/events?key=demo", json.dumps([event_of((i + k) % SESSIONS, i + k) for k in range(50)]))
        for i in range(100)
    ]
    told = served.load(one, 0, seconds, 64)
    many = served.load(fifty, 0, seconds, 32)
    return [
        ("collect_1_events_per_s", told["per_s"]),
        ("collect_1_p99_ms", told["p99_ms"]),
        ("collect_1_cpu_ms", told["cpu_ms"]),
        ("collect_50_events_per_s", many["per_s"] * 50),
        ("collect_50_p99_ms", many["p99_ms"]),
        ("collect_50_cpu_ms", many["cpu_ms"]),
    ]


def _push(context: Context, served: EdgeProcess) -> list[tuple[str, float]]:
    """Memory of a stream; decisions written for 1,000 streams at once, one at a time, and for all of a crowd."""
    crowd = served.sessions(context.size(CROWD))
    some = crowd[: context.size(STREAMS)]
    before = served.memory_mb()
    with context.stack.redis.client() as client, Streams(served.port) as streams:
        streams.open(some)
        time.sleep(1.0)
        memory_kb = (served.memory_mb() - before) * 1000 / len(some)
        burst, single = [], []
        numbers = itertools.count(1)
        for number in range(context.size(ROUNDS)):
            burst += told(client, streams, some, next(numbers))
            single += told(client, streams, [some[number % len(some)]], next(numbers))
        streams.open(crowd[len(some) :])
        time.sleep(1.0)
        crowd_kb = (served.memory_mb() - before) * 1000 / len(crowd)
        all_of_them = [delay for _ in range(3) for delay in told(client, streams, crowd, next(numbers))]
    return [
        ("push_all_p50_ms", float(np.percentile(burst, 50)) * 1000),
        ("push_all_p99_ms", float(np.percentile(burst, 99)) * 1000),
        ("push_one_p50_ms", float(np.percentile(single, 50)) * 1000),
        ("push_one_most_ms", max(single) * 1000),
        ("push_crowd_p99_ms", float(np.percentile(all_of_them, 99)) * 1000),
        ("streams", float(len(crowd))),
        ("stream_kb", memory_kb),
        ("stream_crowd_kb", crowd_kb),
    ]


def told(client: Any, streams: Streams, sessions: list[tuple[str, str]], number: int) -> list[float]:
    """Seconds from the write of a decision to each of these sessions until its stream has heard it.

    All are one pipeline: the time is from its beginning, so the writes themselves are part of it.
    """
    pipe = client.pipeline(transaction=False)
    for session, _ in sessions:
        pipe.set(f"decision:{session}", _document(number), px=1_800_000)
    at = time.time()
    pipe.execute()
    return [heard - at for heard in streams.heard(number, len(sessions))]


def _document(seq: int) -> bytes:
    now = time.time_ns() // 1_000_000
    return json.dumps(
        {
            "v": 1,
            "stage": "Drop-Off Risk",
            "confidence": 0.91,
            "probabilities": [0.02, 0.03, 0.04, 0.91],
            "action": "exit-intent-reminder",
            "route": "act",
            "model": "journey-2",
            "policy": "24e3eabc",
            "event_ts": now,
            "decided_at": now,
            "source": "bench",
            "seq": seq,
            "expires_at": now + 1_800_000,
            "reasons": ["62 s idle"],
        }
    ).encode()
