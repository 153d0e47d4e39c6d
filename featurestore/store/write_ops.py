"""What a write does, declared once: steps in their order, which every store carries out, all of them or none.

`steps` is the only place that says what a `ShardWrite` means. `write.lua` carries the steps out one by one behind its
fence (`flat` spells them for it), on one node and on a Cluster; a transaction puts the steps of all shards together,
phase by phase (`redis.transaction`); the store in memory looks up what each step does to its dictionaries.

The first step writes to a hash that grows: under noeviction Redis refuses it before anything has changed.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from featurestore.columns.column import Blobs, Column, Texts
from featurestore.session.visitors import head
from featurestore.store import set_aside
from featurestore.store.expiry_buckets import by_expiry_bucket, life_s
from featurestore.store.keys import SHARD_TTL_S, VISITOR_TTL_S, Namespace, Shard
from featurestore.store.protocols import ShardWrite
from featurestore.store.refusals import REFUSED, encoded

NO_NUMBER: Final = Blobs.of([])
Argument = str | bytes | int


class Part(IntEnum):
    """What a key is of."""

    META = 0
    STATES = 1
    IDLE = 2
    ENDS = 3
    ENDING = 4
    OUTBOXES = 5
    SET_ASIDE = 6
    CROSS_SLOT = 7


class Phase(IntEnum):
    """Where a step stands in the order. A transaction carries out a phase for all shards, then the next one."""

    PROGRESS = 0
    SESSIONS = 1
    DEADLINES = 2
    REMOVED = 3
    NO_DEADLINES = 4
    DISARMED = 5
    ENDING = 6
    MARKS = 7
    DECIDED = 8
    UNDECIDED = 9
    PROFILES = 10
    LIFE = 11


class Key(NamedTuple):
    """A key of a shard.

    Attributes:
        text: as Redis knows it.
        part: of the shard.
        bucket: of a list of sessions that end.
    """

    text: str
    part: Part
    bucket: int = 0


class Run(NamedTuple):
    """One command: its name, the key, the arguments."""

    phase: Phase
    verb: str
    key: Key
    arguments: tuple[Argument, ...]


class Bulk(NamedTuple):
    """One command with a column of arguments, each before its value if there are values; not empty."""

    phase: Phase
    verb: str
    key: Key
    names: Column[Any]
    values: Column[Any] | None = None


class Each(NamedTuple):
    """A command for the decision of each session, with its value if there are values; not empty.

    Attributes:
        prefix: of the decisions' keys.
    """

    phase: Phase
    verb: str
    prefix: bytes
    sessions: Texts
    values: Blobs | None = None
    tail: tuple[Argument, ...] = ()


class Extend(NamedTuple):
    """Extend visitors' profiles (`scripts/profile.lua`): key and entry of each."""

    phase: Phase
    profiles: Sequence[tuple[str, bytes]]
    life_s: int
    head: bytes


class Rotate(NamedTuple):
    """Rename a key if it is there; what stood under the other name is gone."""

    phase: Phase
    key: Key
    to: Key


Step = Run | Bulk | Each | Extend | Rotate


class Keys:
    """A shard's keys."""

    def __init__(self, space: Namespace, shard: Shard) -> None:
        self._space = space
        self._shard = shard
        self.meta: Final = Key(space.meta(shard), Part.META)
        self.states: Final = Key(space.states(shard), Part.STATES)
        self.idle: Final = Key(space.idle(shard), Part.IDLE)
        self.ends: Final = Key(space.ends(shard), Part.ENDS)
        self.outboxes: Final = Key(space.outboxes(shard), Part.OUTBOXES)
        self.set_aside: Final = Key(space.set_aside(shard), Part.SET_ASIDE)
        kept = (self.states, self.idle, self.ends, self.meta)
        self.life: Final = tuple(Run(Phase.LIFE, "EXPIRE", key, (SHARD_TTL_S,)) for key in kept)
        self.cross_slot: Final = Key(space.cross_slot_outbox(shard), Part.CROSS_SLOT)
        self.cross_slot_before: Final = Key(space.cross_slot_outbox_before(shard), Part.CROSS_SLOT)

    def ending(self, bucket: int) -> Key:
        """List of the sessions that end in an expiry bucket."""
        return Key(self._space.ending(self._shard, bucket), Part.ENDING, bucket)


def steps(write: ShardWrite, keys: Keys, elsewhere: Iterable[Step]) -> Iterator[Step]:
    """What a write does.

    Args:
        write: of one shard.
        keys: of that shard.
        elsewhere: the steps for decisions and profiles: `decisions_and_profiles` where they are on the same node.
    """
    applied = "" if write.applied is None else write.applied
    yield Run(Phase.PROGRESS, "HSET", keys.meta, ("applied", applied, "write", write.number))
    if write.refused is not None:
        yield Run(Phase.PROGRESS, "HSET", keys.meta, (REFUSED, encoded(write.refused)))
    yield from _kept(write, keys)
    if write.passed:
        yield from (Run(Phase.PROGRESS, "UNLINK", keys.ending(bucket), ()) for bucket in write.passed)
        yield Run(Phase.PROGRESS, "ZREM", keys.ends, tuple(write.passed))
    if write.begun:
        bucket, count = write.begun
        yield Run(Phase.PROGRESS, "LTRIM", keys.ending(bucket), (count, -1))
    yield from _bulk(Phase.SESSIONS, "HSET", keys.states, Texts.of(write.sessions), Blobs.of(write.blobs))
    yield from _bulk(Phase.DEADLINES, "ZADD", keys.idle, decimal(write.deadlines), Texts.of(write.armed))
    removed = Texts.of(write.removed)
    yield from _bulk(Phase.REMOVED, "HDEL", keys.states, removed)
    yield from _bulk(Phase.NO_DEADLINES, "ZREM", keys.idle, removed)
    yield from _bulk(Phase.DISARMED, "ZREM", keys.idle, Texts.of(write.disarmed))
    for bucket, names in by_expiry_bucket(write.ending, write.expiry_buckets):
        yield Bulk(Phase.ENDING, "RPUSH", keys.ending(bucket), names)
        yield Run(Phase.MARKS, "EXPIRE", keys.ending(bucket), (life_s(bucket),))
        yield Run(Phase.MARKS, "ZADD", keys.ends, (bucket, bucket))
    yield from elsewhere
    yield from keys.life if write.sessions or write.ending else keys.life[-1:]


def decisions_and_profiles(write: ShardWrite, decision_ttl_ms: int, space: Namespace) -> Iterator[Step]:
    """The steps for decisions and profiles, where one node has all keys.

    Args:
        write: of one shard.
        decision_ttl_ms: life of a decision.
        space: whose decisions, and the version in which profiles are written.
    """
    prefix = space.prefix.encode()
    decided, undecided = Texts.of(write.decided), Texts.of(write.undecided)
    if len(decided):
        yield Each(Phase.DECIDED, "SET", prefix, decided, Blobs.of(write.decisions), ("PX", decision_ttl_ms))
    if len(undecided):
        yield Each(Phase.UNDECIDED, "DEL", prefix, undecided)
    if write.profiles:
        yield Extend(Phase.PROFILES, write.profiles, VISITOR_TTL_S, head(space.write_version))


def cross_slot(keys: Keys, fields: Sequence[Argument], *, landed: bool) -> Iterator[Step]:
    """The steps for decisions and profiles on a Cluster, where they are kept in the bucket until they have landed.

    Args:
        keys: of the bucket.
        fields: field, value, field, value, ... (`cross_slot_outbox.flat`).
        landed: whether all that was kept before has landed.
    """
    if landed:
        yield Run(Phase.DECIDED, "UNLINK", keys.cross_slot, (keys.cross_slot_before.text,))
    elif fields:
        yield Rotate(Phase.DECIDED, keys.cross_slot, keys.cross_slot_before)
    if fields:
        names, values = Blobs.of(map(_bytes, fields[::2])), Blobs.of(map(_bytes, fields[1::2]))
        yield Bulk(Phase.DECIDED, "HSET", keys.cross_slot, names, values)
        yield Run(Phase.LIFE, "EXPIRE", keys.cross_slot, (SHARD_TTL_S,))


def decimal(numbers: Sequence[int]) -> Blobs:
    """The numbers as Redis reads them."""
    return Blobs.joined([b"%d" % number for number in numbers]) if numbers else NO_NUMBER


def _kept(write: ShardWrite, keys: Keys) -> Iterator[Step]:
    """What the shard keeps of its writes: outboxes until Kafka has them, and for a while what could not be read."""
    if write.acknowledged:
        yield Run(Phase.PROGRESS, "LTRIM", keys.outboxes, (write.acknowledged, -1))
    if write.outbox:
        yield Run(Phase.PROGRESS, "RPUSH", keys.outboxes, (write.outbox,))
        yield Run(Phase.PROGRESS, "EXPIRE", keys.outboxes, (SHARD_TTL_S,))
    if write.set_aside:
        yield Run(Phase.PROGRESS, "RPUSH", keys.set_aside, tuple(one.encoded() for one in write.set_aside))
        yield Run(Phase.PROGRESS, "LTRIM", keys.set_aside, (-set_aside.MOST, -1))
        yield Run(Phase.PROGRESS, "EXPIRE", keys.set_aside, (set_aside.LIFE_S,))


def _bulk(phase: Phase, verb: str, key: Key, names: Column[Any], values: Column[Any] | None = None) -> Iterator[Step]:
    if len(names):
        yield Bulk(phase, verb, key, names, values)


def _bytes(value: Argument) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
