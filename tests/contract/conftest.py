"""Every session store, empty: in memory, on Redis 7 and Valkey 9, and on a Cluster of each."""

from collections.abc import Iterator

import pytest

from featurestore.store.memory import MemoryStore
from tests.contract.store_bench import NODES, SERVERS, SPACE, Bench, served_by
from tests.run_services import RunServices


@pytest.fixture(params=["memory", *SERVERS])
def bench(
    request: pytest.FixtureRequest, services: RunServices, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """Each store, empty."""
    if request.param == "memory":
        yield Bench(MemoryStore(SPACE), None)
        return
    with served_by(str(request.param), services, tmp_path_factory) as made:
        yield made


@pytest.fixture(params=SERVERS)
def served(
    request: pytest.FixtureRequest, services: RunServices, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """The stores on a server: nothing expires in memory."""
    with served_by(str(request.param), services, tmp_path_factory) as made:
        yield made


@pytest.fixture(params=NODES)
def node(
    request: pytest.FixtureRequest, services: RunServices, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """The stores on one node."""
    with served_by(str(request.param), services, tmp_path_factory) as made:
        yield made
