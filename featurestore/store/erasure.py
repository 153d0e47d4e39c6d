"""Erasing a session or a visitor from Redis, so that no worker and no replay brings them back.

1. tombstones first: from here on, a worker that takes a partition ignores the past of what is erased
2. one script a shard: the owner is fenced (whatever it has in flight is refused), states and deadlines go
3. decisions and the profile last, when nobody is left who could write them again

A worker that was fenced takes its partition again within a second. `docs/decisions/0020-erasure.md` says why so.

On Redis Cluster a decision or a profile that the owner has applied may still be on its way (`cluster`): what is deleted
is therefore marked as gone, and leaves the bucket's `cross_slot_outbox`.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import redis

from featurestore.columns.hashing import hash_text
from featurestore.errors import CorruptRecord
from featurestore.session.codec import unpack
from featurestore.store.cluster import cross_slot_outbox
from featurestore.store.cluster.cluster_connection import AWAY
from featurestore.store.keys import ERASED_TTL_S, Namespace, Shard
from featurestore.store.protocols import unavailable
from featurestore.store.redis.connection import Client
from featurestore.store.redis.store import Script
from featurestore.store.tombstones import erased_at, session_field, tombstone, visitor_field, visitors_in

SCAN_COUNT: Final = 1_000
GONE_MS: Final = 7_200_000
"""How long an erasure on Redis Cluster refuses older decisions and profiles; longer than a decision lives."""


class Removed(NamedTuple):
    """What was there and is gone; ``deadlines`` counts the sessions that had one."""

    states: int
    deadlines: int
    decisions: int
    profiles: int


class Eraser:
    """Erases from the keys of one group.

    Args:
        client: answers bytes.
        namespace: of the group.
        shards: all of it.
    """

    def __init__(self, client: Client, namespace: Namespace, shards: Sequence[Shard]) -> None:
        self._client: Any = client
        self._namespace = namespace
        self._shards = shards
        self._script = Script("forget", "erase")

    def holders(self, session_id: str, shards: Sequence[Shard]) -> list[Shard]:
        """Those of the shards where a session has a state or a deadline, or is still in a bucket's list."""
        space = self._namespace
        pipe = self._client.pipeline(transaction=False)
        for shard in shards:
            pipe.hexists(space.states(shard), session_id)
            pipe.zscore(space.idle(shard), session_id)
            pipe.zrange(space.ends(shard), 0, -1)
        answers = pipe.execute()
        holders = []
        for shard, state, deadline, buckets in zip(shards, answers[::3], answers[1::3], answers[2::3], strict=True):
            if state or deadline is not None or self._listed(shard, buckets, session_id):
                holders.append(shard)
        return holders

    def _listed(self, shard: Shard, buckets: Sequence[bytes], session_id: str) -> bool:
        """Whether a session is in the list of one of the expiry buckets."""
        pipe = self._client.pipeline(transaction=False)
        for bucket in buckets:
            pipe.lpos(self._namespace.ending(shard, int(bucket)), session_id)
        return any(place is not None for place in pipe.execute())

    def sessions_of(self, visitor: int) -> dict[Shard, list[str]]:
        """The live sessions of a visitor; reads every state once."""
        found: dict[Shard, list[str]] = {}
        for shard in self._shards:
            names: list[bytes] = []
            for part in _batches(self._client, self._namespace.states(shard)):
                states = unpack(list(part.values()), [hash_text(name.decode()) for name in part]).states
                names += [name for name, s in zip(part, states, strict=True) if s["visitor"] == np.uint64(visitor)]
            if names:
                found[shard] = [name.decode() for name in names]
        return found

    def erase(self, sessions: Mapping[Shard, Sequence[str]], fields: Sequence[str], now_ms: int) -> Removed:
        """Erase sessions where they rest.

        Args:
            sessions: by shard; a shard with an empty list is fenced all the same.
            fields: tombstones to set.
            now_ms: events up to this time are ignored from now on.

        Raises:
            StoreUnavailable: some of it may have been done; run it again.
        """
        try:
            self.bury(fields, now_ms)
            states, deadlines = self._take(sessions, fields)
            decisions = self._delete([name for names in sessions.values() for name in names])
        except AWAY as error:
            raise unavailable(error, "erasing") from None
        return Removed(states, deadlines, decisions, 0)

    def forget_profile(self, visitor: int) -> int:
        """Delete a visitor's profile; how many there were."""
        return int(self._client.delete(self._namespace.visitor(visitor)))

    def _take(self, sessions: Mapping[Shard, Sequence[str]], fields: Sequence[str]) -> tuple[int, int]:
        """Fence the shards and delete what they hold; states and deadlines that were there."""
        if not self._script.sha:
            self._script.load(self._client)
        states = deadlines = 0
        for shard, names in sessions.items():
            space = self._namespace
            fence = (space.meta(shard), space.states(shard), space.idle(shard))
            keys = (*fence, space.outboxes(shard), space.ends(shard), space.set_aside(shard))
            reply = self._client.evalsha(self._script.sha, len(keys), *keys, uuid.uuid4().hex, *names)
            states, deadlines = states + reply[0], deadlines + reply[1]
        return states, deadlines

    def _delete(self, sessions: Sequence[str]) -> int:
        """Delete the sessions' decisions; how many there were."""
        return int(self._client.delete(*map(self._namespace.decision, sessions))) if sessions else 0

    def bury(self, fields: Sequence[str], now_ms: int) -> None:
        """Set the tombstones, and drop those that have served."""
        key = self._namespace.erased()
        since = now_ms - ERASED_TTL_S * 1_000
        old = [field for field, value in self._client.hgetall(key).items() if _before(value, since)]
        pipe = self._client.pipeline()
        if old:
            pipe.hdel(key, *old)
        pipe.hset(key, mapping=dict.fromkeys(fields, tombstone(now_ms, self._namespace.write_version)))
        pipe.expire(key, ERASED_TTL_S)
        pipe.execute()


class ClusterEraser(Eraser):
    """Erases on Redis Cluster."""

    def __init__(self, client: "redis.RedisCluster", namespace: Namespace, shards: Sequence[Shard]) -> None:
        super().__init__(client, namespace, shards)
        self._script = Script("forget", "cluster_erase")
        self._decide = Script("cluster_decide")
        self._applied: int | None = None

    def forget_profile(self, visitor: int) -> int:
        """See `Eraser`."""
        key = self._namespace.visitor(visitor)
        self._client.set(self._namespace.gone(key), "", px=GONE_MS)
        return int(self._client.delete(key))

    def _take(self, sessions: Mapping[Shard, Sequence[str]], fields: Sequence[str]) -> tuple[int, int]:
        self._script.load(self._client)
        space = self._namespace
        profiles = [space.visitor(visitor) for visitor in visitors_in(fields)]
        states = deadlines = 0
        seen: list[int] = []
        for shard, names in sessions.items():
            fence = (space.meta(shard), space.states(shard), space.idle(shard))
            keys = (
                *fence,
                space.cross_slot_outbox(shard),
                space.cross_slot_outbox_before(shard),
                space.never(shard),
                space.ends(shard),
                space.set_aside(shard),
            )
            kept = [*map(space.decision, names), *profiles]
            reply = self._client.evalsha(
                self._script.sha, len(keys), *keys, uuid.uuid4().hex, len(names), *names, *kept
            )
            states, deadlines = states + reply[0], deadlines + reply[1]
            seen += [int(reply[2])] if reply[2] else []
        # Where a session's own bucket is not known all are taken, and the farthest one counts.
        self._applied = max(seen, default=None)
        return states, deadlines

    def _delete(self, sessions: Sequence[str]) -> int:
        self._decide.load(self._client)
        mark = cross_slot_outbox.gone(self._namespace, self._applied)
        deleted = 0
        for key in {self._namespace.decision(session) for session in sessions}:
            gone = self._namespace.gone(key)
            deleted += self._client.evalsha(self._decide.sha, 2, key, gone, cross_slot_outbox.DELETE, mark, GONE_MS)
        return deleted


def eraser_for(client: Client, namespace: Namespace, shards: Sequence[Shard]) -> Eraser:
    """The eraser for what the client is connected to."""
    if isinstance(client, redis.RedisCluster):
        return ClusterEraser(client, namespace, shards)
    return Eraser(client, namespace, shards)


def fields_of(sessions: Sequence[int], visitors: Sequence[int] = ()) -> list[str]:
    """The tombstones of sessions and visitors, by the hashes of their ids."""
    return [*map(session_field, sessions), *map(visitor_field, visitors)]


def _before(value: bytes, since: int) -> bool:
    """Whether a tombstone has served; one that cannot be read is kept, and its hash expires."""
    try:
        return erased_at(value) < since
    except CorruptRecord:
        return False


def _batches(client: Any, key: str) -> Any:
    cursor = 0
    while True:
        cursor, part = client.hscan(key, cursor, count=SCAN_COUNT)
        if part:
            yield part
        if cursor == 0:
            return
