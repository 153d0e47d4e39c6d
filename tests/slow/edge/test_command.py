"""How many connections an edge takes on."""

import subprocess
import sys

SAY = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
from edge.command import connections_most
from edge.settings import EdgeSettings
print(connections_most(EdgeSettings()))
"""


def _said(soft: int, hard: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SAY, str(soft), str(hard)], capture_output=True, text=True, check=False
    )


def test_clients_never_take_the_files_of_kafka_and_redis() -> None:
    """The limit of open files is raised first; what cannot be had is taken from the connections."""
    assert _said(1_024, 9_000).stdout == "7000\n"
    assert _said(1_024, 1_024).stdout == "768\n"
    assert "ulimit -n" in _said(300, 300).stderr
