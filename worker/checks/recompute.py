"""The oracle: what a log of clicks must have led to, computed by the batch code alone.

Decisions and summaries are a pure function of each session's log, so a run through Kafka, workers and Redis, with
whatever failed on the way, must have produced the same documents as one pass over the log with a store in memory.
Times of computing (``decided_at`` and what follows from it) are left out of the comparison. One input comes from
outside the log's order: a visitor's profile, which depends on which of two concurrent sessions ended first.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from decisions.effects import Result
from decisions.engine import ALL, Engine
from decisions.intake import Plan, Records, decode, plan_ticks
from decisions.intake import plan as make_plan
from featurestore.session.fold import FoldConfig
from featurestore.store.keys import DECISION_PREFIX, Namespace, Shard
from featurestore.store.memory import MemoryStore
from featurestore.store.protocols import ShardWrite
from featurestore.store.streams import DECISIONS, SESSIONS, stream_of
from worker.kafka.polled import received

TIMES: Final = ("decided_at", "expires_at")
BATCH: Final = 1_000


class Identity(NamedTuple):
    """What tells two decisions, or two summaries, apart."""

    source: str
    session_id: str
    seq: int


@dataclass(slots=True)
class Expected:
    """What a log leads to.

    Attributes:
        documents: what each output stream must hold, without its times, by the stream's code.
        letters: (partition, offset) of the records that are no events.
        store: states, deadlines and current decisions.
        events: applied, duplicates included.
    """

    store: MemoryStore
    documents: defaultdict[int, dict[Identity, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    letters: set[tuple[int, int]] = field(default_factory=set)
    events: int = 0

    @property
    def decisions(self) -> dict[Identity, dict[str, Any]]:
        """Every decision."""
        return self.documents[DECISIONS]

    @property
    def summaries(self) -> dict[Identity, dict[str, Any]]:
        """One a finished session."""
        return self.documents[SESSIONS]


@dataclass(slots=True)
class Difference:
    """How what was found departs from what was expected; all zero when nothing went wrong.

    Attributes:
        missing: expected and not found.
        extra: found and not expected.
        wrong: found with another content.
        unequal: found several times, and not always the same.
        repeated: found again, the same: allowed, consumers go by identity.
    """

    missing: list[Identity] = field(default_factory=list)
    extra: list[Identity] = field(default_factory=list)
    wrong: list[Identity] = field(default_factory=list)
    unequal: list[Identity] = field(default_factory=list)
    repeated: int = 0

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.wrong or self.unequal)

    def __str__(self) -> str:
        return (
            f"{len(self.missing)} missing, {len(self.extra)} too many, {len(self.wrong)} wrong, "
            f"{len(self.unequal)} unequal repeats ({self.repeated} equal ones)"
        )


def engine_for(
    bundle: Path | None,
    config: FoldConfig | None,
    topic_id: str,
    policy: Path | None = None,
    outcomes: str = ALL,
    prefix: str = DECISION_PREFIX,
) -> Engine:
    """An engine as a worker would have it, without any client.

    Args:
        bundle: None for the newest that ships.
        config: None for the bundle's own.
        topic_id: what decisions name as their source.
        policy: None for the one that ships.
        outcomes: that documents carry, as the setting says.
        prefix: of the deployment's decisions; documents name it if it is not the usual one.

    Raises:
        BundleError, PolicyError, SettingsError: refused.
    """
    from decisions.shipped import load_bundle, load_policy
    from worker.wiring import fold_config

    model = load_bundle(bundle)
    namespace = Namespace("verify", "verify", topic_id, prefix=prefix)
    return Engine.of(
        model,
        load_policy(policy, model.heads.variables),
        namespace,
        config=config or fold_config(model),
        outcomes=outcomes,
    )


def expect(engine: Engine, log: Mapping[int, Records], until_ms: Mapping[int, int] | int | None = None) -> Expected:
    """Run the log through the core, partition by partition, then let time pass up to ``until_ms``.

    Args:
        engine: of the same bundle, policy and topic id as the workers'.
        log: the records of each partition, in order.
        until_ms: epoch ms, one for all or one a partition; None leaves the sessions open.
    """
    expected = Expected(MemoryStore(engine.namespace))
    for partition, records in sorted(log.items()):
        shard = Shard(partition)
        lease = expected.store.acquire([shard], 0, 0)[0]
        applied: int | None = None
        for part in _parts(records):
            decoded = decode([part])
            expected.letters |= {(partition, part.offsets[place]) for place, _ in decoded.bad.get(partition, [])}
            expected.events += decoded.rows.size
            plan = make_plan(decoded, 1, lambda _: -1)
            if plan.sessions:
                _apply(engine, expected, plan, lease.epoch, applied, part.offsets[-1])
                applied = part.offsets[-1]
        until = until_ms.get(partition) if isinstance(until_ms, Mapping) else until_ms
        if until is not None:
            let_time_pass(engine, expected, shard, until)
    return expected


def let_time_pass(engine: Engine, expected: Expected, shard: Shard, until_ms: int) -> None:
    """Let the deadlines of a shard pass up to ``until_ms``: a session's silence, then its end."""
    lease = expected.store.acquire([shard], 0, 0)[0]
    while due := expected.store.due([(shard, until_ms)], 1_000_000)[0]:
        plan = plan_ticks([(shard, due, until_ms)])
        _apply(engine, expected, plan, lease.epoch, lease.applied, lease.applied)


def compare(expected: Mapping[Identity, dict[str, Any]], found: Iterable[bytes]) -> Difference:
    """Hold the documents of a topic against the expected ones."""
    difference = Difference()
    seen: dict[Identity, dict[str, Any]] = {}
    for document in found:
        identity, content = _content(document)
        if identity in seen:
            difference.repeated += 1
            if seen[identity] != content:
                difference.unequal.append(identity)
            continue
        seen[identity] = content
        if identity not in expected:
            difference.extra.append(identity)
        elif expected[identity] != content:
            difference.wrong.append(identity)
    difference.missing = [identity for identity in expected if identity not in seen]
    return difference


def _apply(engine: Engine, expected: Expected, plan: Plan, epoch: str, applied: int | None, upto: int | None) -> None:
    store = expected.store
    result = engine.run(plan, engine.loader(store).load(plan), 0)
    _collect(result, expected)
    for write in result.writes:
        _fenced(write, epoch, applied, upto)
    store.write(result.writes, engine.decision_ttl_ms)


def _fenced(write: ShardWrite, epoch: str, applied: int | None, upto: int | None) -> None:
    write.epoch, write.expected, write.applied = epoch, applied, upto


def _collect(result: Result, expected: Expected) -> None:
    for outputs in result.outputs:
        for stream, _, documents, _ in outputs:
            expected.documents[stream_of(stream).code].update(map(_content, documents))


def _content(document: bytes) -> tuple[Identity, dict[str, Any]]:
    content: dict[str, Any] = msgspec.json.decode(document)
    for name in TIMES:
        content.pop(name, None)
    return Identity(content["source"], content["session_id"], content["seq"]), content


def _parts(records: Records) -> Iterator[Records]:
    for first in range(0, len(records.offsets), BATCH):
        end = first + BATCH
        yield Records(
            records.partition,
            records.values[first:end],
            records.offsets[first:end],
            records.record_ms[first:end],
        )


def records_of(messages: Sequence[Any]) -> dict[int, Records]:
    """Messages as the Kafka client gives them, by partition."""
    parts: dict[int, list[Any]] = {}
    for message in messages:
        parts.setdefault(message.partition(), []).append(message)
    return {partition: received(partition, part) for partition, part in parts.items()}
