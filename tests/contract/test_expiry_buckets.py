"""Deadlines and lists of sessions that end, in every session store."""

import time
from typing import Any

from featurestore.store.expiry_buckets import DUE_BYTES, EXPIRY_BUCKET_MS, expiry_bucket
from featurestore.store.keys import SHARD_TTL_S
from featurestore.store.protocols import (
    APPLIED,
    Due,
    ShardWrite,
)
from tests.contract.store_bench import (
    ONE,
    SPACE,
    ZERO,
    Bench,
)


def test_deadlines_come_earliest_first_up_to_the_limit_and_move(bench: Bench) -> None:
    lease = bench.lease()
    names = [f"s{i}" for i in range(6)]
    write = ShardWrite(ZERO, lease.epoch, None, 1, names, [b"x"] * 6, names, [60, 50, 40, 30, 20, 10])
    bench.write(write)
    assert bench.store.due([(ZERO, 40), (ONE, 10**9), (ZERO, 9)], 3) == [
        Due(["s5", "s4", "s3"], []),
        Due([], []),
        Due([], []),
    ]
    bench.write(ShardWrite(ZERO, lease.epoch, 1, 2, ["s5"], [b"y"], ["s5"], [99]))
    assert bench.due(40, 3) == Due(["s4", "s3", "s2"], [])
    bench.write(ShardWrite(ZERO, lease.epoch, 2, 3, ["s4"], [b"z"]))
    assert bench.due(20, 3) == Due(["s4"], []), "a session that is not armed anew stays where it was"


def test_an_end_is_due_once_all_of_its_bucket_has_passed(bench: Bench) -> None:
    """And stays due until a write says that the bucket was looked at: who asks again is told the same."""
    lease = bench.lease()
    ending = {"a": 5, "b": 7, "c": 5, "d": 6}
    bench.write(ShardWrite(ZERO, lease.epoch, None, 1, ending=list(ending), expiry_buckets=list(ending.values())))
    bench.write(ShardWrite(ZERO, lease.epoch, 1, 2, ending=["e", "a"], expiry_buckets=[5, 6]))
    assert not bench.due(6 * EXPIRY_BUCKET_MS - 1)
    assert bench.due(6 * EXPIRY_BUCKET_MS) == bench.due(6 * EXPIRY_BUCKET_MS) == Due(["a", "c", "e"], [5])
    assert bench.due(8 * EXPIRY_BUCKET_MS) == Due(["a", "c", "e", "d", "a", "b"], [5, 6, 7])
    bench.write(ShardWrite(ZERO, lease.epoch, 2, 3, passed=[5, 6]))
    assert bench.due() == Due(["b"], [7])
    bench.write(ShardWrite(ZERO, lease.epoch, 3, 4, passed=[7, 99]))
    assert not bench.due()


def test_a_bucket_that_passes_takes_nothing_with_it_that_the_same_write_puts_there(bench: Bench) -> None:
    lease = bench.lease()
    bench.write(ShardWrite(ZERO, lease.epoch, None, 1, ending=["a"], expiry_buckets=[5]))
    bench.write(ShardWrite(ZERO, lease.epoch, 1, 2, ending=["b"], expiry_buckets=[5], passed=[5]))
    assert bench.due() == Due(["b"], [5])


def test_an_answer_is_bounded_and_a_long_bucket_comes_in_pieces(bench: Bench) -> None:
    """Of silences as many as wanted, earliest first; of ends as many, oldest bucket first, and nobody is overlooked."""
    lease = bench.lease()
    bench.write(ShardWrite(ZERO, lease.epoch, None, 1, armed=["s", "t", "u"], deadlines=[3, 2, 1]))
    ending = ["a", "b", "c", "d", "e"]
    bench.write(ShardWrite(ZERO, lease.epoch, 1, 2, ending=ending, expiry_buckets=[1, 1, 1, 2, 3]))
    assert bench.due(limit=2) == Due(["u", "t", "a", "b"], [], (1, 2))
    assert bench.due(limit=3) == Due(["u", "t", "s", "a", "b", "c"], [1])
    assert bench.due(limit=4) == Due(["u", "t", "s", "a", "b", "c", "d"], [1, 2])
    assert bench.due(2, limit=1) == Due(["u"], [])
    bench.write(ShardWrite(ZERO, lease.epoch, 2, 3, disarmed=["s", "t", "u", "a"], begun=(1, 2), number=1))
    bench.write(ShardWrite(ZERO, lease.epoch, 2, 3, disarmed=["s", "t", "u", "a"], begun=(1, 2), number=1))
    assert bench.due(limit=2) == Due(["c", "d"], [1, 2]), "a write that comes again cuts nothing off"
    bench.write(ShardWrite(ZERO, lease.epoch, 3, 4, removed=["c"], ending=["f"], expiry_buckets=[1], number=2))
    assert bench.due(limit=2) == Due(["c", "f"], [1]), "an entry in a list stays, whatever becomes of its session"
    bench.write(ShardWrite(ZERO, lease.epoch, 4, 5, begun=(1, 1), number=3))
    assert bench.due(limit=9) == Due(["f", "d", "e"], [1, 2, 3]), "whoever came meanwhile stays"


def test_long_ids_make_a_shorter_answer(bench: Bench) -> None:
    """Bytes are bounded too: of silences and of ends each."""
    lease = bench.lease()
    names = [f"{n:0128}" for n in range(DUE_BYTES // 128 + 9)]
    bench.write(ShardWrite(ZERO, lease.epoch, None, 1, armed=names, deadlines=list(range(len(names)))))
    bench.write(ShardWrite(ZERO, lease.epoch, 1, 2, ending=names, expiry_buckets=[5] * len(names)))
    fit = DUE_BYTES // 128
    assert bench.due() == Due(names[:fit] * 2, [], (5, fit))


def test_nine_thousand_ends_are_one_write(bench: Bench) -> None:
    lease = bench.lease()
    names = [f"s{i}" for i in range(9_000)]
    write = ShardWrite(
        ZERO, lease.epoch, None, 1, disarmed=names, ending=names, expiry_buckets=[i // 8_000 for i in range(9_000)]
    )
    assert bench.write(write).status == APPLIED
    assert bench.due() == Due(names, [0, 1])


def test_a_bucket_whose_list_is_gone_is_passed_all_the_same(served: Bench) -> None:
    client: Any = served.client
    lease = served.lease()
    served.write(ShardWrite(ZERO, lease.epoch, None, 1, ending=["a", "b"], expiry_buckets=[1, 2]))
    client.delete(SPACE.ending(ZERO, 1))
    assert served.due(limit=1) == Due(["b"], [1, 2])
    served.write(ShardWrite(ZERO, lease.epoch, 1, 2, passed=[1, 2]))
    assert not client.exists(SPACE.ends(ZERO))


def test_a_list_outlives_its_bucket(served: Bench) -> None:
    """An end may lie far ahead, by a wrong clock: whoever is in the list is still found there then."""
    client: Any = served.client
    month_s = 30 * 86_400
    far = expiry_bucket((int(time.time()) + month_s) * 1_000)
    lease = served.lease()
    for expected, applied in ((None, 1), (1, 2)):  # the first by a script, the second, on one node, by a transaction
        served.write(
            ShardWrite(ZERO, lease.epoch, expected, applied, ["a"], [b"A"], ending=["a"], expiry_buckets=[far])
        )
        assert client.ttl(SPACE.ending(ZERO, far)) > month_s + SHARD_TTL_S - 60
