"""Faults of the workers themselves: killed, frozen, stuck, restarted, joining and leaving."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.conftest import MakeRig, central
from tests.faults.patches import STEPS
from tests.faults.worker_process import Worker
from tests.services import read_topic
from worker.checks.recompute import compare, engine_for, expect, records_of
from worker.errors import ExitCode

PROTOCOLS = pytest.mark.parametrize("protocol", ["classic", "consumer"])


def test_nothing_fails(rig: MakeRig) -> None:
    """The bench finds nothing where nothing fails."""
    bench = rig("0 nothing")
    bench.start()
    bench.send()
    time.sleep(3)
    assert bench.judge().events > 500


def test_the_real_command(rig: MakeRig, tmp_path: Path) -> None:
    """0: a worker started as an operator starts it, with the bundle's own session lengths, decides the same."""
    bench = rig("0 the real command")
    traffic = bench.send()
    with (tmp_path / "real.log").open("wb") as log:
        command = [sys.executable, "-m", "worker", "worker"]
        worker = subprocess.Popen(command, env=os.environ | bench.settings(timers="off"), stdout=log, stderr=log)
        try:
            bench.serving()
            time.sleep(1)
            traffic.stop()
            bench.caught_up()
            worker.terminate()
            assert worker.wait(15) == 0
        finally:
            worker.kill()
            worker.wait()
    records = records_of(read_topic(bench.bootstrap, bench.topics["topic"]))
    expected = expect(engine_for(bench.bundle, None, bench.topic_id, bench.policy), records)
    difference = compare(expected.decisions, bench.documents("decisions_topic"))
    assert expected.decisions
    assert not difference, str(difference)
    bench.note()


def test_every_step_is_where_a_worker_is_killed() -> None:
    """A call that moved to another module would not be cut, and the test of its step would test nothing."""
    assert [step for step, (owner, name) in STEPS.items() if not callable(getattr(owner, name, None))] == []


@pytest.mark.parametrize("step", STEPS)
def test_sigkill_between_two_steps(rig: MakeRig, step: str) -> None:
    """1: a worker killed right after any step repeats work, and changes nothing."""
    seed = 1 + list(STEPS).index(step)
    rng = random.Random(seed)
    bench = rig(f"1 SIGKILL after {step}", seed)
    bench.send()
    for _ in range(2):
        worker = bench.start(patches=[["fail_after", step, rng.randint(2, 12), "kill"]], ready=False)
        assert worker.ended(30) == -9
        bench.injected += 1
    bench.start()
    bench.recovered()
    bench.judge()


@central
@PROTOCOLS
def test_sigkill_and_takeover(rig: MakeRig, protocol: str, seed: int) -> None:
    """1: another serves the partitions of a killed worker within the session timeout and 5 s; the lag ends at 0."""
    rng = random.Random(seed)
    bench = rig(f"1 SIGKILL, takeover ({protocol})", seed)
    bench.environment["group_protocol"] = protocol
    bench.send()
    bench.start()
    for _ in range(2):
        bench.start()
        bench.serving()
        time.sleep(rng.uniform(0.2, 1.0))
        bench.workers[-2].kill9()
        bench.injected += 1
        bench.recovered()
    bench.drained()
    row = bench.judge()
    timeout_s = 3 if protocol == "classic" else 6
    assert row.recovery_s <= timeout_s + 5


def test_crash_loop(rig: MakeRig) -> None:
    """2: killed every 0.1 to 1 s, the work still gets done."""
    bench = rig("2 crash loop", 2)
    rng = random.Random(2)
    bench.send()
    for _ in range(15):
        worker = bench.start(ready=False)
        time.sleep(rng.uniform(0.1, 1.6))
        worker.kill9()
        bench.injected += 1
    bench.start()
    bench.recovered()
    bench.judge()


@central
@PROTOCOLS
def test_zombie(rig: MakeRig, protocol: str, seed: int) -> None:
    """3: a worker frozen with a batch in flight past the session timeout writes nothing of it when it wakes up."""
    bench = rig(f"3 zombie ({protocol})", seed)
    bench.environment["group_protocol"] = protocol
    bench.send()
    zombie = bench.start(patches=[["stop_before_write", random.Random(seed).randint(5, 20)]])
    bench.until(zombie.frozen, "the worker has frozen itself")
    bench.injected += 1
    bench.start()
    bench.caught_up("the other worker has taken over")
    zombie.thaw()
    bench.until(lambda: "another owner's epoch is stored" in zombie.log, "the zombie is refused by its epoch")
    bench.recovered()
    bench.judge()


def test_stopped_and_continued(rig: MakeRig) -> None:
    """3: a worker that was stopped for longer than it may stand still goes on when it is continued."""
    bench = rig("3 stopped and continued", 5)
    worker = bench.start(stuck_after_s=6)
    bench.send(rate=50)
    bench.serving()
    for _ in range(2):
        worker.freeze()
        time.sleep(8)
        worker.thaw()
        bench.injected += 1
        bench.recovered()
    assert worker.status is None, worker.tail()
    assert worker.log.count("this process did not run for") == 2
    bench.judge()


def test_stuck_scoring(rig: MakeRig) -> None:
    """4: a worker that scores for ever loses its partitions, and its watchdog ends it with the documented code."""
    bench = rig("4 stuck in scoring", 4)
    bench.send(rate=200)
    stuck = bench.start(patches=[["slow_scoring", 60.0, 8]], max_poll_interval_s=4, stuck_after_s=6)
    bench.start(max_poll_interval_s=4)
    assert stuck.ended(20) == ExitCode.STUCK
    bench.injected += 1
    bench.recovered()
    assert "Current thread" in stuck.log or "most recent call first" in stuck.log
    bench.judge()


@central
@PROTOCOLS
def test_rolling_restart_and_scaling(rig: MakeRig, protocol: str, seed: int) -> None:
    """5: one worker, two, four, one; every one that leaves does so in order, and nothing is repeated."""
    bench = rig(f"5 scale 1-2-4-1 ({protocol})", seed)
    bench.environment["group_protocol"] = protocol
    bench.send()
    bench.start()
    bench.start()
    bench.serving()
    bench.start(ready=False)
    bench.start()
    bench.serving()
    for worker in bench.workers[:3]:
        assert worker.stop() == 0
        bench.injected += 1
    bench.recovered()
    bench.judge()


@PROTOCOLS
def test_rebalance_storm(rig: MakeRig, protocol: str) -> None:
    """5: workers join and leave every second."""
    bench = rig(f"5 rebalance storm ({protocol})", 5)
    bench.environment["group_protocol"] = protocol
    rng = random.Random(5)
    bench.send()
    bench.start()
    others: list[Worker] = []
    for _ in range(8):
        if len(others) < 2 or rng.random() < 0.4:
            others.append(bench.start(ready=False))
        else:
            leaver = others.pop(0)
            leaver.kill9() if rng.random() < 0.5 else leaver.signal(15)
        bench.injected += 1
        time.sleep(1)
    bench.recovered()
    bench.judge()


def test_signal_storm(rig: MakeRig) -> None:
    """7: signals skip nothing."""
    import signal

    bench = rig("7 SIGTERM storm", 7)
    bench.send()
    for _ in range(3):
        worker = bench.start()
        time.sleep(0.5)
        for _ in range(5):
            worker.signal(signal.SIGTERM)
            time.sleep(0.02)
        assert worker.ended(15) == 0
        bench.injected += 1
    bench.start()
    bench.recovered()
    bench.judge()


@pytest.mark.parametrize(("minutes", "after_s"), [(-10, 0.0), (10, 0.0), (10, 4.0)], ids=["slow", "fast", "jumps"])
def test_clock_ten_minutes_off(rig: MakeRig, minutes: int, after_s: float) -> None:
    """40: a worker whose clock is slow, fast or set decides what the log says, and calls nobody silent too early."""
    bench = rig(f"40 worker clock {minutes:+} min" + (" while it runs" if after_s else ""), 40)
    bench.send()
    bench.start(patches=[["clock_off_by", minutes * 60_000, after_s]])
    bench.serving()
    time.sleep(3)
    bench.workers[0].stop()
    bench.injected += 1
    bench.start()
    bench.recovered()
    bench.judge()
