"""Compiles every kernel that a worker runs into NUMBA_CACHE_DIR; the image build does it so that no container must."""

import numpy as np
from prometheus_client import CollectorRegistry

from decisions.engine import Engine
from decisions.shipped import load_bundle, load_policy
from featurestore.session.features import N_FEATURES
from featurestore.store.keys import Namespace
from worker.clock import SystemClock
from worker.metrics.drift import DriftMonitor
from worker.metrics.metrics import Metrics


def main() -> None:
    """Build what a worker builds, without Kafka and Redis, and run it once."""
    bundle, policy = load_bundle(None), load_policy(None)
    namespace = Namespace("build", "build", "build")
    engine = Engine.of(bundle, policy, namespace)
    engine.warm_up()
    codes = np.zeros(1, np.uint8)
    drift = DriftMonitor(bundle.stage.baseline, Metrics(CollectorRegistry()), SystemClock())
    drift.observe(np.zeros((1, N_FEATURES)), codes, codes)


if __name__ == "__main__":
    main()
