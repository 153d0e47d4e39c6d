"""From nothing to ready, and the parts of it."""

import json
import subprocess
import sys
import time
from typing import Final

from bench.context import Context, Samples
from bench.stack import REPOSITORY, WorkerProcess

PARTS: Final = """
import json, time
begin = time.perf_counter()
from decisions import shipped
imported = time.perf_counter()
bundle = shipped.load_bundle(None)
loaded = time.perf_counter()
policy = shipped.load_policy(None)
read = time.perf_counter()
from bench.steps import engine
engine()
print(json.dumps({
    "imports_s": imported - begin, "bundle_load_s": loaded - imported, "policy_load_s": read - loaded,
    "bundle_policy_warm_up_s": time.perf_counter() - read,
}))
"""


def startup(context: Context) -> Samples:
    """``startup``: the process until /ready, and imports, bundle, policy, warm-up in a process of their own.

    The compiled code is cached beside the sources; the very first start on a machine compiles it and takes longer.
    """
    topics = context.stack.topics(4)
    samples: Samples = {}
    for _ in range(context.runs):
        context.stack.flush()
        begin = time.perf_counter()
        with WorkerProcess(context.stack, topics, context.stack.group()) as worker:
            worker.wait_ready()
            samples.setdefault("ready_s", []).append(time.perf_counter() - begin)
        said = subprocess.run([sys.executable, "-c", PARTS], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        for name, value in json.loads(said.stdout).items():
            samples.setdefault(name, []).append(value)
    return samples
