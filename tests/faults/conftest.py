"""Fixtures of the fault tests: one broker and one zygote a run, a Redis and a rig a test.

CLICKSTAGE_FAULT_SEEDS=1,2,3 says at which seeds the central faults run; `make faults` sets three.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from decisions.shipped import DEFAULT_POLICY
from tests.conftest import StartRedis
from tests.faults.ledger import OUT, Row, table, write_json
from tests.faults.rig import BROKERS_TIME, Rig
from tests.faults.small_bundle import small_bundle
from tests.faults.zygote import Zygote
from tests.services import RedisServer
from tests.services.kafka_broker import Kafka

SHORT = (
    "test_every_step_is_where_a_worker_is_killed",
    "test_sigkill_between_two_steps[write]",
    "test_sigkill_and_takeover[classic-1]",
    "test_zombie[classic-1]",
    "test_the_poison_is_poison",
    "test_poison",
    "test_producer_duplicates",
    "test_out_of_order_and_late",
    "test_freeze[1]",
    "test_reply_lost[1]",
    "test_rollback_under_a_living_worker[1]",
    "test_flushall[1]",
    "test_silence_fires_once_and_in_time",
    "test_worker_away_then_back",
    "test_cluster_primary_killed[1]",
)
"""What `make test` runs of this folder, beside `test_fences`; `make faults` runs all."""

HERE = Path(__file__).parent
ROWS: list[Row] = []
SEEDS = [int(seed) for seed in os.environ.get("CLICKSTAGE_FAULT_SEEDS", "1").split(",")]

central = pytest.mark.parametrize("seed", SEEDS)
"""Of the faults that the promise stands or falls with: at every seed."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE and item.path.name != "test_fences.py" and item.name not in SHORT:
            item.add_marker("nightly")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if ROWS:
        terminalreporter.section("faults")
        for line in table(ROWS).splitlines():
            terminalreporter.write_line(line)
        write_json(ROWS)
        terminalreporter.write_line(f"written to {OUT.relative_to(OUT.parents[1])}")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: workers and oracle must go by the same one, whoever edits the file meanwhile."""
    return Path(shutil.copy(DEFAULT_POLICY, tmp_path_factory.mktemp("policy")))


@pytest.fixture(scope="session")
def zygote(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    parent = Zygote(bundle, tmp_path_factory.mktemp("zygote") / "zygote.log")
    yield parent
    parent.close()


class MakeRig(Protocol):
    """`rig("kill", seed)`: a rig on the shared broker and a Redis of its own."""

    def __call__(
        self,
        name: str,
        seed: int = SEEDS[0],
        *,
        server: RedisServer | None = None,
        bootstrap: str | None = None,
        record_time: str = BROKERS_TIME,
    ) -> Rig: ...


@pytest.fixture
def rig(
    kafka: Kafka, own_redis: StartRedis, unique: str, zygote: Zygote, bundle: Path, policy: Path, tmp_path: Path
) -> Iterator[MakeRig]:
    made: list[Rig] = []

    def make(
        name: str,
        seed: int = SEEDS[0],
        *,
        server: RedisServer | None = None,
        bootstrap: str | None = None,
        record_time: str = BROKERS_TIME,
    ) -> Rig:
        store = server or own_redis("redis" if seed % 2 else "valkey")
        broker = bootstrap or kafka.bootstrap
        made.append(Rig(name, seed, unique, broker, store, zygote, bundle, policy, tmp_path, record_time))
        return made[-1]

    yield make
    for one in made:
        one.close()
