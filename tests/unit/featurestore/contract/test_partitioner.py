"""A session's partition is the one that Kafka's Java client chooses."""

from hypothesis import given
from hypothesis import strategies as st

from featurestore.columns.hashing import hash64
from featurestore.contract.partitioner import bucket_of, murmur2, partition_of, partitions_of
from featurestore.store.keys import Shard, shard_of


def plain(data: bytes) -> int:
    """MurmurHash2 in numbers of any size."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    for at in range(0, len(data) & ~3, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if tail := data[len(data) & ~3 :]:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def test_murmur2_is_kafkas() -> None:
    """The vectors of the Java client's own test."""
    vectors = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    for key, expected in vectors.items():
        assert murmur2(key) == expected % 2**32
        assert partition_of(key.decode(), 7) == (expected & 0x7FFFFFFF) % 7


@given(st.binary(max_size=40))
def test_the_compiled_hash_is_the_plain_one(data: bytes) -> None:
    assert murmur2(data) == plain(data)


@given(st.lists(st.text(max_size=20), max_size=8), st.integers(1, 300))
def test_many_sessions_are_placed_as_each_alone(names: list[str], partitions: int) -> None:
    assert partitions_of(names, partitions).tolist() == [partition_of(name, partitions) for name in names]
    assert all((plain(n.encode()) & 0x7FFFFFFF) % partitions == partition_of(n, partitions) for n in names)


def test_a_hashed_id_keeps_the_partition_of_the_id_that_was_sent() -> None:
    """The record's key is the id as sent; the bucket comes from the id as stored."""
    assert shard_of("a", 12, 4, "hashed") == Shard(partition_of("a", 12), bucket_of("hashed", 4))
    assert shard_of("a", 12, 4) == Shard(partition_of("a", 12), int(hash64(["a"])[0]) % 4)
