"""Sessions on Redis Cluster: a bucket's keys in one slot under one fence, decisions and profiles in slots of their own.

1. the fenced script of a bucket applies its batch, and keeps what belongs to other slots in the same bucket, in its
   `cross_slot_outbox`
2. once it has answered that the batch is applied, decisions and profiles go where they belong
3. the batch after the next is sent only when those have landed: the bucket keeps what its last two batches owe

A worker that dies between 1 and 2 leaves what it owes to whoever takes the bucket next, who writes it before the lease
is used. Every piece may be written twice and late, so a repeated call needs no question. `docs/decisions/0014` says why
so. On one node `redis.store.RedisSessionStore` does all of it in one script.
"""

import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import redis

from featurestore.errors import StoreUnavailable
from featurestore.session.visitors import head
from featurestore.store.cluster import cross_slot_outbox
from featurestore.store.cluster.cluster_connection import ClusterConnection, ClusterScript, Command
from featurestore.store.cluster.cross_slot_outbox import Fields
from featurestore.store.expiry_buckets import DUE_BYTES, expiry_bucket
from featurestore.store.keys import VISITOR_TTL_S, Namespace, Shard, slot_of
from featurestore.store.protocols import (
    APPLIED,
    Due,
    Lease,
    ShardWrite,
    WriteResult,
    due_of,
    in_place,
    lease_of,
    write_result,
)
from featurestore.store.redis import resp
from featurestore.store.redis.script_call import WRITE, call
from featurestore.store.refusals import PASSES, REFUSED, Refused, refused_of
from featurestore.store.set_aside import LIFE_S, MOST, SetAside
from featurestore.store.tombstones import Erased
from featurestore.store.write_ops import Keys, cross_slot, steps

LANDING = "writing decisions"


@dataclass(slots=True)
class _Flight:
    """Writes to other slots that are under way; ``answer`` is None where they must be sent again."""

    commands: list[Command]
    answer: Callable[[], list[Any]] | None


class ClusterSessionStore:
    """Sessions in the buckets of a Redis or Valkey Cluster; see `SessionStore`."""

    def __init__(self, client: "redis.RedisCluster", namespace: Namespace) -> None:
        self._namespace = namespace
        self._acquire = ClusterScript("acquire")
        self._write = ClusterScript(*WRITE)
        self._decide = ClusterScript("cluster_decide")
        self._remember = ClusterScript("profile", "cluster_remember")
        self._due = ClusterScript("due")
        self._cluster = ClusterConnection(client, [self._acquire, self._write, self._due, self._decide, self._remember])
        self._slots: dict[Shard, int] = {}
        self._flights: deque[_Flight] = deque()

    def acquire(self, shards: Sequence[Shard], now_ms: int, own: int) -> list[Lease]:
        """See `SessionStore`. What the last owner left to write to other slots is written first."""
        space = self._namespace
        takes: list[Command] = []
        left: list[Command] = []
        for shard in shards:
            keys = (space.meta(shard), space.outboxes(shard))
            call = ("EVALSHA", self._acquire.sha, 2, *keys, now_ms, own, uuid.uuid4().hex)
            takes.append((self._slot(shard), call))
            left += [
                (self._slot(shard), ("HGETALL", key))
                for key in (space.cross_slot_outbox_before(shard), space.cross_slot_outbox(shard))
            ]
        replies = self._cluster.ask(takes, "taking ownership")
        # After the fence: nobody adds to what is read now.
        found = [cross_slot_outbox.stored(reply) for reply in self._cluster.ask(left, "taking ownership")]
        unread = [before.corrupt | last.corrupt for before, last in zip(found[::2], found[1::2], strict=True)]
        asides = [self._aside(shard, fields, now_ms) for shard, fields in zip(shards, unread, strict=True)]
        commands = [command for fields, life, _ in found for command in self._landing(fields, life)]
        self._cluster.ask([*chain.from_iterable(asides), *commands], LANDING)
        return [lease_of(reply)._replace(set_aside=len(fields)) for reply, fields in zip(replies, unread, strict=True)]

    def load(self, requests: Sequence[tuple[Shard, Sequence[str]]]) -> list[list[bytes | None]]:
        """See `SessionStore`."""
        return self.begin_load(requests)()

    def begin_load(self, requests: Sequence[tuple[Shard, Sequence[str]]]) -> Callable[[], list[list[bytes | None]]]:
        """See `SessionStore`."""
        states = self._namespace.states
        commands = [
            (self._slot(shard), ("HMGET", states(shard), *sessions)) for shard, sessions in requests if len(sessions)
        ]
        read = self._cluster.begin(commands, "loading sessions")
        return lambda: in_place(requests, read())

    def profiles(self, keys: Sequence[str]) -> list[bytes | None]:
        """See `SessionStore`; sessions that the batch before ended may be missing in them."""
        return self.begin_profiles(keys)()

    def begin_profiles(self, keys: Sequence[str]) -> Callable[[], list[bytes | None]]:
        """See `SessionStore`."""
        return self._cluster.begin([(slot_of(key), ("GET", key)) for key in keys], "loading profiles")

    def documents(self, sessions: Sequence[str]) -> list[bytes | None]:
        """See `SessionStore`."""
        keys = list(map(self._namespace.decision, sessions))
        return self._cluster.ask([(slot_of(key), ("GET", key)) for key in keys], "reading decisions")

    def write(self, writes: Sequence[ShardWrite], decision_ttl_ms: int) -> list[WriteResult]:
        """See `SessionStore`; returns when decisions and profiles have landed too."""
        results = self.begin_write(writes, decision_ttl_ms)()
        self._land(under_way=0)
        return results

    def begin_write(self, writes: Sequence[ShardWrite], decision_ttl_ms: int) -> Callable[[], list[WriteResult]]:
        """See `SessionStore`. Reading the answer sends decisions and profiles, and does not wait for them."""
        self._land(under_way=1)
        landed = not self._flights
        fields = [cross_slot_outbox.of(write, self._namespace) for write in writes]
        calls: list[Command] = [
            (self._slot(write.shard), self._call(write, part, decision_ttl_ms, landed=landed))
            for write, part in zip(writes, fields, strict=True)
        ]
        read = self._cluster.begin(calls, "writing a batch")

        def answer() -> list[WriteResult]:
            results = [write_result(reply) for reply in read()]
            self._take_off(
                command
                for write, result, part in zip(writes, results, fields, strict=True)
                if result.status == APPLIED
                for command in self._landing(part, decision_ttl_ms)
            )
            return results

        return answer

    def due(self, queries: Sequence[tuple[Shard, int]], limit: int) -> list[Due]:
        """See `SessionStore`."""
        return self.begin_due(queries, limit)()

    def begin_due(self, queries: Sequence[tuple[Shard, int]], limit: int) -> Callable[[], list[Due]]:
        """See `SessionStore`."""
        space = self._namespace
        commands: list[Command] = []
        for shard, now_ms in queries:
            asked = (space.idle(shard), space.ends(shard), now_ms, expiry_bucket(now_ms), limit, DUE_BYTES)
            commands.append((self._slot(shard), ("EVALSHA", self._due.sha, 2, *asked)))
        read = self._cluster.begin(commands, "reading deadlines")
        return lambda: [due_of(reply) for reply in read()]

    def erased(self, now_ms: int) -> Erased:
        """See `SessionStore`."""
        key = self._namespace.erased()
        [reply] = self._cluster.ask([(slot_of(key), ("HGETALL", key))], "reading tombstones")
        pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
        return Erased.of(dict(pairs), now_ms)

    def refusals(self, partitions: Sequence[int]) -> list[Refused]:
        """See `SessionStore`."""
        shards = [Shard(partition) for partition in partitions]
        asked = [(self._slot(shard), ("HMGET", self._namespace.meta(shard), REFUSED, PASSES)) for shard in shards]
        return [refused_of(reply) for reply in self._cluster.ask(asked, "reading what was refused")]

    def _slot(self, shard: Shard) -> int:
        slot = self._slots.get(shard)
        if slot is None:
            slot = self._slots[shard] = slot_of(self._namespace.meta(shard))
        return slot

    def _call(self, write: ShardWrite, fields: Fields, ttl_ms: int, *, landed: bool) -> resp.Packed:
        keys = Keys(self._namespace, write.shard)
        kept = cross_slot_outbox.flat(fields, ttl_ms, self._namespace.write_version)
        named = (keys.meta, keys.states, keys.idle, keys.ends, keys.outboxes, keys.cross_slot, keys.cross_slot_before)
        head, parts = call(
            write,
            steps(write, keys, cross_slot(keys, kept, landed=landed)),
            [*named, self._namespace.never(write.shard)],
        )
        return resp.command(["EVALSHA", self._write.sha, *head], *parts)

    def _aside(self, shard: Shard, fields: Mapping[bytes, bytes], now_ms: int) -> list[Command]:
        """The commands that set fields aside which cannot be read."""
        if not fields:
            return []
        key, slot = self._namespace.set_aside(shard), self._slot(shard)
        kept = [
            SetAside("cross_slot", field.decode(errors="replace"), now_ms, value).encoded()
            for field, value in fields.items()
        ]
        return [
            (slot, ("RPUSH", key, *kept)),
            (slot, ("LTRIM", key, -MOST, -1)),
            (slot, ("EXPIRE", key, LIFE_S)),
        ]

    def _landing(self, fields: Fields, life_ms: int) -> Iterator[Command]:
        """The commands that write to other slots."""
        for key, action, value in cross_slot_outbox.pieces(fields):
            gone = self._namespace.gone(key)
            if action == cross_slot_outbox.EXTEND:
                yield (
                    slot_of(key),
                    (
                        "EVALSHA",
                        self._remember.sha,
                        2,
                        key,
                        gone,
                        value,
                        VISITOR_TTL_S,
                        head(self._namespace.write_version),
                    ),
                )
            else:
                yield slot_of(key), ("EVALSHA", self._decide.sha, 2, key, gone, action, value, life_ms)

    def _take_off(self, commands: Iterator[Command]) -> None:
        """Send writes to other slots; whether they land is looked at before the batch after the next."""
        flight = _Flight(list(commands), None)
        if not flight.commands:
            return
        self._flights.append(flight)
        with suppress(StoreUnavailable):  # `_land` sends them again
            flight.answer = self._cluster.begin(flight.commands, LANDING)

    def _land(self, under_way: int) -> None:
        """Wait until the writes of few enough batches to other slots are under way.

        Raises:
            StoreUnavailable: they are kept, and sent again by the next call.
        """
        while len(self._flights) > under_way:
            flight = self._flights[0]
            answer, flight.answer = flight.answer, None
            if answer is not None:
                answer()
            else:
                self._cluster.ask(flight.commands, LANDING)
            self._flights.popleft()
