"""Alerts go by lag and readiness: both are shown while a step waits, else a Redis that is away would fire none."""

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from featurestore.store.keys import Shard
from featurestore.store.memory import MemoryStore
from tests.unit.worker.pipeline.loop_fakes import FakeOutputs, FakeSource, LooksAway
from tests.unit.worker.pipeline.loop_world import World
from worker.partitions.ownership import Ownership
from worker.partitions.partition import Partition
from worker.pipeline.gauges import SHOW_EVERY_S, Gauges
from worker.pipeline.pulse import Pulse
from worker.settings import Settings


class Observer(LooksAway):
    shown: tuple[dict[int, int], bool] = {}, True

    def lag(self, behind: dict[int, int], owned: int) -> None:
        self.shown = behind, True

    def tick(self, *, ready: bool) -> None:
        self.shown = self.shown[0], ready


class Kafka(FakeSource):
    high: int | None = 10

    def ends(self, partitions: Any) -> Future[dict[int, int]]:
        answer: Future[dict[int, int]] = Future()
        if self.high is None:
            answer.set_exception(KafkaException(KafkaError(KafkaError._TRANSPORT)))
        else:
            answer.set_result(dict.fromkeys(partitions, self.high))
        return answer


@pytest.mark.parametrize("away", [False, True])
def test_what_is_shown_while_a_step_waits(*, away: bool) -> None:
    """Lag as Kafka says, or as it said last; not ready; no more than once a second."""
    world = World(1, events=1, trouble=0.0)
    kafka, observer, pulse = Kafka(world), Observer(world.metrics), Pulse(world.clock)
    outputs = FakeOutputs(world)
    own = Ownership(kafka, MemoryStore(world.engine.namespace), outputs, Settings(), world.clock, world.metrics)
    own.partitions[0] = Partition(0, [Shard(0)])
    own.partitions[0].runs(10, 10, 0.0, ignore_applied=False)
    gauges = Gauges(kafka, own, observer, pulse, world.clock)
    pulse.waits("Redis does not answer")
    kafka.high = 17
    seen = []
    for _ in range(3):
        gauges.meanwhile()
        gauges.meanwhile()
        seen.append(observer.shown)
        world.clock.sleep(SHOW_EVERY_S)
        kafka.high = None if away else 22
    assert seen[0] == ({0: 0}, False)
    assert [behind[0] for behind, _ in seen[1:]] == ([7, 7] if away else [7, 12])
    pulse.works()
    gauges.show()
    assert observer.shown[1]
