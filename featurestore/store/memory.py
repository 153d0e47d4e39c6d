"""The stores in memory: for tests, dry runs and `replay --verify`. Same rules, no server."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from featurestore.session.visitors import append_entry
from featurestore.store.expiry_buckets import expiry_bucket
from featurestore.store.keys import Namespace, Shard, decision_key
from featurestore.store.protocols import APPLIED, FENCED, MOVED, Due, Lease, ShardWrite, WriteResult, epoch_number
from featurestore.store.tombstones import Erased


@dataclass(slots=True)
class _ShardData:
    epoch: str = ""
    applied: int | None = None
    written: int = 0
    outboxes: tuple[bytes, ...] = ()
    states: dict[str, bytes] = field(default_factory=dict)
    idle: dict[str, int] = field(default_factory=dict)
    ends: dict[int, list[str]] = field(default_factory=dict)


class MemoryStore:
    """Sessions, decisions and profiles in dictionaries; not for more than one thread."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.shards: dict[Shard, _ShardData] = {}
        self.decisions: dict[str, bytes] = {}
        self.visitors: dict[str, bytes] = {}
        self.tombstones: dict[bytes, bytes] = {}

    def acquire(self, shards: Sequence[Shard], now_ms: int, own: int) -> list[Lease]:
        """See `SessionStore`."""
        leases = []
        for shard in shards:
            data = self._shard(shard)
            number = max(epoch_number(data.epoch) + 1, now_ms, own + 1)
            data.epoch = f"{number}:{uuid.uuid4().hex}"
            data.written = 0
            leases.append(Lease(data.epoch, data.applied, data.outboxes))
        return leases

    def load(self, requests: Sequence[tuple[Shard, Sequence[str]]]) -> list[list[bytes | None]]:
        """See `SessionStore`."""
        return [list(map(self._shard(shard).states.get, sessions)) for shard, sessions in requests]

    def begin_load(self, requests: Sequence[tuple[Shard, Sequence[str]]]) -> Callable[[], list[list[bytes | None]]]:
        """See `SessionStore`."""
        loaded = self.load(requests)
        return lambda: loaded

    def begin_write(self, writes: Sequence[ShardWrite], decision_ttl_ms: int) -> Callable[[], list[WriteResult]]:
        """See `SessionStore`."""
        results = self.write(writes, decision_ttl_ms)
        return lambda: results

    def profiles(self, keys: Sequence[str]) -> list[bytes | None]:
        """See `SessionStore`."""
        return [self.visitors.get(key) for key in keys]

    def begin_profiles(self, keys: Sequence[str]) -> Callable[[], list[bytes | None]]:
        """See `SessionStore`."""
        found = self.profiles(keys)
        return lambda: found

    def documents(self, sessions: Sequence[str]) -> list[bytes | None]:
        """See `SessionReader`; decisions do not expire here."""
        return [self.decisions.get(decision_key(session)) for session in sessions]

    def write(self, writes: Sequence[ShardWrite], decision_ttl_ms: int) -> list[WriteResult]:
        """See `SessionStore`; decisions do not expire here."""
        return [self._write(write) for write in writes]

    def due(self, queries: Sequence[tuple[Shard, int]], limit: int) -> list[Due]:
        """See `SessionStore`."""
        return [self._due(shard, now_ms, limit) for shard, now_ms in queries]

    def begin_due(self, queries: Sequence[tuple[Shard, int]], limit: int) -> Callable[[], list[Due]]:
        """See `SessionStore`."""
        found = self.due(queries, limit)
        return lambda: found

    def erased(self, now_ms: int) -> Erased:
        """See `SessionStore`."""
        return Erased.of(self.tombstones, now_ms)

    def _shard(self, shard: Shard) -> _ShardData:
        return self.shards.setdefault(shard, _ShardData())

    def _due(self, shard: Shard, now_ms: int, limit: int) -> Due:
        data = self._shard(shard)
        silent = sorted((at, session) for session, at in data.idle.items() if at <= now_ms)
        due = Due([session for _, session in silent[:limit]], [])
        for bucket in sorted(bucket for bucket in data.ends if bucket < expiry_bucket(now_ms)):
            if due.passed and len(due.sessions) >= limit:
                break
            due.passed.append(bucket)
            due.sessions.extend(data.ends[bucket])
        return due

    def _write(self, write: ShardWrite) -> WriteResult:
        data = self._shard(write.shard)
        if data.epoch != write.epoch:
            return WriteResult(FENCED, data.epoch, None)
        if write.number and data.written >= write.number:
            return WriteResult(APPLIED, "", data.applied)
        if data.applied != write.expected:
            return WriteResult(MOVED, "", data.applied)
        data.applied, data.written = write.applied, write.number
        data.outboxes = data.outboxes[write.acknowledged :]
        if write.outbox:
            data.outboxes += (write.outbox,)
        data.states.update(zip(write.sessions, write.blobs, strict=True))
        data.idle.update(zip(write.armed, write.deadlines, strict=True))
        self.decisions.update(zip(map(decision_key, write.decided), write.decisions, strict=True))
        for session in write.removed:
            data.states.pop(session, None)
        for session in (*write.removed, *write.disarmed):
            data.idle.pop(session, None)
        for bucket in write.passed:
            data.ends.pop(bucket, None)
        for session, bucket in zip(write.ending, write.expiry_buckets, strict=True):
            data.ends.setdefault(bucket, []).append(session)
        for session in write.undecided:
            self.decisions.pop(decision_key(session), None)
        for key, entry in write.profiles:
            self.visitors[key] = append_entry(self.visitors.get(key), entry, self.namespace.write_version)
        return WriteResult(APPLIED, "", data.applied)
