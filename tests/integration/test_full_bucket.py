"""Sessions that end all at once: a shopper who chooses the times of events can aim at one expiry bucket."""

from itertools import count
from typing import Any

import numpy as np
import pytest

from featurestore.columns.hashing import hash64
from featurestore.contract.partitioner import partition_of
from featurestore.session.codec import pack, unpack
from featurestore.store.keys import Shard
from tests.integration.shopfloor import ENDED_MS, PARTITIONS, Shopfloor, clicks, now_ms

MANY = 100_000
CHUNK = 5_000


def _copies(record: bytes, names: list[str]) -> dict[str, bytes]:
    """The session "first" under other names: a record's checksum covers whose it is."""
    one = unpack([record], hash64(["first"]))
    states, memory = np.repeat(one.states, len(names)), np.repeat(one.memory, len(names))
    states["session"] = hash64(names)
    return dict(zip(names, pack(states, memory), strict=True))


@pytest.mark.parametrize("flavour", ["redis"])
def test_fresh_clicks_are_decided_while_a_full_bucket_ends(floor: Shopfloor) -> None:
    """The bucket is read in pieces: each of its sessions ends once, and a click comes in between."""
    client: Any = floor.client
    space = floor.namespace
    floor.worker().start()
    floor.send(clicks("first", now_ms() - ENDED_MS + 15_000), recorded=True)
    home = Shard(partition_of("first", PARTITIONS))
    floor.until(lambda: bool(client.zcard(space.ends(home))), "the session awaits its end")
    [bucket] = client.zrange(space.ends(home), 0, -1)
    ending, state = space.ending(home, int(bucket)), client.hget(space.states(home), "first")
    for begin in range(0, MANY, CHUNK):
        client.hset(space.states(home), mapping=_copies(state, [f"x{n}" for n in range(begin, begin + CHUNK)]))
    client.rpush(ending, *(f"x{n}" for n in range(MANY)))

    floor.until(lambda: client.llen(ending) < MANY, "the bucket begins to end")
    fresh = next(name for n in count() if partition_of(name := f"fresh{n}", PARTITIONS) == home.partition)
    floor.send(clicks(fresh, now_ms()))
    floor.until(lambda: floor.decision(fresh) is not None, "the fresh click is decided")
    assert client.llen(ending), "before the bucket has ended"
    floor.until(lambda: not client.exists(ending), "the bucket has ended")
    assert client.hlen(space.states(home)) == 1
    floor.until(lambda: len({s["session_id"] for s in floor.summaries()}) == MANY + 1, "each has a summary")
