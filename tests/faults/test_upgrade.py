"""A fleet is rolled from an earlier release to this one and back, under traffic."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import pytest

from decisions.document import FIELDS
from decisions.summaries import Summary
from featurestore.session.stages import STAGES
from featurestore.versions import RECORD_VERSION, VERSION_BEFORE
from tests.faults.conftest import MakeRig
from tests.faults.patches import FOLD
from tests.faults.rig import SENDERS_TIME, Documents, Rig
from tests.faults.worker_process import Worker
from tests.faults.zygote import Zygote
from tests.revisions import C8D4F88, NoRevision, clean_environment, installed, newest_bundle
from tests.run_services import RunServices
from worker.checks.recompute import Identity

FLEET: Final = 3
STARTED_S: Final = 120
LIVED_S: Final = 6.0
"""Longer than a session may be silent: each stage sees sessions begin, fall silent, come back and end."""

SHORT_SESSIONS: Final = """\
import runpy, sys
import worker.wiring
from featurestore.session import FoldConfig
assert worker.wiring.__file__.startswith(sys.argv.pop(1)), "another release would run"
fold = FoldConfig(**{key: int(value) for key, value in (pair.split("=") for pair in sys.argv.pop(1).split(","))})
worker.wiring.fold_config = lambda bundle: fold
runpy.run_module("worker", run_name="__main__", alter_sys=True)
"""
"""What `patches.short_sessions` does, in the names of c8d4f88."""

AMISS: Final = ("store_went_back", "store_lost", "unknown_outcome", "log_gap", "output_refused")
"""Causes for which a worker reads again although nobody asked for it."""


class ReleasedWorker(Worker):
    """A worker of an installed release.

    Args:
        release: the folder that the release is installed in.
        environment: its settings.
        log: where its output goes.
    """

    def __init__(self, zygote: Zygote, release: Path, environment: dict[str, str], log: Path) -> None:
        fold = ",".join(
            f"{name}={getattr(FOLD, name)}"
            for name in ("idle_after_ms", "idle_mean_ms", "session_gap_ms", "gap_cap_ms", "bot_clicks")
        )
        with log.open("wb") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SHORT_SESSIONS, str(release), fold, "worker"],
                env=clean_environment(release) | environment,
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )
        super().__init__(zygote, self._process.pid, log)

    @property
    def status(self) -> int | None:
        """See `Worker`."""
        return self._process.poll()

    def stop(self) -> int:
        """See `Worker`; c8d4f88 compiles a kernel at its first takeover, which takes as long as it takes."""
        self.signal(signal.SIGTERM)
        return self.ended(STARTED_S)


@pytest.fixture(scope="module")
def release(services: RunServices) -> Path:
    """The release of before, installed; skips, or fails where services are required, without the git history."""
    try:
        return installed(C8D4F88)
    except NoRevision as reason:
        if services.required:
            pytest.fail(f"{reason}; CLICKSTAGE_REQUIRE demands it", pytrace=False)
        pytest.skip(str(reason))


KNOWN: Final = """\
import json, msgspec
from featurestore.decisions import Decision
from worker.summaries import Summary
names = lambda kind: [field.encode_name for field in msgspec.structs.fields(kind)]
print(json.dumps({"decisions_topic": names(Decision), "sessions_topic": names(Summary)}))
"""
"""The fields of c8d4f88's documents, from its own tables."""


def newer_fields(release: Path) -> dict[str, set[str]]:
    """The fields of each topic's documents that the release does not know, by the field tables of both."""
    script = [sys.executable, "-c", KNOWN]
    known = subprocess.run(script, env=clean_environment(release), cwd=release, capture_output=True, check=True).stdout
    today = {
        "decisions_topic": {field.name for field in FIELDS},
        "sessions_topic": {field.encode_name for field in msgspec.structs.fields(Summary)},
    }
    return {topic: today[topic] - set(names) for topic, names in msgspec.json.decode(known).items()}


class Promise:
    """What documents must say while two releases run: all that their writer knows.

    A document that was decided while this release ran alone is held to every field. In the rest, the fields that the
    release before does not know may be missing; all others must be as this release computes them, with one exception.
    Where a decision holds a stage back (its route is held), ``confidence`` speaks of ``likeliest``, which c8d4f88 does
    not name: there it is the probability of the stage that is shown, and must be exactly this.

    Attributes:
        alone_ms: from when to when this release ran alone, epoch ms.
        excused: documents of each topic that lack a newer field.
        alone: documents of each topic that are held to every field.
    """

    def __init__(self, release: Path) -> None:
        self._newer = newer_fields(release)
        self.alone_ms = [0, 0]
        self.excused: Counter[str] = Counter()
        self.alone: Counter[str] = Counter()

    def __call__(self, topic: str, expected: Documents, found: list[bytes]) -> list[bytes]:
        """See `tests.faults.rig.Reading`: the documents, with the newer fields that they may lack filled in."""
        return [self._filled(topic, expected, document) for document in found]

    def _filled(self, topic: str, expected: Documents, document: bytes) -> bytes:
        said = msgspec.json.decode(document)
        wanted = expected.get(Identity(said["source"], said["session_id"], said["seq"]), {})
        begin, end = self.alone_ms
        if begin <= said["decided_at"] < end:
            self.alone[topic] += 1
            return document
        lacking = {name: wanted[name] for name in (self._newer[topic] & wanted.keys()) - said.keys()}
        if not lacking:
            return document
        self.excused[topic] += 1
        if "likeliest" in lacking and said["confidence"] == said["probabilities"][STAGES.index(said["stage"])]:
            lacking["confidence"] = wanted["confidence"]
        return msgspec.json.encode(said | lacking)


class Fleet:
    """The workers that run now; the oldest is replaced first."""

    def __init__(self, bench: Rig) -> None:
        self._bench = bench
        self.running: list[Worker] = []

    def add(self, start: Callable[[], Worker]) -> None:
        """Start a worker and wait until it owns partitions."""
        worker = start()
        self._bench.until(lambda: _owns(worker), "the worker owns partitions", STARTED_S)
        self.running.append(worker)

    def roll(self, start: Callable[[], Worker]) -> None:
        """Replace every worker, one by one: end it in order, start another, wait until all is served again."""
        for _ in range(len(self.running)):
            leaving = self.running.pop(0)
            assert not amiss(leaving), f"{amiss(leaving)}:\n{leaving.tail()}"
            assert leaving.stop() == 0, leaving.tail()
            self.add(start)
            self._bench.recovered()
            self._bench.injected += 1


def _owns(worker: Worker) -> bool:
    if worker.status is not None:
        raise AssertionError(f"the worker ended with {worker.status}:\n{worker.tail()}")
    return "metrics on port" in worker.log and worker.metrics().get("assigned_partitions", 0) > 0


def amiss(worker: Worker) -> dict[str, float]:
    """What a worker counted that a planned roll must not cause: corrupt records, lost state, rewinds."""
    return {
        name: value
        for name, value in worker.metrics().items()
        if value and ("corrupt" in name or any(f'rewinds_total{{cause="{cause}"}}' == name for cause in AMISS))
    }


@pytest.mark.timeout(1_500)
def test_a_fleet_is_rolled_to_this_release_and_back(
    rig: MakeRig, zygote: Zygote, release: Path, tmp_path: Path
) -> None:
    """48: three workers are replaced one by one, and back: nothing is lost, doubled or rebuilt.

    This release writes as the one before while that still runs, then in its own way, then as before again.
    """
    # c8d4f88 takes an event's time as it is; since then a session's times are moved to the broker's clock. With the
    # senders' time both clocks are one, and the two releases must agree to the millisecond.
    bench = rig("48 rolling upgrade and back", record_time=SENDERS_TIME)
    bench.bundle = newest_bundle(release)  # one that both releases read

    def before() -> Worker:
        log = tmp_path / f"release-{len(bench.workers)}.log"
        bench.workers.append(ReleasedWorker(zygote, release, bench.settings(shutdown_s=STARTED_S), log))
        return bench.workers[-1]

    fleet = Fleet(bench)
    for _ in range(FLEET):
        fleet.add(before)
    bench.send()
    bench.serving()
    promise = Promise(release)
    for version in (VERSION_BEFORE, RECORD_VERSION, VERSION_BEFORE):
        time.sleep(LIVED_S)
        fleet.roll(partial(bench.start, write_version=version))
        promise.alone_ms[0] = promise.alone_ms[0] or time.time_ns() // 1_000_000
        # An older release comes back only once all that it cannot read has ended or been written anew.
        bench.until(lambda version=version: versions(bench) == {version}, f"all is of version {version}")  # type: ignore[misc]
    time.sleep(LIVED_S)
    promise.alone_ms[1] = time.time_ns() // 1_000_000
    fleet.roll(before)
    time.sleep(LIVED_S)
    assert not any(map(amiss, fleet.running))
    bench.judge(reading=promise)
    topics = {"decisions_topic", "sessions_topic"}
    assert promise.excused.keys() == topics, "the release before wrote nothing"
    assert promise.alone.keys() == topics, "this release never ran alone"


def versions(bench: Rig) -> set[int]:
    """The versions of the stored sessions: the first byte of each."""
    with bench.client() as client:
        keys = [bench.namespace.states(shard) for number in range(bench.partitions) for shard in bench.shards(number)]
        return {state[0] for key in keys for state in client.hvals(key)}
