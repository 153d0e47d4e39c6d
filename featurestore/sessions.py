"""Where sessions rest: the protocol of a session store and its Redis implementation.

A worker takes a lease on each shard of a partition, loads sessions, and writes a batch with one fenced script: the
script compares the owner epoch and the applied offset that the worker last saw, and only then writes, everything or
nothing. `memory.MemoryStore` is the twin for tests and dry runs; one contract suite holds both to these rules.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final, NamedTuple, Protocol

import redis

from featurestore import resp
from featurestore.column import Blobs, Texts
from featurestore.connection import connect as connect  # noqa: PLC0414 - where it used to be
from featurestore.errors import StoreUnavailable
from featurestore.keys import DECISION_PREFIX, SHARD_TTL_S, VISITOR_TTL_S, Namespace, Shard
from featurestore.line import Command, Line
from featurestore.tombstones import Erased

APPLIED: Final = 1
FENCED: Final = -1
MOVED: Final = -2


Call = tuple[Sequence[str | bytes | int], Sequence[resp.Arguments]]
"""Arguments of a script: one by one, then by the thousand."""


class Lease(NamedTuple):
    """Ownership of a shard.

    Attributes:
        epoch: ``number:uuid``; every write names it.
        applied: offset of the last applied event, None where the store knows none.
        outboxes: what the last batches produce to Kafka (`outbox`), oldest first; empty where Kafka has it.
    """

    epoch: str
    applied: int | None
    outboxes: tuple[bytes, ...] = ()

    @property
    def number(self) -> int:
        """The ordered part of the epoch."""
        return epoch_number(self.epoch)


class WriteResult(NamedTuple):
    """The script's answer.

    Attributes:
        status: `APPLIED`; `FENCED`: another epoch is stored; `MOVED`: another applied offset is stored.
        epoch: the stored epoch when fenced, else "".
        applied: the stored offset, None for none.
    """

    status: int
    epoch: str
    applied: int | None


@dataclass(slots=True)
class ShardWrite:
    """One batch for one shard. An empty one verifies the fence and moves the applied offset alone.

    Columns (`column`) are written as fast as lists are slow.

    Attributes:
        sessions: to be stored, as the ``blobs``.
        armed: sessions whose entry in the idle index moves to the ``deadlines``, epoch ms.
        decided: sessions whose decision becomes the one of ``decisions``.
        removed: sessions to be removed, with their deadlines.
        undecided: sessions whose decision is deleted.
        profiles: key and entry of each visitor's profile to be extended.
        outbox: what the batch produces, b"" for nothing; kept beside those of the batches before it.
        served: how many of the oldest stored outboxes hold what Kafka has acknowledged.
        number: larger than those of the owner's earlier writes: one that comes again is applied once. 0 for none.
    """

    shard: Shard
    epoch: str
    expected: int | None
    applied: int | None
    sessions: Sequence[str] = ()
    blobs: Sequence[bytes] = ()
    armed: Sequence[str] = ()
    deadlines: Sequence[int] = ()
    decided: Sequence[str] = ()
    decisions: Sequence[bytes] = ()
    removed: Sequence[str] = ()
    undecided: Sequence[str] = ()
    profiles: list[tuple[str, bytes]] = field(default_factory=list)
    outbox: bytes = b""
    served: int = 0
    number: int = 0


class SessionStore(Protocol):
    """A store of sessions. Every method blocks at most the client's timeout and raises `StoreUnavailable`."""

    def acquire(self, shards: Sequence[Shard], now_ms: int, own: int) -> list[Lease]:
        """Take the shards; ``own`` is the number of the caller's last epoch, 0 for none."""
        ...

    def load(self, requests: Sequence[tuple[Shard, Sequence[str]]]) -> list[list[bytes | None]]:
        """The stored sessions, in the order asked, None where absent."""
        ...

    def begin_load(self, requests: Sequence[tuple[Shard, Sequence[str]]]) -> Callable[[], list[list[bytes | None]]]:
        """Send a `load` and return; the call returned reads the answer. What is begun later is answered later."""
        ...

    def begin_write(self, writes: Sequence[ShardWrite], decision_ttl_ms: int) -> Callable[[], list[WriteResult]]:
        """Send a `write` and return; the call returned reads the answer."""
        ...

    def profiles(self, keys: Sequence[str]) -> list[bytes | None]:
        """The stored visitor profiles."""
        ...

    def begin_profiles(self, keys: Sequence[str]) -> Callable[[], list[bytes | None]]:
        """Send a `profiles` and return; the call returned reads the answer."""
        ...

    def write(self, writes: Sequence[ShardWrite], decision_ttl_ms: int) -> list[WriteResult]:
        """Apply each batch, fenced. Idempotent: after `StoreUnavailable`, call again with the same writes."""
        ...

    def due(self, queries: Sequence[tuple[Shard, int]], limit: int) -> list[list[str]]:
        """For each (shard, epoch ms): sessions whose deadline has passed by then, earliest first, at most ``limit``."""
        ...

    def begin_due(self, queries: Sequence[tuple[Shard, int]], limit: int) -> Callable[[], list[list[str]]]:
        """Send a `due` and return; the call returned reads the answer."""
        ...

    def erased(self) -> Erased:
        """The tombstones; read after every `acquire`, since an erasure fences the owner."""
        ...


def epoch_number(epoch: str) -> int:
    """The ordered part of an epoch, 0 for none."""
    return int(epoch.partition(":")[0] or 0)


def unavailable(error: Exception, doing: str) -> StoreUnavailable:
    """Map a client error; its text may quote keys and values, so only its class is kept."""
    name = type(error).__name__
    return StoreUnavailable(f"Redis failed while {doing} ({name}); will retry")


def lease_of(reply: tuple[bytes, bytes, list[bytes]]) -> Lease:
    """The answer of `acquire.lua`."""
    epoch, applied, outboxes = reply
    return Lease(epoch.decode(), int(applied) if applied else None, tuple(outboxes))


def write_result(reply: tuple[int, bytes]) -> WriteResult:
    """The answer of the fenced script."""
    status, text = reply[0], reply[1].decode()
    if status == FENCED:
        return WriteResult(status, text, None)
    return WriteResult(status, "", int(text) if text else None)


class Script:
    """A Lua script, loaded once and again whenever the server does not know it (restart, failover, SCRIPT FLUSH)."""

    def __init__(self, name: str) -> None:
        self.text: Final = files("featurestore").joinpath("scripts", f"{name}.lua").read_text()
        self.sha = ""

    def load(self, client: "redis.Redis") -> None:
        """Put the script on the server."""
        sha: Any = client.script_load(self.text)
        self.sha = sha.decode() if isinstance(sha, bytes) else sha


class RedisSessionStore:
    """Sessions in one Redis or Valkey."""

    def __init__(self, client: "redis.Redis", namespace: Namespace) -> None:
        self._client = client
        self._line = Line(client)
        self._namespace = namespace
        self._acquire = Script("acquire")
        self._write = Script("write")

    def acquire(self, shards: Sequence[Shard], now_ms: int, own: int) -> list[Lease]:
        """See `SessionStore`."""
        space = self._namespace
        calls: list[Call] = [
            ([2, space.meta(shard), space.outboxes(shard), now_ms, own, uuid.uuid4().hex], ()) for shard in shards
        ]
        replies = self._run(self._acquire, calls, "taking ownership")
        return [lease_of(reply) for reply in replies]

    def load(self, requests: Sequence[tuple[Shard, Sequence[str]]]) -> list[list[bytes | None]]:
        """See `SessionStore`."""
        return self.begin_load(requests)()

    def begin_load(self, requests: Sequence[tuple[Shard, Sequence[str]]]) -> Callable[[], list[list[bytes | None]]]:
        """See `SessionStore`."""
        states = self._namespace.states
        return self._begin(
            [resp.command(["HMGET", states(shard)], resp.each(Texts.of(names))) for shard, names in requests],
            "loading sessions",
        )

    def profiles(self, keys: Sequence[str]) -> list[bytes | None]:
        """See `SessionStore`."""
        return self.begin_profiles(keys)()

    def begin_profiles(self, keys: Sequence[str]) -> Callable[[], list[bytes | None]]:
        """See `SessionStore`."""
        read = self._begin([("MGET", *keys)] if keys else [], "loading profiles")
        return lambda: read()[0] if keys else []

    def write(self, writes: Sequence[ShardWrite], decision_ttl_ms: int) -> list[WriteResult]:
        """See `SessionStore`."""
        return self.begin_write(writes, decision_ttl_ms)()

    def begin_write(self, writes: Sequence[ShardWrite], decision_ttl_ms: int) -> Callable[[], list[WriteResult]]:
        """See `SessionStore`."""
        calls = [self._call(write, decision_ttl_ms) for write in writes]
        read = self._begin_run(self._write, calls, "writing a batch")
        return lambda: [write_result(reply) for reply in read()]

    def due(self, queries: Sequence[tuple[Shard, int]], limit: int) -> list[list[str]]:
        """See `SessionStore`."""
        return self.begin_due(queries, limit)()

    def begin_due(self, queries: Sequence[tuple[Shard, int]], limit: int) -> Callable[[], list[list[str]]]:
        """See `SessionStore`."""
        idle = self._namespace.idle
        commands = [("ZRANGEBYSCORE", idle(shard), "-inf", now_ms, "LIMIT", 0, limit) for shard, now_ms in queries]
        read = self._begin(commands, "reading deadlines")
        return lambda: [[session.decode() for session in reply] for reply in read()]

    def erased(self) -> Erased:
        """See `SessionStore`."""
        [reply] = self._begin([("HGETALL", self._namespace.erased())], "reading tombstones")()
        pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
        return Erased.of({field.decode(): int(at) for field, at in pairs})

    def _call(self, write: ShardWrite, decision_ttl_ms: int) -> Call:
        namespace, shard = self._namespace, write.shard
        head: list[str | bytes | int] = [
            4,
            namespace.meta(shard),
            namespace.states(shard),
            namespace.idle(shard),
            namespace.outboxes(shard),
            write.epoch,
            "" if write.expected is None else write.expected,
            "" if write.applied is None else write.applied,
            decision_ttl_ms,
            SHARD_TTL_S,
            VISITOR_TTL_S,
            len(write.sessions),
            len(write.decisions),
            len(write.removed),
            len(write.undecided),
            len(write.profiles),
            len(write.deadlines),
            write.served,
            write.outbox,
            write.number,
        ]
        deadlines = Blobs.of([b"%d" % deadline for deadline in write.deadlines])
        prefix = DECISION_PREFIX.encode()
        return head, (
            resp.pairs(Texts.of(write.sessions), Blobs.of(write.blobs)),
            resp.pairs(deadlines, Texts.of(write.armed)),
            resp.pairs(Texts.of(write.decided), Blobs.of(write.decisions), prefix),
            resp.each(Texts.of(write.removed)),
            resp.each(Texts.of(write.undecided), prefix),
            resp.pairs(Texts.of([key for key, _ in write.profiles]), Blobs.of([entry for _, entry in write.profiles])),
        )

    def _run(self, script: Script, calls: Sequence[Call], doing: str) -> list[Any]:
        return self._begin_run(script, calls, doing)()

    def _begin_run(self, script: Script, calls: Sequence[Call], doing: str) -> Callable[[], list[Any]]:
        try:
            if not script.sha:
                script.load(self._client)
            commands = [resp.command(["EVALSHA", script.sha, *head], *parts) for head, parts in calls]
            ticket = self._line.send(commands)
        except redis.RedisError as error:
            raise self._mapped(error, doing) from None

        def read() -> list[Any]:
            try:
                replies = ticket.read()
                missing = [i for i, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)]
                if missing:
                    script.load(self._client)
                    again = self._line.send([commands[i] for i in missing]).read()
                    for i, reply in zip(missing, again, strict=True):
                        replies[i] = reply
                return self._checked(replies)
            except redis.RedisError as error:
                raise self._mapped(error, doing) from None

        return read

    def _begin(self, commands: Sequence[Command], doing: str) -> Callable[[], list[Any]]:
        try:
            ticket = self._line.send(commands)
        except redis.RedisError as error:
            raise self._mapped(error, doing) from None

        def read() -> list[Any]:
            try:
                return self._checked(ticket.read())
            except redis.RedisError as error:
                raise self._mapped(error, doing) from None

        return read

    @staticmethod
    def _checked(replies: list[Any]) -> list[Any]:
        for reply in replies:
            if isinstance(reply, redis.RedisError):
                raise reply
        return replies

    def _mapped(self, error: redis.RedisError, doing: str) -> StoreUnavailable:
        if isinstance(error, redis.exceptions.ReadOnlyError):
            # A demoted node behind a fixed address would keep this connection for ever.
            self._line.reset()
            self._client.connection_pool.disconnect()
        return unavailable(error, doing)
