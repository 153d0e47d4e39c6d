"""What one turn takes of sessions that fall silent or end is bounded, and every shard comes to its turn."""

from featurestore.store.keys import Shard
from featurestore.store.memory import MemoryStore
from featurestore.store.protocols import Due
from tests.unit.worker.pipeline.loop_fakes import FakeOutputs, FakeSource
from tests.unit.worker.pipeline.loop_world import World
from worker.partitions.ownership import Ownership
from worker.partitions.partition import Partition
from worker.pipeline.silence import MOST_A_TURN, Question, Silence
from worker.settings import Settings

SHARDS = 6


def test_a_turn_is_bounded_and_no_shard_is_overlooked() -> None:
    world = World(1, events=1, trouble=0.0)
    store, source = MemoryStore(world.engine.namespace), FakeSource(world)
    own = Ownership(source, store, FakeOutputs(world), Settings(), world.clock, world.metrics)
    for number in range(SHARDS):
        own.partitions[number] = Partition(number, [Shard(number)])
        own.partitions[number].runs(0, 0, 0.0, ignore_applied=False)
    silence = Silence("live", store, own, world.clock)
    left = dict.fromkeys(range(SHARDS), 5)  # lists that each shard still has
    sizes = []
    while any(left.values()):
        question = Question([(Shard(n), 1) for n in left], own.partitions, None)
        found = [Due(["s"] * (MOST_A_TURN // 2 - 1), [1]) if many else Due([], []) for many in left.values()]
        fallen = silence.due(question, found)
        assert silence.more
        sizes.append(sum(len(due.sessions) for _, due, _ in fallen))
        for shard, _, _ in fallen:
            left[shard.partition] -= 1
        assert max(left.values()) - min(left.values()) <= 1, "each shard in its turn"
    assert max(sizes) <= MOST_A_TURN
    assert len(sizes) == SHARDS * 5 / 2
