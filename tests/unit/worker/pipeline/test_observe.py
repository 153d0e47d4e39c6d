"""Small batches are counted together, and what is counted is the same."""

import pytest

from decisions.effects import Result
from decisions.engine import Engine
from decisions.intake import Plan, Records, decode, plan
from decisions.shipped import BUNDLES
from featurestore.session.fold import FoldConfig
from featurestore.store.memory import MemoryStore
from models.bundle.bundle import Bundle
from tests.unit.worker.pipeline.loop_world import engine
from worker.clock import SystemClock
from worker.metrics.drift import DriftMonitor
from worker.metrics.kpis import Kpis
from worker.metrics.labels import STEPS
from worker.metrics.metrics import Metrics, new_registry
from worker.pipeline.observe import TOGETHER, Observer

NOW = 1_700_000_000_000


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(Bundle.find(BUNDLES))


def made(core: Engine, sessions: range) -> tuple[Plan, Result]:
    """A batch in which each session looks at a page."""
    values: list[bytes | None] = [
        b'{"session_id":"s%d","type":"page_view","ts":%d,"page":"/p"}' % (i, NOW - 5) for i in sessions
    ]
    batch = plan(decode([Records(0, values, list(sessions), [NOW - 5] * len(values))]), 1, lambda _: -1)
    return batch, core.run(batch, core.loader(MemoryStore(core.namespace)).load(batch), NOW)


def observed(bundle: Bundle, sizes: list[int]) -> tuple[Observer, Metrics]:
    """Batches of these sizes, written five milliseconds after their records."""
    plain, metrics = engine(FoldConfig()), Metrics(new_registry())
    core = Engine.of(bundle, plain.judge.policy, plain.namespace)
    drift = DriftMonitor(bundle.stage.baseline, metrics, SystemClock())
    observer = Observer(metrics, bundle, drift, Kpis(metrics, core.judge.policy))
    first = 0
    for size in sizes:
        batch, result = made(core, range(first, first + size))
        observer.batch(batch, result, size, 0, NOW)
        first += size
    return observer, metrics


def test_many_small_batches_count_as_one_large_one(bundle: Bundle) -> None:
    counts = []
    for sizes in ([1, 2, 30, 7], [40]):
        observer, metrics = observed(bundle, sizes)
        observer.tick(ready=True)
        latency = metrics.event_to_decision_seconds
        counts.append((metrics.decisions.values.tolist(), latency.counts.tolist(), latency.sums.tolist()))
    assert counts[0][:2] == counts[1][:2]
    assert counts[0][2] == pytest.approx(counts[1][2])
    assert sum(map(sum, counts[0][0])) == 40


def test_what_is_noted_waits_for_the_tick_or_for_company(bundle: Bundle) -> None:
    _, metrics = observed(bundle, [30])
    assert metrics.decisions.values.sum() == 0
    assert metrics.event_to_decision_seconds.counts.sum() == 0
    _, metrics = observed(bundle, [30, TOGETHER])
    assert metrics.decisions.values.sum() == 30 + TOGETHER
    assert metrics.event_to_decision_seconds.counts.sum() == 30 + TOGETHER


def test_laps_are_counted_at_the_tick(bundle: Bundle) -> None:
    observer, metrics = observed(bundle, [])
    for _ in range(3):
        watch = observer.watch(SystemClock())
        watch.lap("decode")
        watch.lap("score")
    assert metrics.batch_seconds.counts.sum() == 0
    for _ in range(2):  # once is enough
        observer.tick(ready=True)
    assert metrics.batch_seconds.counts.sum(axis=1).tolist() == [3.0 * (step in ("decode", "score")) for step in STEPS]


@pytest.mark.issue(20, line=21)
def test_a_session_begins_once_and_events_count_by_their_type(bundle: Bundle) -> None:
    """A session_start and a page_view of one millisecond are one session; a type that nobody knows is ``other``.

    A withdrawal of consent is of no type.
    """
    plain, metrics = engine(FoldConfig()), Metrics(new_registry())
    core = Engine.of(bundle, plain.judge.policy, plain.namespace)
    observer = Observer(
        metrics, bundle, DriftMonitor(bundle.stage.baseline, metrics, SystemClock()), Kpis(metrics, core.judge.policy)
    )
    values: list[bytes | None] = [
        b'{"session_id":"s","type":"%b","ts":%d}' % (kind, NOW - 5)
        for kind in (b"session_start", b"page_view", b"wave", b"page_view")
    ]
    values.append(b'{"session_id":"t","type":"click","ts":%d,"consent":false}' % (NOW - 5))
    batch = plan(decode([Records(0, values, list(range(5)), [NOW - 5] * 5)]), 1, lambda _: -1)
    result = core.run(batch, core.loader(MemoryStore(core.namespace)).load(batch), NOW)
    observer.batch(batch, result, 5, 0, NOW)
    observer.tick(ready=True)
    assert metrics.drift_sessions.values.sum() == 1
    counted = dict(zip(metrics.events_by_type.axes[0], metrics.events_by_type.values.tolist(), strict=True))
    assert {name: n for name, n in counted.items() if n} == {"session_start": 1, "page_view": 2, "other": 1}
