"""What each head expects is counted by output, beside what came in training."""

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from decisions.shipped import load_bundle
from models.heads import Heads
from worker.metrics.catalogue import PREFIX
from worker.metrics.heads import HeadMonitor
from worker.metrics.metrics import Metrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(PREFIX + name, labels)


def test_sums_and_rows_are_counted_by_head(registry: CollectorRegistry) -> None:
    """A row where a head has no output counts for the others only."""
    shipped = load_bundle(None).heads
    chosen = Heads([shipped[name] for name in ("stage", "order_rest", "add_rest")])
    monitor = HeadMonitor(chosen, Metrics(registry))
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    outputs = np.array([[0.5, 0.25], [0.25, np.nan], [np.nan, np.nan]])
    for _ in range(2):
        monitor.observe(probabilities, outputs, 2)
    assert value(registry, "head_rows_total", head="stage") == 4
    assert value(registry, "head_rows_total", head="order_rest") == 4
    assert value(registry, "head_rows_total", head="add_rest") == 2
    assert value(registry, "head_output_sum_total", head="stage", output="Intent Buyer") == pytest.approx(2.6)
    assert value(registry, "head_output_sum_total", head="order_rest", output="yes") == pytest.approx(1.5)
    assert value(registry, "head_output_sum_total", head="add_rest", output="yes") == pytest.approx(0.5)
    assert value(registry, "head_output_sum_total", head="stage", output="yes") is None


def test_the_means_of_training_stand_beside_them(registry: CollectorRegistry) -> None:
    chosen = load_bundle(None).heads
    HeadMonitor(chosen, Metrics(registry))
    for head in chosen:
        for output, mean in zip(head.outputs, head.baseline.output_means, strict=True):
            assert value(registry, "head_output_baseline", head=head.name, output=output) == mean
