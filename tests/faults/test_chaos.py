"""47: random mixes of ten faults with rollbacks in them, which is where protocols break that pass every single one."""

import random
import time
from pathlib import Path

import pytest

from tests.faults.conftest import SEEDS, MakeRig
from tests.faults.proxy import Proxy

FAULTS = (
    "kill",
    "kill",
    "join",
    "leave",
    "freeze worker",
    "freeze redis",
    "cut",
    "drop",
    "rollback",
    "rollback",
    "flush",
)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("seed", [100 + seed for seed in SEEDS])
def test_chaos(rig: MakeRig, tmp_path: Path, seed: int, protocol: str) -> None:
    """Whatever is mixed with whatever, the log and the results agree in the end."""
    rng = random.Random(seed)
    schedule = ["rollback", "kill", *rng.choices(FAULTS, k=8)]
    rng.shuffle(schedule)
    bench = rig(f"47 mixed ({protocol}): 10 faults", seed)
    bench.environment["group_protocol"] = protocol
    proxy = Proxy(bench.server.port)
    bench.redis_url = proxy.url
    try:
        bench.start(ready=False)
        bench.start()
        bench.send(rate=300)
        bench.serving()
        snapshot = bench.server.snapshot(tmp_path / "snapshot-0")
        for number, fault in enumerate(schedule):
            alive = [worker for worker in bench.workers if worker.status is None]
            victim = rng.choice(alive)
            match fault:
                case "kill":
                    victim.kill9()
                    bench.start(ready=False)
                case "join":
                    bench.start(ready=False)
                case "leave":
                    victim.stop()
                    bench.start(ready=False)
                case "freeze worker":
                    victim.freeze()
                    time.sleep(rng.uniform(0.5, 5))
                    victim.thaw()
                case "freeze redis":
                    bench.server.freeze()
                    time.sleep(rng.uniform(0.2, 1.5))
                    bench.server.thaw()
                case "cut":
                    for _ in range(3):
                        proxy.cut()
                        time.sleep(rng.uniform(0, 0.1))
                case "drop":
                    proxy.drop_replies += 2
                case "rollback":
                    bench.server.roll_back(snapshot)
                case "flush":
                    with bench.server.client() as client:
                        client.script_flush()
                        if rng.random() < 0.5:
                            client.flushall()
            bench.injected += 1
            time.sleep(rng.uniform(0, 1.2))
            if rng.random() < 0.4:
                snapshot = bench.server.snapshot(tmp_path / f"snapshot-{number + 1}")
        bench.recovered()
        bench.judge()
    finally:
        proxy.close()
