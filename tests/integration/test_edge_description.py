"""Requests generated from the OpenAPI description: no defect of ours, no status and no media type that it lacks."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.integration.edges import EdgeProcess
from tests.run_services import RunServices
from tests.services import create_topics
from tests.services.kafka_broker import Kafka

CHECKS: Final = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXAMPLES: Final = "10"


@pytest.fixture(scope="module")
def edge(kafka: Kafka, services: RunServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeProcess]:
    store = services.redis("redis", lambda: tmp_path_factory.mktemp("redis"))
    with store.client() as client:  # decisions of an earlier test belong to its deployment
        client.flushall()
    create_topics(kafka.bootstrap, {"edge-described": 4, "exposures-described": 1})
    flags = [
        *("--kafka", kafka.bootstrap, "--redis", store.url, "--topic", "edge-described"),
        *("--exposures-topic", "exposures-described"),
        *(f"--edge-{name}-rate=0" for name in ("key", "address", "session")),
    ]
    made = EdgeProcess("edge", tmp_path_factory.mktemp("edge"), flags).start_waiting()
    yield made
    made.stop()


def _schemathesis(edge: EdgeProcess, directory: Path, *arguments: str) -> None:
    address = f"http://127.0.0.1:{edge.port}"
    command = [
        *(str(Path(sys.executable).parent / "schemathesis"), "run", f"{address}/openapi.json", "--url", address),
        *("--header", "X-Clickstage-Key: demo", "--checks", CHECKS, "--max-examples", EXAMPLES, "--no-color"),
        *("--phases", "examples,coverage,fuzzing", "--warnings", "off", *arguments),
    ]
    ran = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=280, check=False)
    assert ran.returncode == 0, ran.stdout[-6_000:]
    assert "passed" in ran.stdout


def test_generated_requests_find_no_defect(edge: EdgeProcess, tmp_path: Path) -> None:
    """Every operation, mostly without a token that counts."""
    _schemathesis(edge, tmp_path, "--generation-deterministic")


def test_generated_requests_with_a_token_find_none_either(edge: EdgeProcess, tmp_path: Path) -> None:
    """The session's own operations; the stream is left out, since it does not end."""
    page = edge.page()
    (tmp_path / "schemathesis.toml").write_text(f'[parameters]\n"path.session_id" = "{page.session_id}"\n')
    token = f"Authorization: Bearer {page.token}"
    paths = ("--include-path", "/v1/decisions/{session_id}", "--include-path", "/v1/exposures")
    _schemathesis(edge, tmp_path, "--header", token, *paths, "--generation-deterministic")
    assert page.decision().status == 200
