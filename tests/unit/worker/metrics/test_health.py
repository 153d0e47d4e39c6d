"""What Prometheus and a supervisor ask a worker."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from socket import create_connection
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, Counter

from worker.metrics.health import MOST, HealthServer


@dataclass
class _Worker:
    alive: bool = True
    trouble: str | None = None
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)


WORKER = _Worker()


@pytest.fixture
def worker() -> _Worker:
    """The one behind the server, well again."""
    WORKER.alive, WORKER.trouble = True, None
    return WORKER


@pytest.fixture(scope="module")
def server() -> Iterator[HealthServer]:
    """One for all tests: to close it takes half a second."""
    made = HealthServer("127.0.0.1", 0, WORKER.registry, lambda: WORKER.alive, lambda: WORKER.trouble)
    yield made
    made.close()


def _get(server: HealthServer, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_worker_that_turns_is_live_also_while_it_waits(server: HealthServer, worker: _Worker) -> None:
    worker.trouble = "Redis failed while writing a batch"
    assert _get(server, "/live") == (200, "live\n")
    worker.alive = False
    assert _get(server, "/live") == (503, "stuck\n")


def test_readiness_says_why_not(server: HealthServer, worker: _Worker) -> None:
    assert _get(server, "/ready") == (200, "ready\n")
    worker.trouble = "no partition yet"
    assert _get(server, "/ready") == (503, "no partition yet\n")


def test_metrics_are_what_the_registry_holds(server: HealthServer, worker: _Worker) -> None:
    Counter("clicks", "of a test", registry=worker.registry).inc(3)
    status, text = _get(server, "/metrics")
    assert status == 200
    assert "clicks_total 3.0" in text


def test_another_path_names_the_right_ones(server: HealthServer) -> None:
    status, text = _get(server, "/")
    assert status == 404
    assert "/metrics" in text


def test_half_open_requests_cost_few_files_and_keep_nobody_waiting(server: HealthServer, worker: _Worker) -> None:
    """200 clients that never finish their request: the port holds a few of them, and the next scrape is served."""
    half_open = []
    try:
        for _ in range(200):
            half_open.append(create_connection(("127.0.0.1", server.port), timeout=5))
            half_open[-1].sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        assert _get(server, "/ready") == (200, "ready\n")
        assert server.connections <= MOST
    finally:
        for one in half_open:
            one.close()


def test_a_request_that_comes_drop_by_drop_is_ended() -> None:
    """Every byte would begin a timeout anew: the life of the connection is what is limited."""
    slow = HealthServer("127.0.0.1", 0, WORKER.registry, lambda: True, lambda: None, longest_s=0.2)
    try:
        with create_connection(("127.0.0.1", slow.port), timeout=5) as drop, suppress(OSError):
            for _ in range(200):
                drop.sendall(b"G")
                drop.settimeout(0.02)
                with suppress(TimeoutError):
                    if not drop.recv(1):
                        break
            else:
                pytest.fail("it lives on")
        assert slow.connections == 0
    finally:
        slow.close()
