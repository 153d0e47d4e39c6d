"""Compiles every kernel that a worker runs into NUMBA_CACHE_DIR; the image build does it so that no container must."""

from prometheus_client import CollectorRegistry

from decisions import open_visits
from decisions.engine import Engine
from decisions.shipped import load_bundle, load_policy
from featurestore.store.keys import Namespace
from featurestore.store.redis import resp
from worker.clock import SystemClock
from worker.metrics.drift import DriftMonitor
from worker.metrics.kpis import Kpis
from worker.metrics.metrics import Metrics
from worker.pipeline.observe import Observer


def main() -> None:
    """Build what a worker builds, without Kafka and Redis, and run it once."""
    bundle, policy = load_bundle(None), load_policy(None)
    namespace = Namespace("build", "build", "build")
    engine = Engine.of(bundle, policy, namespace)
    engine.warm_up()
    resp.warm_up()
    open_visits.warm_up()
    metrics = Metrics(CollectorRegistry())
    Observer(metrics, bundle, DriftMonitor(bundle.stage.baseline, metrics, SystemClock()), Kpis(metrics, policy))


if __name__ == "__main__":
    main()
