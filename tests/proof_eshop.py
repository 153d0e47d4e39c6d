"""The proof of the main path on real clicks: ``python -m tests.proof_eshop``.

165,474 clicks of 24,026 sessions go through a real Kafka into two workers of one group; then the state of every session
in Redis must give the nine features that a plain recomputation from the CSV gives. The recomputation below uses
neither the fold nor the adapter's events: the CSV, the definitions of the features, and the invented times.
"""

# ruff: noqa: T201 - a command prints
import argparse
import csv
import gzip
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast
from urllib.request import urlopen

import numpy as np
import redis

from featurestore.columns.hashing import hash64
from featurestore.session.codec import unpack
from featurestore.session.features import FEATURES
from featurestore.session.fold import observe
from featurestore.session.state import LIVE
from featurestore.store.keys import Namespace, Shard
from tests.revisions import REPOSITORY, compile_kernels
from tests.services import FLAVOURS, RedisServer, Unavailable, create_topics, find_kafka, free_port, topic_id
from tests.services.kafka_topics import read_topic
from worker.commands.replay import send
from worker.settings import Settings
from worker.trackers.adapters import eshop_times, read

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
ESHOP = DATA / "eshop_clothing_2008.csv.gz"
OTTO = DATA / "otto_recsys_official_sample.jsonl.gz"
CLICKS = 165_474
SESSIONS = 24_026
PARTITIONS = 8


@dataclass(frozen=True)
class Stack:
    """A Kafka, a Redis and the names used on them."""

    kafka: str
    redis: RedisServer
    name: str

    def settings(self) -> Settings:
        """Of everything that talks to this stack."""
        return Settings.load(
            {
                "kafka": self.kafka,
                "redis": self.redis.url,
                "topic": self.name,
                "decisions_topic": f"{self.name}.decisions",
                "sessions_topic": f"{self.name}.sessions",
                "dlq_topic": f"{self.name}.dlq",
                "group": self.name,
                "timers": "off",
            },
            {},
        )

    def make_topics(self) -> None:
        """The four topics, for records of any age."""
        s = self.settings()
        names = (s.topic, s.decisions_topic, s.sessions_topic, s.dlq_topic)
        create_topics(self.kafka, dict.fromkeys(names, PARTITIONS), {"retention.ms": "-1"})

    def namespace(self, generation: int = 0) -> Namespace:
        """Of the workers' keys."""
        return Namespace("prod", self.name, topic_id(self.kafka, self.name), generation=generation)


@dataclass(frozen=True)
class RunningWorker:
    """A worker process and its metrics."""

    process: "subprocess.Popen[bytes]"
    port: int

    def metric(self, name: str) -> dict[str, float]:
        """The series of one metric: labels as written → value."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as response:
            text = response.read().decode()
        found = re.findall(rf"^{name}({{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return {labels: float(value) for labels, value in found}


@contextmanager
def workers(
    stack: Stack, n: int, log: Path, environ: Mapping[str, str] | None = None, timers: str = "off"
) -> Iterator[list[RunningWorker]]:
    """``n`` workers of one group as processes of their own; each must leave cleanly."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("CLICKSTAGE_")} | dict(environ or {})
    settings = stack.settings()
    options = ["topic", "decisions_topic", "sessions_topic", "dlq_topic", "group", "kafka"]
    flags = [part for o in options for part in (f"--{o.replace('_', '-')}", str(getattr(settings, o)))]
    flags += ["--timers", timers]
    started = []
    with log.open("wb") as out:
        for _ in range(n):
            port = free_port()
            command = [sys.executable, "-m", "worker", "worker", *flags, "--redis", stack.redis.url]
            command += ["--metrics-port", str(port), "--metrics-host", "127.0.0.1"]
            started.append(RunningWorker(subprocess.Popen(command, stdout=out, stderr=out, env=env), port))
        try:
            _wait_ready(started, log)
            yield started
        finally:
            for worker in started:
                worker.process.terminate()
            codes = [worker.process.wait(20) for worker in started]
    if any(codes):
        raise AssertionError(f"workers left with {codes}:\n{log.read_text()[-4_000:]}")


def _wait_ready(started: list[RunningWorker], log: Path, within_s: float = 120) -> None:
    until = time.monotonic() + within_s
    for worker in started:
        while True:
            if worker.process.poll() is not None:
                raise AssertionError(f"a worker stopped:\n{log.read_text()[-4_000:]}")
            try:
                with urlopen(f"http://127.0.0.1:{worker.port}/ready", timeout=2) as response:
                    if response.status == 200:
                        break
            except OSError:
                pass
            if time.monotonic() > until:
                raise AssertionError(f"no worker is ready after {within_s} s:\n{log.read_text()[-4_000:]}")
            time.sleep(0.2)


def wait_applied(running: list[RunningWorker], n: int, within_s: float = 300) -> dict[str, float]:
    """Block until ``n`` events are applied; the sum of every outcome over the workers."""
    until = time.monotonic() + within_s
    while True:
        outcomes: dict[str, float] = {}
        for worker in running:
            for labels, value in worker.metric("clickstage_events_total").items():
                outcome = re.sub(r'.*outcome="(\w+)".*', r"\1", labels)
                outcomes[outcome] = outcomes.get(outcome, 0) + value
        if sum(outcomes.values()) >= n:
            return {outcome: value for outcome, value in outcomes.items() if value}
        if time.monotonic() > until:
            raise AssertionError(f"after {within_s} s: {outcomes}, {n} expected")
        time.sleep(0.3)


def recomputed(path: Path) -> dict[str, list[float]]:
    """The nine features of each session out of the CSV, by their definitions and nothing else."""
    rows: dict[str, list[tuple[int, tuple[int, int, int], str]]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter=";"):
            day = (int(row["year"]), int(row["month"]), int(row["day"]))
            rows.setdefault(row["session ID"], []).append((int(row["order"]), day, row["page 2 (clothing model)"]))
    features = {}
    for session, clicks in rows.items():
        clicks.sort()
        times = eshop_times(session, *clicks[0][1], len(clicks))
        duration = (times[-1] - times[0]) / 1000
        n = len(clicks)
        pages = min(len({model for _, _, model in clicks}), 64)
        gaps = [min((b - a) / 1000, 600.0) for a, b in pairwise(times)]
        features[session] = [
            duration,
            float(n),
            float(pages),
            0.0,
            sum(gaps) / len(gaps) if gaps else 0.0,
            float("nan"),
            n / max(duration, 1.0),
            0.0,
            sum(gaps[-5:]) / len(gaps[-5:]) if gaps else 0.0,
        ]
    return features


def stored(client: "redis.Redis", namespace: Namespace, partitions: int) -> dict[str, list[float]]:
    """The nine features of each live session out of Redis; what is kept of a withdrawn one has none."""
    found: dict[str, list[float]] = {}
    for partition in range(partitions):
        sessions = cast(dict[bytes, bytes], client.hgetall(namespace.states(Shard(partition))))
        if not sessions:
            continue
        states = unpack(list(sessions.values()), hash64([name.decode() for name in sessions])).states
        live = states["flags"] & LIVE != 0
        for name, row in itertools.compress(zip(sessions, observe(states).tolist(), strict=True), live):
            assert name.decode() not in found, f"session {name.decode()} is stored in two partitions"
            found[name.decode()] = row
    return found


def at_rest(client: "redis.Redis", namespace: Namespace, partitions: int) -> list[int]:
    """The size of each stored session."""
    blobs = [cast(list[bytes], client.hvals(namespace.states(Shard(p)))) for p in range(partitions)]
    return [len(blob) for part in blobs for blob in part]


def differences(found: Mapping[str, list[float]], wanted: Mapping[str, list[float]]) -> list[str]:
    """What is not equal, in words; features to nine digits."""
    problems = [f"session {s} is missing" for s in wanted if s not in found]
    problems += [f"session {s} is not in the file" for s in found if s not in wanted]
    for session in wanted.keys() & found.keys():
        for name, a, b in zip(FEATURES, found[session], wanted[session], strict=True):
            if not np.isclose(a, b, rtol=1e-9, atol=0, equal_nan=True):
                problems.append(f"session {session}: {name} is {a} in Redis and {b} from the CSV")
    return problems


def prove(stack: Stack, log: Path, *, say: bool = False) -> dict[str, float]:
    """Replay, wait, compare; the figures of the run.

    Raises:
        AssertionError: saying what differs.
    """
    tell = print if say else lambda *_: None
    stack.make_topics()
    clicks = read("eshop", ESHOP)
    tell(f"read {len(clicks):,} clicks of {len({c.session_id for c in clicks}):,} sessions")
    with workers(stack, 2, log) as running:
        tell("two workers of one group are ready; replaying ...")
        started = time.monotonic()
        send(stack.settings(), clicks)
        sent = time.monotonic() - started
        outcomes = wait_applied(running, len(clicks))
        seconds = time.monotonic() - started
        shares = [sum(w.metric("clickstage_events_total").values()) for w in running]
    assert outcomes == {"applied": CLICKS}, f"outcomes: {outcomes}"
    assert min(shares) > 0, f"one worker did everything: {shares}"
    tell(f"sent in {sent:.1f} s, applied in {seconds:.1f} s: {outcomes}, by worker {[int(s) for s in shares]}")
    with stack.redis.client() as client:
        found = stored(client, stack.namespace(), PARTITIONS)
    problems = differences(found, recomputed(ESHOP))
    assert not problems, f"{len(problems)} differences, such as {problems[:5]}"
    assert len(found) == SESSIONS
    tell(f"{len(found):,} sessions in Redis; all nine features of each equal the recomputation from the CSV")
    with stack.redis.client() as client:
        sizes = np.array(at_rest(client, stack.namespace(), PARTITIONS))
    low, high = np.percentile(sizes, (50, 99))
    tell(f"bytes at rest: {low:.0f} in the middle, {high:.0f} at the 99th percentile, {sizes.max()} at most")
    decisions = read_topic(stack.kafka, stack.settings().decisions_topic, 120)
    identities = {(m.key(), re.search(rb'"seq":(\d+)', m.value() or b"")[1]) for m in decisions}  # type: ignore[index] # every decision has one
    assert len(decisions) == len(identities), "a decision was logged twice"
    tell(f"{len(decisions):,} decisions logged, none twice: one a click and one a silence")
    return {"events": len(clicks), "sessions": len(found), "decisions": len(decisions), "seconds": seconds}


def main() -> int:
    """Start servers, prove, say so."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof_eshop", description=__doc__)
    parser.add_argument("--store", choices=FLAVOURS, default="redis", help="which store (default: %(default)s)")
    args = parser.parse_args()
    if not ESHOP.exists():
        print(f"{ESHOP.name} is not in ../shared/data; see its README there")
        return 2
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        place = Path(folder)
        try:
            kafka = find_kafka(place / "kafka")
            stack.callback(kafka.stop)
            store = stack.enter_context(RedisServer(args.store, place / "store"))
        except Unavailable as reason:
            print(f"no real server here: {reason}")
            return 2
        print(f"on {kafka.version} and {store.version}")
        compile_kernels(REPOSITORY, REPOSITORY)  # two workers that compile on a busy machine are not ready in time
        try:
            prove(Stack(kafka.bootstrap, store, "proof"), place / "workers.log", say=True)
        except AssertionError as problem:
            print(f"FAILED: {problem}")
            return 1
    print("proved")
    return 0


if __name__ == "__main__":
    sys.exit(main())
