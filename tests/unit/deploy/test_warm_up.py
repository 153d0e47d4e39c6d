"""No event waits for a compiler: what the worker's wiring warms up is all that a batch runs."""

import subprocess
import sys

SCRIPT = """
from decisions import document, intake
from featurestore.columns import hash_join
from featurestore.contract import scan
from featurestore.session import fold
from featurestore.store import packed
from featurestore.store.redis import resp
from tests.unit.worker.pipeline.loop_world import engine
from worker.clock import SystemClock
from worker.metrics import drift
from worker.metrics.metrics import Metrics

engine().warm_up()
resp.warm_up()
drift.DriftMonitor(None, Metrics(None), SystemClock())
used = (document._fill, packed._joined, packed._write_documents, hash_join._group, hash_join._match, resp._write_all,
        resp._write_keyed, scan._scan, fold._fold, drift._count, intake._newest)
print(*(kernel.__name__ for kernel in used if not kernel.signatures))
"""


def test_what_the_loop_runs_is_compiled_before_the_first_event() -> None:
    """In a process of its own: here other tests have compiled everything."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == []
