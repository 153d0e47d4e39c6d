"""No event waits for a compiler: what the worker's wiring warms up is all that a batch runs."""

import subprocess
import sys

from tests.revisions import REPOSITORY

SCRIPT = """
from decisions import encoder, intake
from decisions.shipped import load_bundle
from featurestore.columns import hash_join
from featurestore.contract import scan
from featurestore.session import fold
from featurestore.store import packed
from featurestore.store.redis import resp
from tests.unit.worker.pipeline.loop_world import engine
from worker.clock import SystemClock
from worker.metrics import calibration, drift
from worker.metrics.metrics import Metrics

engine().warm_up()
resp.warm_up()
drift.DriftMonitor(None, Metrics(None), SystemClock())
calibration.CalibrationMonitor(load_bundle(None).heads, Metrics(None))
used = (encoder._fill, packed._joined, packed._write_documents, hash_join._group, hash_join._match, resp._write_all,
        resp._write_keyed, scan._scan, fold._fold, drift._count, calibration._follow, intake._newest)
print(*(kernel.__name__ for kernel in used if not kernel.signatures))
"""


def test_the_image_build_compiles_what_a_worker_runs() -> None:
    """The script of the Dockerfile; in the tree's own cache, so that it is quick here."""
    subprocess.run([sys.executable, "deploy/warm_up.py"], cwd=REPOSITORY, check=True, timeout=250)


def test_what_the_loop_runs_is_compiled_before_the_first_event() -> None:
    """In a process of its own: here other tests have compiled everything."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == []


TAKEOVER = """
from decisions import engine as subject
from featurestore.store import outbox, packed
from tests.unit.worker.pipeline.loop_world import engine

kept = []
encode = subject.encode
subject.encode = lambda *outputs: kept.append(encode(*outputs)) or kept[-1]
engine().warm_up()
before = len(packed._write_documents.signatures)
assert any([outbox.decode(stored)[1] for stored in kept])
print(before, len(packed._write_documents.signatures))
"""


def test_a_takeover_compiles_nothing() -> None:
    """What an outbox holds is read from bytes; to numba its arrays are of another type than those of a batch."""
    done = subprocess.run([sys.executable, "-c", TAKEOVER], capture_output=True, text=True, check=True, timeout=120)
    before, after = done.stdout.split()
    assert before == after
