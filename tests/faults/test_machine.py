"""Faults of the machine and of what lies on it: the model, the disk, memory, threads, open files, forks."""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.faults.conftest import MakeRig
from tests.faults.rig import SENDERS_TIME, Rig
from tests.faults.worker_process import Worker
from tests.services import RedisServer
from worker.errors import ExitCode

GIB = 1 << 30
START_S = 150.0
BACKLOG_S = 600
GROWTH_MB = 150
GARBAGE_MB = 200
LISTED_MB = 250


def damaged(bundle: Path, how: str) -> None:
    """Change the stage's model in a bundle, and nothing that says so."""
    stage = bundle / "stage.npz"
    content = bytearray(stage.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
    elif how == "cut":
        del content[len(content) // 2 :]
    else:
        content = bytearray((bundle / "manifest.json").read_bytes())
    stage.write_bytes(content)


def test_model_damaged(rig: MakeRig, tmp_path: Path) -> None:
    """41: a bundle that changes under a worker changes nothing for it, and no worker starts on it."""
    bench = rig("41 model flipped, cut, swapped", 41)
    bundle = Path(shutil.copytree(bench.bundle, tmp_path / "model"))
    bench.environment["bundle"] = str(bundle)
    running = bench.start()
    bench.send()
    bench.serving()
    whole = (bundle / "stage.npz").read_bytes()
    for how in ("flipped", "cut", "swapped"):
        damaged(bundle, how)
        refused = bench.start(ready=False)
        assert refused.ended(20) == ExitCode.BUNDLE, refused.tail()
        assert "stage.npz" in refused.log
        assert running.status is None, running.tail()
        bench.injected += 1
        bench.recovered()
        (bundle / "stage.npz").write_bytes(whole)
    running.kill9()
    bench.start()
    bench.recovered()
    bench.judge()


class CappedRedis(RedisServer):
    """A Redis that takes a file at its largest size for an error, as a full disk is, rather than for its end."""

    @property
    def command(self) -> list[str]:
        return ["sh", "-c", 'trap "" XFSZ; exec "$@"', "sh", *super().command]

    def room(self, more: int | None) -> None:
        """How much longer any of its files may become than the longest is now; None for no limit."""
        files = self.directory.glob("appendonlydir/*")
        limit = resource.RLIM_INFINITY if more is None else max(file.stat().st_size for file in files) + more
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


@pytest.mark.parametrize("then", ["room", "killed"])
def test_disk_full(rig: MakeRig, tmp_path: Path, then: str) -> None:
    """42: the append-only file cannot grow: the worker waits, not ready, and goes on once it can, or from its end."""
    with CappedRedis("redis", tmp_path / "capped") as server:
        bench = rig(f"42 disk full, then {then}", 42, server=server)
        worker = bench.start()
        bench.send()
        bench.serving()
        for _ in range(2):
            server.room(20_000)
            bench.until(lambda: "Redis failed" in worker.http("/ready"), "the worker waits", 20)
            assert worker.http("/live") == "live\n"
            time.sleep(1)
            if then == "killed":
                server.kill9()
                server.start()
            else:
                server.room(None)
            bench.injected += 1
            bench.recovered()
        assert worker.status is None
        bench.judge()


def memory_mb(worker: Worker, field: str) -> float:
    """A line of /proc/PID/status."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{field}:")) / 1024


def test_backlog_in_little_memory(rig: MakeRig) -> None:
    """43: ten minutes of clicks wait, more than the memory that the worker may take: it reads them piece by piece."""
    bench = rig("43 ten minutes' backlog, memory capped", 43, record_time=SENDERS_TIME)
    sent = bench.send(rate=0).backlog(BACKLOG_S, rate=300, padding=2_000)
    assert sent > 1.5 * GROWTH_MB * 1_000_000
    worker = bench.start()
    worker.freeze()
    before = memory_mb(worker, "VmRSS")
    data = int((memory_mb(worker, "VmData") + GROWTH_MB) * 1024 * 1024)
    resource.prlimit(worker.pid, resource.RLIMIT_DATA, (data, data))
    worker.thaw()
    bench.injected += 1
    bench.recovered()
    grown = memory_mb(worker, "VmHWM") - before
    assert grown < GROWTH_MB, f"the worker grew by {grown:.0f} MB"
    assert worker.status is None, worker.tail()
    bench.judge()


def as_sent(number: int) -> str:
    """100 kB that compress to a half."""
    return f"{number} {os.urandom(50_000).hex()}"


def packed(number: int) -> str:
    """100 kB that compress to a few bytes."""
    return f"{number:05} " * 16_000


def test_garbage_in_bounded_memory(rig: MakeRig) -> None:
    """24.13: under garbage a worker grows no more than under a backlog, and by what one fetch unpacks to.

    Then the letters are listed, in less memory than they take.
    """
    bench = rig("24.13 garbage, 400 MB", 24)
    worker = bench.start(dlq_max_consecutive=1_000_000, dlq_max_share=1.0)
    before = memory_mb(worker, "VmRSS")
    assert grown_by(bench, worker, as_sent) - before < GROWTH_MB
    # One fetch may bring all of it, and the client unpacks what a fetch brings.
    assert grown_by(bench, worker, packed) - before < GROWTH_MB + GARBAGE_MB
    assert worker.stop() == ExitCode.OK
    said, peak_mb = listed(bench)
    assert len(said.splitlines()) == 6
    assert f"{bench.injected} dead letters" in said
    assert peak_mb < LISTED_MB, f"listing took {peak_mb:.0f} MB"
    bench.note()


def grown_by(bench: Rig, worker: Worker, garbage: Callable[[int], str]) -> float:
    """Send `GARBAGE_MB` of garbage, wait until all of it is letters, and say what the worker took at most, MB."""
    producer = Producer({"bootstrap.servers": bench.bootstrap, "compression.type": "zstd", "linger.ms": 20})
    for number in range(GARBAGE_MB * 10):
        producer.produce(bench.topics["topic"], garbage(number), str(number))
        producer.poll(0)
        if number % 500 == 499:
            assert producer.flush(60) == 0
    assert producer.flush(60) == 0
    bench.injected += GARBAGE_MB * 10

    def letters() -> float:
        return sum(count for name, count in worker.metrics().items() if name.startswith("dead_letters_total"))

    bench.until(lambda: letters() == bench.injected, "all are letters", 120)
    return memory_mb(worker, "VmHWM")


def listed(bench: Rig) -> tuple[str, float]:
    """What ``clickstage dlq list --limit 5`` prints, and the memory that it took at most, MB.

    The process is asked: what the kernel tells its parent counts the memory of the parent too.
    """
    ask = "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    run = f"from worker.cli import main; code = main(['dlq', 'list', '--limit', '5']); {ask}; raise SystemExit(code)"
    command = [sys.executable, "-c", run]
    environment = os.environ | bench.settings()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.OK, done.stderr
    said, _, peak = done.stdout.rpartition("VmHWM:")
    return said, int(peak.split()[0]) / 1024


def start_limited(bench: Rig, limits: dict[int, int], log: Path) -> tuple[int, str]:
    """Run the real command under limits: its exit code and what it said; it must not hang."""

    def limit() -> None:
        for what, most in limits.items():
            resource.setrlimit(what, (most, most))

    environment = os.environ | bench.settings() | {"OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    with log.open("wb") as sink:
        command = [sys.executable, "-m", "worker", "worker"]
        worker = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink, preexec_fn=limit)  # noqa: PLW1509
        try:
            code = worker.wait(START_S)
        finally:
            worker.kill()
            worker.wait()
    return code, log.read_text()


def test_too_few_open_files(rig: MakeRig, tmp_path: Path) -> None:
    """44: a worker that may not open the files it needs says so and ends; the one that runs is not touched."""
    bench = rig("44 open files", 44)
    bench.start()
    bench.send()
    bench.serving()
    for most in (10, 18, 63):
        code, said = start_limited(bench, {resource.RLIMIT_NOFILE: most}, tmp_path / f"files-{most}.log")
        assert code == ExitCode.UNSAFE, f"{most} files: {code}\n{said}"
        assert "ulimit -n" in said, said
        bench.injected += 1
    bench.recovered()
    bench.judge()


def test_too_few_threads(rig: MakeRig, tmp_path: Path) -> None:
    """44: a worker that gets no more threads ends with an error, and never hangs, however far it came.

    Root is exempt from `ulimit -u`, so threads are made scarce by stacks too large for the address space.
    """
    bench = rig("44 threads", 45)
    bench.start()
    bench.send()
    bench.serving()
    told = 0
    for threads in (2, 9, 12, 15):
        limits = {resource.RLIMIT_STACK: 16 * GIB, resource.RLIMIT_AS: (threads * 16 + 8) * GIB}
        code, said = start_limited(bench, limits, tmp_path / f"threads-{threads}.log")
        assert code != 0, f"{threads} threads\n{said}"
        told += code == ExitCode.UNSAFE and "ulimit" in said
        bench.injected += 1
    assert told >= 2, "no attempt said what was short"
    bench.recovered()
    bench.judge()


def test_forked(rig: MakeRig) -> None:
    """46: the child of a running worker refuses to go on with its parent's clients; the parent does not notice."""
    bench = rig("46 fork of a running worker", 46)
    bench.send()
    worker = bench.start(patches=[["fork_in_poll", 60]])
    ended = f"the forked child ended with {ExitCode.UNSAFE}"
    bench.until(lambda: ended in worker.log, "the child refuses", 20)
    assert "this process was forked" in worker.log
    assert worker.status is None
    bench.injected += 1
    bench.recovered()
    bench.judge()
