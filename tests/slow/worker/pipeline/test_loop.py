"""The loop against a world in memory that fails at random: the results are those of one pass over the log."""

from collections import deque
from typing import Any, Final

import pytest

from featurestore.store.keys import Shard
from featurestore.store.protocols import Lease, ShardWrite
from tests.unit.worker.pipeline.loop_world import World
from worker.partitions.partition import Partition, Status

FEW: Final = 12


def worlds(n: int) -> list[Any]:
    """The seeds of ``n`` worlds: the first few on every run, all of them by `make faults`."""
    return [*range(FEW), *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(FEW, n))]


@pytest.mark.parametrize("seed", worlds(60))
def test_whatever_fails_the_results_are_those_of_one_pass(seed: int) -> None:
    world = World(seed)
    world.work()
    assert world.applied(), f"stuck after {list(world.happened)}"
    assert not world.difference(), f"{world.difference()}, after {list(world.happened)}"


@pytest.mark.parametrize("seed", worlds(40))
def test_whatever_fails_in_whichever_bucket_the_results_are_those_of_one_pass(seed: int) -> None:
    """Some buckets go back in time, others do not, and no event has an id that would hide its second coming."""
    world = World(seed, buckets=3)
    world.work()
    assert world.applied(), f"stuck after {list(world.happened)}"
    assert not world.difference(), f"{world.difference()}, after {list(world.happened)}"


@pytest.mark.parametrize("seed", worlds(60))
@pytest.mark.parametrize("bots", [False, True])
def test_whatever_fails_while_half_an_hour_passes_at_once_the_results_are_those_of_one_pass(
    seed: int, *, bots: bool
) -> None:
    """The worker is late: once it has read the log, silences and ends are all due while batches are in flight."""
    world = World(seed, bots=bots, late=True, buckets=1 + 2 * (seed % 2))
    world.work()
    assert world.applied(), f"stuck after {list(world.happened)}"
    assert not world.difference(), f"{world.difference()}, after {list(world.happened)}"
    assert world.ends or not bots, "sessions were put into lists"
    assert not any(data.states or data.idle or data.ends for data in world.store.shards.values()), "all have ended"


@pytest.mark.parametrize("late", [False, True])
def test_nothing_fails(*, late: bool) -> None:
    world = World(1, trouble=0.0, late=late)
    world.work()
    assert not world.difference()
    assert not world.happened


def test_an_owner_that_has_nothing_to_read_commits() -> None:
    """The group's commit was lost, or the last owner never came to it."""
    world = World(1, trouble=0.0)
    world.work()
    committed, world.committed = world.committed, {}
    loop = world.loop()
    for _ in range(10):
        loop.step()
    assert world.committed == committed


def test_no_end_goes_into_a_list_that_may_have_been_read() -> None:
    """The write that deletes such a list would delete it unread; the worlds come to that point too rarely."""
    shard = Shard(0)
    partition = Partition(0, [shard], Status.RUNNING, [Lease("1:a", 4)], [deque()], [[]], asked_bucket=7)
    write = ShardWrite(shard, "", None, None, ending=["a", "b", "c"], expiry_buckets=[5, 7, 9])
    World(0).loop()._fencing.fence(write, partition, 6)
    assert write.expiry_buckets == [7, 7, 9]
    assert (write.epoch, write.expected, write.applied) == ("1:a", 4, 6)
