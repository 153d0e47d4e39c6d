"""Sessions in one Redis or Valkey.

A batch is written in one of two ways, everything or nothing:

- by `write.lua`, which compares the fences and then writes; it needs to know nothing, and says what is the matter;
- by a transaction: the connection WATCHes the fences, they are read behind the WATCH and compared here, and MULTI ...
  EXEC is carried out only if nobody has touched one of them since. Redis does less for the same bytes: a script makes a
  Lua string of every argument (docs/decisions/0018).

The transaction is for an owner who finds everything as it left it. The first write of a connection, one that is sent
again, and one that EXEC refused go by the script.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import redis

from featurestore.columns.column import Texts
from featurestore.store.expiry_buckets import DUE_BYTES, expiry_bucket
from featurestore.store.keys import Namespace, Shard
from featurestore.store.protocols import (
    APPLIED,
    Due,
    Lease,
    ShardWrite,
    WriteResult,
    due_of,
    in_place,
    lease_of,
    unavailable,
    write_result,
)
from featurestore.store.redis import resp
from featurestore.store.redis.lua import script_text
from featurestore.store.redis.pipelined_connection import Command, PipelinedConnection
from featurestore.store.redis.script_call import WRITE, Call, call
from featurestore.store.redis.transaction import transaction
from featurestore.store.refusals import PASSES, REFUSED, Refused, refused_of
from featurestore.store.tombstones import Erased
from featurestore.store.write_ops import Keys, Step, decisions_and_profiles, steps

WRITING: Final = "writing a batch"
MULTI, EXEC = resp.command(["MULTI"]), resp.command(["EXEC"])


class Script:
    """A Lua script, loaded once and again whenever the server does not know it (restart, failover, SCRIPT FLUSH)."""

    def __init__(self, *names: str) -> None:
        self.text: Final = script_text(*names)
        self.sha = ""

    def load(self, client: "redis.Redis") -> None:
        """Put the script on the server."""
        sha: Any = client.script_load(self.text)
        self.sha = sha.decode() if isinstance(sha, bytes) else sha


class Fences:
    """The fences that the connection watches, as they stood when they were read behind the WATCH."""

    def __init__(self, pipelined: PipelinedConnection, namespace: Namespace) -> None:
        self._pipelined = pipelined
        self._namespace = namespace
        self._leased: dict[Shard, str] = {}
        self._watch: list[Command] | None = None  # put together when next asked for, not with each of many leases
        self._stood: dict[Shard, tuple[str, int | None, int]] = {}
        self._connection = 0

    def leased(self, shard: Shard, epoch: str) -> None:
        """This shard is written under this epoch from now on."""
        self._leased[shard] = epoch
        self._stood.pop(shard, None)
        self._watch = None

    def stand(self, writes: Sequence[ShardWrite]) -> bool:
        """Whether EXEC would carry these writes out only if each finds its shard as its owner left it.

        EXEC ends the WATCH, so the answer is yes at most once for each `noted`.
        """
        stood, self._stood = self._stood, {}
        if not self._pipelined.connected or self._pipelined.connections != self._connection:
            return False
        for write in writes:
            epoch, applied, number = stood.pop(write.shard, ("", None, 0))
            if epoch != write.epoch or applied != write.expected or 0 < write.number <= number:
                return False
        return True

    def watch(self) -> list[Command]:
        """Commands that watch the leased shards and read their fences; their answers are for `noted`."""
        if self._watch is None:
            self._watch = self._commands()
        return self._watch

    def _commands(self) -> list[Command]:
        metas = [self._namespace.meta(shard) for shard in self._leased]
        if not metas:
            return []
        asked = [resp.command(["HMGET", meta, "epoch", "applied", "write"]) for meta in metas]
        return [resp.together([resp.command(["UNWATCH"]), resp.command(["WATCH", *metas]), *asked])]

    def watched(self) -> tuple[int, list[Shard]]:
        """What the commands of `watch` are about, for `noted`."""
        return self._pipelined.connections, list(self._leased)

    def noted(self, about: tuple[int, list[Shard]], answers: Sequence[Any]) -> None:
        """Take in the answers to `watch`."""
        self._connection, shards = about
        self._stood = {}
        for shard, (epoch, applied, number) in zip(shards, answers[2:], strict=True):
            if epoch is None or epoch.decode() != self._leased.get(shard):
                self._leased.pop(shard, None)  # somebody else's by now: its writes would end our watch
                self._watch = None
            else:
                self._stood[shard] = epoch.decode(), int(applied) if applied else None, int(number or 0)


class RedisSessionStore:
    """Sessions in one Redis or Valkey; see `SessionStore`.

    Attributes:
        transactions: how many batches went by a transaction.
    """

    def __init__(self, client: "redis.Redis", namespace: Namespace) -> None:
        self._client = client
        self._pipelined = PipelinedConnection(client)
        self._namespace = namespace
        self._fences = Fences(self._pipelined, namespace)
        self._keys: dict[Shard, Keys] = {}
        self._acquire = Script("acquire")
        self._write = Script(*WRITE)
        self._due = Script("due")
        self.transactions = 0

    def acquire(self, shards: Sequence[Shard], now_ms: int, own: int) -> list[Lease]:
        """See `SessionStore`."""
        space = self._namespace
        heads: list[list[str | int]] = [
            [2, space.meta(shard), space.outboxes(shard), now_ms, own, uuid.uuid4().hex] for shard in shards
        ]
        replies = self._begin_script(self._acquire, [(head, ()) for head in heads], "taking ownership")()
        leases = [lease_of(reply) for reply in replies]
        for shard, lease in zip(shards, leases, strict=True):
            self._fences.leased(shard, lease.epoch)
        return leases

    def load(self, requests: Sequence[tuple[Shard, Sequence[str]]]) -> list[list[bytes | None]]:
        """See `SessionStore`."""
        return self.begin_load(requests)()

    def begin_load(self, requests: Sequence[tuple[Shard, Sequence[str]]]) -> Callable[[], list[list[bytes | None]]]:
        """See `SessionStore`."""
        states = [self._keys_of(shard).states.text for shard, _ in requests]
        asked = resp.keyed("HMGET", states, [Texts.of(names) for _, names in requests])
        read = self._begin([asked], "loading sessions")
        return lambda: in_place(requests, read())

    def profiles(self, keys: Sequence[str]) -> list[bytes | None]:
        """See `SessionStore`."""
        return self.begin_profiles(keys)()

    def begin_profiles(self, keys: Sequence[str]) -> Callable[[], list[bytes | None]]:
        """See `SessionStore`."""
        read = self._begin([("MGET", *keys)] if keys else [], "loading profiles")
        return lambda: read()[0] if keys else []

    def documents(self, sessions: Sequence[str]) -> list[bytes | None]:
        """See `SessionStore`."""
        if not sessions:
            return []
        [found] = self._begin([("MGET", *map(self._namespace.decision, sessions))], "reading decisions")()
        return list(found)

    def write(self, writes: Sequence[ShardWrite], decision_ttl_ms: int) -> list[WriteResult]:
        """See `SessionStore`."""
        return self.begin_write(writes, decision_ttl_ms)()

    def begin_write(self, writes: Sequence[ShardWrite], decision_ttl_ms: int) -> Callable[[], list[WriteResult]]:
        """See `SessionStore`."""
        if self._fences.stand(writes):
            return self._begin_transaction(writes, decision_ttl_ms)
        return self._begin_fenced(writes, decision_ttl_ms)

    def due(self, queries: Sequence[tuple[Shard, int]], limit: int) -> list[Due]:
        """See `SessionStore`."""
        return self.begin_due(queries, limit)()

    def begin_due(self, queries: Sequence[tuple[Shard, int]], limit: int) -> Callable[[], list[Due]]:
        """See `SessionStore`."""
        space = self._namespace
        heads: list[list[str | int]] = [
            [2, space.idle(shard), space.ends(shard), now_ms, expiry_bucket(now_ms), limit, DUE_BYTES]
            for shard, now_ms in queries
        ]
        read = self._begin_script(self._due, [(head, ()) for head in heads], "reading deadlines")
        return lambda: [due_of(reply) for reply in read()]

    def erased(self, now_ms: int) -> Erased:
        """See `SessionStore`."""
        [reply] = self._begin([("HGETALL", self._namespace.erased())], "reading tombstones")()
        pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
        return Erased.of(dict(pairs), now_ms)

    def refusals(self, partitions: Sequence[int]) -> list[Refused]:
        """See `SessionStore`."""
        asked = [("HMGET", self._namespace.meta(Shard(partition)), REFUSED, PASSES) for partition in partitions]
        return [refused_of(reply) for reply in self._begin(asked, "reading what was refused")()]

    # -- writing ---------------------------------------------------------------------------------

    def _begin_transaction(self, writes: Sequence[ShardWrite], ttl_ms: int) -> Callable[[], list[WriteResult]]:
        body = resp.together(transaction(self._steps(write, ttl_ms) for write in writes))
        read = self._begin([MULTI, body, EXEC, *self._fences.watch()], WRITING)
        about = self._fences.watched()

        def results() -> list[WriteResult]:
            replies = read()
            self._fences.noted(about, replies[body.answers + 2 :])
            done = replies[body.answers + 1]
            if done is None:  # somebody touched a fence: the script says what became of it
                return self._begin_fenced(writes, ttl_ms)()
            self._checked(done, WRITING)
            self.transactions += 1
            return [WriteResult(APPLIED, "", write.applied) for write in writes]

        return results

    def _keys_of(self, shard: Shard) -> Keys:
        keys = self._keys.get(shard)
        if keys is None:
            keys = self._keys[shard] = Keys(self._namespace, shard)
        return keys

    def _begin_fenced(self, writes: Sequence[ShardWrite], ttl_ms: int) -> Callable[[], list[WriteResult]]:
        calls = [self._call(write, ttl_ms) for write in writes]
        read = self._begin_script(self._write, calls, WRITING, self._fences.watch())
        about = self._fences.watched()

        def results() -> list[WriteResult]:
            replies = read()
            self._fences.noted(about, replies[len(calls) :])
            return [write_result(reply) for reply in replies[: len(calls)]]

        return results

    def _steps(self, write: ShardWrite, ttl_ms: int) -> Iterator[Step]:
        return steps(write, self._keys_of(write.shard), decisions_and_profiles(write, ttl_ms, self._namespace))

    def _call(self, write: ShardWrite, ttl_ms: int) -> Call:
        keys = self._keys_of(write.shard)
        return call(write, self._steps(write, ttl_ms), [keys.meta, keys.states, keys.idle, keys.ends, keys.outboxes])

    # -- asking ----------------------------------------------------------------------------------

    def _begin_script(
        self, script: Script, calls: Sequence[Call], doing: str, after: Sequence[Command] = ()
    ) -> Callable[[], list[Any]]:
        """Call a script, once for each of the calls, then other commands."""
        try:
            if not script.sha:
                script.load(self._client)
        except redis.RedisError as error:
            raise self._mapped(error, doing) from None
        commands: list[Command] = [resp.command(["EVALSHA", script.sha, *head], *parts) for head, parts in calls]
        first = self._begin([*commands, *after], doing, checked=False)

        def read() -> list[Any]:
            replies = first()
            if any(isinstance(reply, redis.exceptions.NoScriptError) for reply in replies):
                try:
                    script.load(self._client)
                except redis.RedisError as error:
                    raise self._mapped(error, doing) from None
                missing = [i for i, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)]
                again = self._begin([*(commands[i] for i in missing), *after], doing)()
                for i, reply in zip(missing, again, strict=False):
                    replies[i] = reply
                replies[len(calls) :] = again[len(missing) :]
            return self._checked(replies, doing)

        return read

    def _begin(self, commands: Sequence[Command], doing: str, *, checked: bool = True) -> Callable[[], list[Any]]:
        try:
            ticket = self._pipelined.send(commands)
        except redis.RedisError as error:
            raise self._mapped(error, doing) from None

        def read() -> list[Any]:
            try:
                replies = ticket.read()
            except redis.RedisError as error:
                raise self._mapped(error, doing) from None
            return self._checked(replies, doing) if checked else replies

        return read

    def _checked(self, replies: list[Any], doing: str) -> list[Any]:
        # By kind: of thousands of answers there are a handful of kinds.
        if any(issubclass(kind, redis.RedisError) for kind in set(map(type, replies))):
            raise self._mapped(next(reply for reply in replies if isinstance(reply, redis.RedisError)), doing)
        return replies

    def _mapped(self, error: redis.RedisError, doing: str) -> Exception:
        if isinstance(error, redis.exceptions.ReadOnlyError):
            # A demoted node behind a fixed address would keep this connection for ever.
            self._pipelined.reset()
            self._client.connection_pool.disconnect()
        return unavailable(error, doing)
