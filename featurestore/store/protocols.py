"""Where sessions rest: the protocols of a session store, one for who reads and one for who writes.

A worker takes a lease on each shard of a partition, loads sessions, and writes a batch behind a fence: the owner epoch
and the applied offset that the worker last saw are compared with the stored ones, and only then everything is written,
or nothing. `redis.store` is one Redis, `cluster.store` a Cluster, and `memory` the twin for tests and dry
runs; one contract suite holds all of them to these rules.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from featurestore.errors import StoreUnavailable
from featurestore.store.keys import Shard
from featurestore.store.refusals import Note, Refused
from featurestore.store.set_aside import SetAside
from featurestore.store.tombstones import Erased

APPLIED: Final = 1
FENCED: Final = -1
MOVED: Final = -2


class Lease(NamedTuple):
    """Ownership of a shard.

    Attributes:
        epoch: ``number:uuid``; every write names it.
        applied: offset of the last applied event, None where the store knows none.
        outboxes: what the last batches produce to Kafka (`outbox`), oldest first; empty where Kafka has it.
        set_aside: how many records the store could not read, and set aside, as it gave the lease.
    """

    epoch: str
    applied: int | None
    outboxes: tuple[bytes, ...] = ()
    set_aside: int = 0

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


_COMMAND: Final = re.compile(r"permissions to run the '([a-z|_-]{1,40})'")


RETRIED: Final = "; will retry"
"""Ends what is said of a failure; a command, which does not retry, says something else."""


class Due(NamedTuple):
    """What has fallen due in a shard; false if nothing has.

    Attributes:
        sessions: whose deadline has passed: those that await their silence, earliest first, then those of the
            ``passed`` buckets. A session may be named twice, and may have moved on since it came into a bucket.
        passed: expiry buckets whose sessions were all read, oldest first; the write that uses them deletes their lists.
        begun: a bucket of which only the first sessions were read, and how many; the write cuts them off its list.
    """

    sessions: list[str]
    passed: list[int]
    begun: tuple[int, int] | None = None

    def __bool__(self) -> bool:
        return bool(self.sessions or self.passed)


@dataclass(slots=True)
class ShardWrite:
    """One batch for one shard. An empty one verifies the fence and moves the applied offset alone.

    Columns (`column`) are written as fast as lists are slow.

    Attributes:
        sessions: to be stored, as the ``blobs``.
        armed: sessions whose entry in the sorted set of the idle index moves to the ``deadlines``, epoch ms.
        disarmed: sessions whose entry leaves the sorted set.
        ending: sessions that are put into the lists of the ``expiry_buckets``, one each.
        passed: expiry buckets whose lists are deleted, before anything is put into a list.
        begun: a bucket whose list loses its first sessions, and how many, before anything is put into a list.
        decided: sessions whose decision becomes the one of ``decisions``.
        removed: sessions to be removed, with their deadlines.
        undecided: sessions whose decision is deleted.
        profiles: key and entry of each visitor's profile to be extended.
        outbox: what the batch produces, b"" for nothing; kept beside those of the batches before it.
        acknowledged: how many of the oldest stored outboxes hold what Kafka has acknowledged.
        set_aside: records that could not be read (`set_aside`), kept beside those of before, in a bounded list.
        refused: what was refused of the partition, None where nothing is to be noted; of its first bucket only.
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
    acknowledged: int = 0
    set_aside: Sequence[SetAside] = ()
    refused: Note | None = None
    number: int = 0
    disarmed: Sequence[str] = ()
    ending: Sequence[str] = ()
    expiry_buckets: Sequence[int] = ()
    passed: Sequence[int] = ()
    begun: tuple[int, int] | None = None


class SessionReader(Protocol):
    """Reads sessions; any process may have one. Blocks at most the client's timeout and raises `StoreUnavailable`."""

    def load(self, requests: Sequence[tuple[Shard, Sequence[str]]]) -> list[list[bytes | None]]:
        """The stored sessions, in the order asked, None where absent. A request may name no session."""
        ...

    def begin_load(self, requests: Sequence[tuple[Shard, Sequence[str]]]) -> Callable[[], list[list[bytes | None]]]:
        """Send a `load` and return; the call returned reads the answer. What is begun later is answered later."""
        ...

    def profiles(self, keys: Sequence[str]) -> list[bytes | None]:
        """The stored visitor profiles."""
        ...

    def begin_profiles(self, keys: Sequence[str]) -> Callable[[], list[bytes | None]]:
        """Send a `profiles` and return; the call returned reads the answer."""
        ...

    def documents(self, sessions: Sequence[str]) -> list[bytes | None]:
        """The current decision documents, None where a session has none."""
        ...


class SessionWriter(Protocol):
    """Writes sessions behind a fence; only the owner of a shard has one. Methods block and raise as a reader's do."""

    def acquire(self, shards: Sequence[Shard], now_ms: int, own: int) -> list[Lease]:
        """Take the shards; ``own`` is the number of the caller's last epoch, 0 for none."""
        ...

    def begin_write(self, writes: Sequence[ShardWrite], decision_ttl_ms: int) -> Callable[[], list[WriteResult]]:
        """Send a `write` and return; the call returned reads the answer."""
        ...

    def write(self, writes: Sequence[ShardWrite], decision_ttl_ms: int) -> list[WriteResult]:
        """Apply each batch, fenced. Idempotent: after `StoreUnavailable`, call again with the same writes."""
        ...

    def due(self, queries: Sequence[tuple[Shard, int]], limit: int) -> list[Due]:
        """For each (shard, epoch ms): what has fallen due by then; changes nothing.

        Of those that await their silence at most ``limit``, and of those in buckets, oldest first, as many; of either
        kind no more than reach `DUE_BYTES` of ids.
        """
        ...

    def begin_due(self, queries: Sequence[tuple[Shard, int]], limit: int) -> Callable[[], list[Due]]:
        """Send a `due` and return; the call returned reads the answer."""
        ...

    def erased(self, now_ms: int) -> Erased:
        """The tombstones; read after every `acquire`, since an erasure fences the owner."""
        ...

    def refusals(self, partitions: Sequence[int]) -> list[Refused]:
        """What was refused of each partition; read after its `acquire`."""
        ...


class SessionStore(SessionReader, SessionWriter, Protocol):
    """Both: what a worker has."""


def epoch_number(epoch: str) -> int:
    """The ordered part of an epoch, 0 for none."""
    return int(epoch.partition(":")[0] or 0)


def unavailable(error: Exception, doing: str) -> StoreUnavailable:
    """Map a client error; its text may quote keys and values, so only its class and a missing right are kept."""
    return StoreUnavailable(f"Redis failed while {doing} ({refusal(error)}){RETRIED}")


def refusal(error: Exception) -> str:
    """What may be said of a client error: its class, and which right this user lacks.

    >>> refusal(RuntimeError("NOPERM User w has no permissions to run the 'hset' command"))
    "RuntimeError: this user may not run 'hset', see the rights in docs/guarantees.md"
    """
    name, text = type(error).__name__, str(error)
    lacking = _COMMAND.search(text)
    if lacking:
        lacks = f"run '{lacking[1]}'"
    elif "script can't run" in text:  # Redis before 7.2
        lacks = "run a command of a script (ACL LOG on the server has it)"
    elif "permissions to access" in text or "script can't access" in text:
        lacks = "touch one of the keys"
    else:
        return name
    return f"{name}: this user may not {lacks}, see the rights in docs/guarantees.md"


def in_place(
    requests: Sequence[tuple[Shard, Sequence[str]]], answers: Sequence[list[bytes | None]]
) -> list[list[bytes | None]]:
    """The answers to those requests that name sessions, and an empty one to each that names none."""
    left = iter(answers)
    return [next(left) if len(names) else [] for _, names in requests]


def due_of(reply: tuple[list[bytes], list[bytes], bytes, int]) -> Due:
    """The answer of `due.lua`."""
    sessions, passed, bucket, count = reply
    begun = (int(bucket), count) if count else None
    return Due([session.decode() for session in sessions], [int(slot) for slot in passed], begun)


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
