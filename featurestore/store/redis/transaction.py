"""A batch as the commands of a transaction.

They do what `write.lua` does, kind by kind in the order of the script. The commands of a kind are put together for all
shards in one compiled pass, so that a partition more costs little.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from featurestore.columns.column import Blobs, Texts
from featurestore.session.visitors import head
from featurestore.store.expiry_buckets import by_expiry_bucket, life_s
from featurestore.store.keys import DECISION_PREFIX, SHARD_TTL_S, VISITOR_TTL_S, Namespace, Shard
from featurestore.store.protocols import ShardWrite
from featurestore.store.redis import resp
from featurestore.store.redis.lua import script_text
from featurestore.store.redis.resp import Packed

PREFIX: Final = DECISION_PREFIX.encode()
EXTEND: Final = script_text("profile", "extend")
NO_NUMBER: Final = Blobs.of([])


class Keys:
    """A shard's keys, and the commands that are the same in each of its writes, put together once."""

    def __init__(self, space: Namespace, shard: Shard) -> None:
        self._space = space
        self._shard = shard
        self.meta = space.meta(shard)
        self.states = space.states(shard)
        self.idle = space.idle(shard)
        self.ends = space.ends(shard)
        self.outboxes = space.outboxes(shard)
        kept = [resp.command(["EXPIRE", key, SHARD_TTL_S]) for key in (self.states, self.idle, self.ends, self.meta)]
        self.keep_all: Final = resp.together(kept)
        self.keep_meta: Final = kept[-1]
        self.keep_outboxes: Final = resp.command(["EXPIRE", self.outboxes, SHARD_TTL_S])
        self.progress: Final = resp.Form(["HSET", self.meta, "applied", None, "write", None])
        self.push: Final = resp.Form(["RPUSH", self.outboxes, None])

    def ending(self, slot: int) -> str:
        """List of the sessions that end in a slot."""
        return self._space.ending(self._shard, slot)


def transaction(writes: Sequence[ShardWrite], keys: Sequence[Keys], ttl_ms: int, version: int) -> Iterator[Packed]:
    """What `write.lua` does to these shards, as commands to stand between MULTI and EXEC.

    Args:
        writes: what to write.
        keys: those of each write's shard.
        ttl_ms: life of a decision.
        version: in which records are written.
    """
    for write, own in zip(writes, keys, strict=True):
        yield from _progress(write, own)
    states, idle = [own.states for own in keys], [own.idle for own in keys]
    sessions = [Texts.of(write.sessions) for write in writes]
    yield resp.keyed("HSET", states, sessions, [Blobs.of(write.blobs) for write in writes])
    deadlines = [decimal(write.deadlines) for write in writes]
    yield resp.keyed("ZADD", idle, deadlines, [Texts.of(write.armed) for write in writes])
    decided = Texts.chained([Texts.of(write.decided) for write in writes])
    decisions = Blobs.chained([Blobs.of(write.decisions) for write in writes])
    yield resp.commands(["SET"], decided, decisions, ["PX", ttl_ms], PREFIX)
    removed = [Texts.of(write.removed) for write in writes]
    yield resp.keyed("HDEL", states, removed)
    yield resp.keyed("ZREM", idle, removed)
    yield resp.keyed("ZREM", idle, [Texts.of(write.disarmed) for write in writes])
    yield from _ending(writes, keys)
    undecided = Texts.chained([Texts.of(write.undecided) for write in writes])
    if len(undecided):
        yield resp.command(["DEL"], resp.each(undecided, PREFIX))
    profiles = [pair for write in writes for pair in write.profiles]
    if profiles:
        names, entries = zip(*profiles, strict=True)
        yield resp.command(["EVAL", EXTEND, len(names), *names, VISITOR_TTL_S, head(version), *entries])
    for write, own in zip(writes, keys, strict=True):
        yield own.keep_all if write.sessions or write.ending else own.keep_meta


def decimal(numbers: Sequence[int]) -> Blobs:
    """The numbers as Redis reads them."""
    return Blobs.joined([b"%d" % number for number in numbers]) if numbers else NO_NUMBER


def _progress(write: ShardWrite, keys: Keys) -> Iterator[Packed]:
    """The commands that move a shard on: how far it is, whose ends have been looked at, what is to be produced."""
    yield keys.progress.filled("" if write.applied is None else write.applied, write.number)
    if write.passed:
        yield resp.command(["UNLINK", *map(keys.ending, write.passed)])
        yield resp.command(["ZREM", keys.ends, *write.passed])
    if write.acknowledged:
        yield resp.command(["LTRIM", keys.outboxes, write.acknowledged, -1])
    if write.outbox:
        yield keys.push.filled(write.outbox)
        yield keys.keep_outboxes


def _ending(writes: Sequence[ShardWrite], keys: Sequence[Keys]) -> Iterator[Packed]:
    """The commands that put sessions into the lists of their expiry buckets."""
    ended = [by_expiry_bucket(write.ending, write.expiry_buckets) for write in writes]
    lists = [
        (own.ending(bucket), names, life_s(bucket))
        for own, buckets in zip(keys, ended, strict=True)
        for bucket, names in buckets
    ]
    yield resp.keyed("RPUSH", [key for key, *_ in lists], [names for _, names, _ in lists])
    yield from (resp.command(["EXPIRE", key, life]) for key, _, life in lists)
    marks = [decimal([bucket for bucket, _ in buckets]) for buckets in ended]
    yield resp.keyed("ZADD", [own.ends for own in keys], marks, marks)
