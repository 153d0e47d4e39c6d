"""The peers: the same events through the usual stacks, with the same forest, and the worker beside them.

Each peer has its own environment under ``.cache/peers``, made from its requirements file at the first run. One that
cannot be installed is left out, and says so. A sample of what a peer decided is compared with what the worker's own
core computes for the same sessions after the same number of events.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from bench.context import Context, Samples
from bench.processes import usage
from bench.saturate import PARTITIONS, drain
from bench.stack import REPOSITORY, Stack, Topics
from bench.steps import SIZE, Shop, engine
from bench.workload import SEED, batches
from decisions.shipped import BUNDLES
from featurestore.session.observation import EVENT_ROW
from models.simulator.simulator import SimConfig, SimEvent, simulate

FOLDER: Final = Path(__file__).parent / "peers"
ENVIRONMENTS: Final = REPOSITORY / ".cache" / "peers"
EVENTS: Final = 200_000
WINDOW_S: Final = 6.0
WAIT_S: Final = 120.0
SAMPLE: Final = 2_000
WARM: Final = {"naive": 20, "quix_onnx": 500, "quix_onnx_sink": 2_000, "faust_onnx": 500}
REQUIREMENTS: Final = {
    "naive": "naive.txt",
    "quix_onnx": "quix.txt",
    "quix_onnx_sink": "quix.txt",
    "faust_onnx": "faust.txt",
}
TOLERANCE: Final = 1e-6


@cache
def anonymous(events: int) -> list[SimEvent]:
    """Punctual shoppers whom nobody knows."""
    config = SimConfig(sessions=events // 8 + 2_000, seed=SEED, sessions_per_s=100.0, anonymous=1.0).clean()
    out: list[SimEvent] = []
    for chunk in simulate(config):
        out += chunk
        if len(out) >= events:
            break
    return out[:events]


def environment(peer: str) -> Path | None:
    """The peer's interpreter, its packages installed; None where that fails."""
    requirements = FOLDER / REQUIREMENTS[peer]
    home = ENVIRONMENTS / requirements.stem
    python = home / "bin" / "python"
    done = home / ".installed"
    text = requirements.read_text(encoding="utf-8")
    if done.exists() and done.read_text(encoding="utf-8") == text:
        return python
    home.parent.mkdir(parents=True, exist_ok=True)
    commands = (
        [sys.executable, "-m", "venv", str(home)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)],
    )
    for command in commands:
        if subprocess.run(command, check=False).returncode:
            print(f"  {peer}: its packages cannot be installed here; left out")
            return None
    done.write_text(text, encoding="utf-8")
    return python


class Peer:
    """One peer on one topic.

    Args:
        stack: where.
        name: which.
        python: its interpreter.
        topics: what it reads.
    """

    def __init__(self, stack: Stack, name: str, python: Path, topics: Topics) -> None:
        self._stack, self._name, self._python, self._topics = stack, name, python, topics
        bundle = max(BUNDLES.glob("*-*/estimator.joblib"), key=lambda path: path.parent.name)
        self._model = bundle
        self._bounce = str(engine("peers").bundle.medians[5])  # type: ignore[attr-defined]
        if name != "naive":
            self._model = stack.directory / "forest.onnx"
            if not self._model.exists():
                converter = ENVIRONMENTS / "quix" / "bin" / "python"
                command = [str(converter), str(FOLDER / "onnx_model.py"), str(bundle), str(self._model)]
                subprocess.run(command, check=True)

    def run(self) -> dict[str, float]:
        """Events a second over a window, and CPU."""
        self._stack.flush()
        group = self._stack.group()
        progress = self._stack.directory / f"{group}.progress"
        progress.write_bytes(b"0")
        state = self._stack.directory / f"{group}.state"
        environ, arguments = self._call(group, progress, state)
        log = self._stack.directory / f"{group}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(self._python), *arguments], cwd=self._stack.directory, env=environ, stdout=out, stderr=out
            )
        try:

            def count() -> int:
                if process.poll() is not None:
                    raise RuntimeError(f"{self._name} stopped:\n{log.read_text(errors='replace')[-2000:]}")
                return int(progress.read_bytes() or 0)

            deadline = time.monotonic() + WAIT_S
            while count() < WARM[self._name]:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{self._name} does not begin:\n{log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.02)
            first, begin, before = count(), time.monotonic(), usage(process.pid)
            time.sleep(WINDOW_S)
            last, end, after = count(), time.monotonic(), usage(process.pid)
            if self._name == "quix_onnx_sink":
                time.sleep(6)  # its sink writes at a checkpoint, every five seconds by default
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(state, ignore_errors=True)
        events = last - first
        return {"events_per_s": events / (end - begin), "cpu_us_per_event": (after.cpu_s - before.cpu_s) * 1e6 / events}

    def _call(self, group: str, progress: Path, state: Path) -> tuple[Mapping[str, str], list[str]]:
        stack, model = self._stack, str(self._model)
        if self._name == "naive":
            kafka, topic = stack.kafka.bootstrap, self._topics.clicks
            places = [kafka, stack.redis.url, topic, group, model, self._bounce, str(progress)]
            return os.environ, [str(FOLDER / "naive.py"), *places]
        if self._name.startswith("quix"):
            address = f"127.0.0.1:{stack.redis.port}"
            places = [stack.kafka.bootstrap, address, self._topics.clicks, group, model, self._bounce, str(progress)]
            return os.environ, [
                str(FOLDER / "quix_onnx.py"),
                *places,
                str(state),
                "sink" if self._name.endswith("_sink") else "set",
            ]
        settings = {
            "PEER_KAFKA": stack.kafka.bootstrap,
            "PEER_REDIS": stack.redis.url,
            "PEER_TOPIC": self._topics.clicks,
            "PEER_PARTITIONS": str(self._topics.partitions),
            "PEER_GROUP": group,
            "PEER_MODEL": model,
            "PEER_BOUNCE": self._bounce,
            "PEER_PROGRESS": str(progress),
        }
        return {**os.environ, **settings}, [str(FOLDER / "faust_onnx.py"), "worker", "-l", "error"]

    def agreement(self, expected: Mapping[tuple[str, int], list[float]]) -> float:
        """Share of sampled decisions with the same probabilities as the worker's core."""
        client = self._stack.redis.client()
        keys = list(islice(client.scan_iter(match="decision:*", count=5_000), SAMPLE))
        found = [msgspec.json.decode(document) for document in client.mget(keys) if document]
        same = sum(
            bool(np.allclose(expected[d["session_id"], d["events"]], d["probabilities"], rtol=0, atol=TOLERANCE))
            for d in found
        )
        return same / len(found)


@cache
def expected(events: int) -> dict[tuple[str, int], list[float]]:
    """Probabilities by the worker's core: (session, number of its events) → four of them."""
    shop = Shop(engine("peers"))
    counts: dict[str, int] = {}
    out: dict[tuple[str, int], list[float]] = {}
    for records in batches(anonymous(events), SIZE):
        batch, result = shop.process(records)
        rows = result.judgement.observations.rows
        at = np.flatnonzero(rows["kind"] == EVENT_ROW)
        for index, row in zip(
            rows["session_index"][at].tolist(), result.judgement.probabilities[at].tolist(), strict=True
        ):
            name = batch.sessions[index]
            counts[name] = counts.get(name, 0) + 1
            out[name, counts[name]] = row
    return out


def peers(context: Context) -> Samples:
    """``peers``: each turn by turn with the worker on the same topic."""
    events = context.size(EVENTS)
    stack = context.stack
    topics = stack.filled("anonymous", anonymous(events), PARTITIONS)
    samples: Samples = {}
    drain(stack, topics, events)  # the broker's Java is compiled while it serves
    running = {}
    for name in REQUIREMENTS:
        python = environment(name)
        if python is not None:
            running[name] = Peer(stack, name, python, topics)
    for _ in range(context.runs):
        worker = drain(stack, topics, events)[0]
        for figure in ("events_per_s", "worker_cpu_us_per_event"):
            samples.setdefault(f"worker.{figure}", []).append(worker[figure])
        for name, peer in list(running.items()):
            try:
                figures = peer.run()
            except (RuntimeError, TimeoutError) as error:
                print(f"  {error}\n  {name} is left out")
                del running[name]
                continue
            figures["ratio"] = worker["events_per_s"] / figures["events_per_s"]
            figures["cpu_ratio"] = figures["cpu_us_per_event"] / worker["worker_cpu_us_per_event"]
            figures["agreement"] = peer.agreement(expected(events))
            for figure, value in figures.items():
                samples.setdefault(f"{name}.{figure}", []).append(value)
    return samples
