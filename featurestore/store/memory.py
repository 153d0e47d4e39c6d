"""The stores in memory: for tests, dry runs and `replay --verify`. Same rules, no server."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from featurestore.session.visitors import append_entry
from featurestore.store.expiry_buckets import DUE_BYTES, expiry_bucket
from featurestore.store.keys import Namespace, Shard
from featurestore.store.protocols import APPLIED, FENCED, MOVED, Due, Lease, ShardWrite, WriteResult, epoch_number
from featurestore.store.refusals import Refused, refused_of
from featurestore.store.tombstones import Erased
from featurestore.store.write_ops import Bulk, Each, Extend, Key, Keys, Part, Run, Step, decisions_and_profiles, steps


@dataclass(slots=True)
class _ShardData:
    epoch: str = ""
    applied: int | None = None
    written: int = 0
    refused: bytes | None = None
    passes: bytes | None = None
    lists: dict[Part, list[bytes]] = field(default_factory=lambda: {Part.OUTBOXES: [], Part.SET_ASIDE: []})
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
            leases.append(Lease(data.epoch, data.applied, tuple(data.lists[Part.OUTBOXES])))
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
        return [self.decisions.get(self.namespace.decision(session)) for session in sessions]

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

    def refusals(self, partitions: Sequence[int]) -> list[Refused]:
        """See `SessionStore`."""
        kept = [self._shard(Shard(partition)) for partition in partitions]
        return [refused_of((data.refused, data.passes)) for data in kept]

    def _shard(self, shard: Shard) -> _ShardData:
        return self.shards.setdefault(shard, _ShardData())

    def _due(self, shard: Shard, now_ms: int, limit: int) -> Due:
        data = self._shard(shard)
        silent = sorted((at, session) for session, at in data.idle.items() if at <= now_ms)
        ended: list[str] = []
        passed: list[int] = []
        begun = None
        for bucket in sorted(bucket for bucket in data.ends if bucket < expiry_bucket(now_ms)):
            if len(ended) >= limit or _bytes(ended) >= DUE_BYTES:
                break
            before = len(ended)
            ended = _fitting([*ended, *data.ends[bucket]], limit)
            if len(ended) - before < len(data.ends[bucket]):
                begun = (bucket, len(ended) - before)
                break
            passed.append(bucket)
        return Due([*_fitting([session for _, session in silent], limit), *ended], passed, begun)

    def _write(self, write: ShardWrite) -> WriteResult:
        data = self._shard(write.shard)
        if data.epoch != write.epoch:
            return WriteResult(FENCED, data.epoch, None)
        if write.number and data.written >= write.number:
            return WriteResult(APPLIED, "", data.applied)
        if data.applied != write.expected:
            return WriteResult(MOVED, "", data.applied)
        for step in steps(write, Keys(self.namespace, write.shard), decisions_and_profiles(write, 0, self.namespace)):
            self._carry_out(data, step)
        return WriteResult(APPLIED, "", data.applied)

    def _carry_out(self, data: "_ShardData", step: Step) -> None:
        """Do to the dictionaries what a server does to its keys; nothing expires here."""
        match step:
            case Run(_, "EXPIRE", _, _):
                pass
            case Run(_, "HSET", Key(_, Part.META), (_, applied, _, number)):
                data.applied, data.written = None if applied == "" else int(applied), int(number)
            case Run(_, "HSET", Key(_, Part.META), (_, bytes(note))):
                data.refused = note
            case Run(_, "RPUSH", key, values):
                data.lists[key.part].extend(bytes(value) for value in values if isinstance(value, bytes))
            case Run(_, "LTRIM", Key(_, Part.ENDING, bucket), (int(count), _)):
                del data.ends[bucket][:count]
            case Run(_, "LTRIM", key, (int(first), _)):
                kept = data.lists[key.part]
                del kept[: first if first >= 0 else max(len(kept) + first, 0)]
            case Run(_, "UNLINK", Key(_, Part.ENDING, bucket), _):
                data.ends.pop(bucket, None)
            case Run(_, "ZADD" | "ZREM", Key(_, Part.ENDS), _):
                pass  # here a list is there as long as it is named
            case Bulk(_, "HSET", Key(_, Part.STATES), names, values):
                data.states.update(zip(names, values or (), strict=True))
            case Bulk(_, "ZADD", Key(_, Part.IDLE), deadlines, names):
                data.idle.update(zip(names or (), map(int, deadlines), strict=True))
            case Bulk(_, "HDEL", Key(_, Part.STATES), names, _):
                _remove(data.states, names)
            case Bulk(_, "ZREM", Key(_, Part.IDLE), names, _):
                _remove(data.idle, names)
            case Bulk(_, "RPUSH", Key(_, Part.ENDING, bucket), names, _):
                data.ends.setdefault(bucket, []).extend(names)
            case Each(_, "SET", _, sessions, values, _):
                self.decisions.update(zip(map(self.namespace.decision, sessions), values or (), strict=True))
            case Each(_, "DEL", _, sessions, _, _):
                _remove(self.decisions, map(self.namespace.decision, sessions))
            case Extend(_, profiles, _, _):
                for name, entry in profiles:
                    old = self.visitors.get(name)
                    self.visitors[name] = append_entry(old, entry, self.namespace.write_version)
            case _:
                raise NotImplementedError(f"the store in memory does not know this step: {type(step).__name__}")


def _fitting(sessions: list[str], limit: int) -> list[str]:
    """The first of some sessions: as many as a limit allows, and as reach `DUE_BYTES`."""
    sizes = accumulate((len(session.encode()) for session in sessions), initial=0)
    return [session for session, before in zip(sessions[:limit], sizes, strict=False) if before < DUE_BYTES]


def _bytes(sessions: list[str]) -> int:
    return sum(len(session.encode()) for session in sessions)


def _remove(table: dict[str, Any], names: Iterable[str]) -> None:
    for name in names:
        table.pop(name, None)
