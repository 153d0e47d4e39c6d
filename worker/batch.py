"""The pure core: records and stored sessions in, one result out. No client, no clock; what the benchmarks measure.

`decode` and `plan` turn records into events and say which sessions to load; `Engine.run` folds, scores and decides.
The loop does the input and output between them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from featurestore.codec import pack, unpack
from featurestore.decisions import DecisionEncoder, Vocabulary
from featurestore.errors import InvalidEvent
from featurestore.events import CLEAR as WITHDRAWN
from featurestore.events import MAX_VALUE_BYTES, TICK, Event, columns, decode_unchecked
from featurestore.events import decode as decode_checked
from featurestore.hashing import hash64
from featurestore.keys import Namespace, Shard, decision_key
from featurestore.outbox import DECISIONS, SESSIONS, Output
from featurestore.session import CLEAR, END, LIVE, SILENCE, FoldConfig, Observations, deadlines, fold, ticks
from featurestore.sessions import ShardWrite
from featurestore.stages import EXPLORER
from featurestore.visitors import ENTRY, PROFILE, session_key
from featurestore.visitors import unpack as unpack_profiles
from worker.policy import Policy
from worker.policy.vocabulary import GUARDS, ROUTES, STAGE_CHANGED, guard_words
from worker.reasons import Explainer
from worker.summaries import Summaries


class Records(NamedTuple):
    """The records of one partition, in log order."""

    partition: int
    values: list[bytes | None]
    offsets: list[int]
    record_ms: list[int]


class Decoded(NamedTuple):
    """The events of one partition.

    Attributes:
        bad: (index in the records, why), in log order.
        last: offset of the last record read, bad ones included.
    """

    partition: int
    events: list[Event]
    offsets: list[int]
    record_ms: list[int]
    bad: list[tuple[int, InvalidEvent]]
    last: int


@dataclass(slots=True)
class Plan:
    """Which sessions a batch touches.

    Attributes:
        sessions: id of each slot; the slots of a shard are contiguous.
        spans: shard, first slot, end slot.
        events: rows of `EVENT`, slots filled in.
        record_ms: time of each event's record, for latency.
    """

    sessions: list[str]
    hashes: NDArray[np.uint64]
    spans: list[tuple[Shard, int, int]]
    events: NDArray[np.void]
    record_ms: NDArray[np.int64]

    def requests(self) -> list[tuple[Shard, Sequence[str]]]:
        """What to load."""
        return [(shard, self.sessions[first:end]) for shard, first, end in self.spans]


@dataclass(slots=True)
class Result:
    """What a batch changed.

    Attributes:
        writes: one a shard; the loop fills in the fence.
        outputs: for each write, what is produced to Kafka once it is applied: decisions in order, then summaries.
        observations: rows, features and context as folded.
        decisions: rows of `DECISION`.
        scored: mask of the rows that the model scored.
        ended: state and memory of the sessions that ended.
    """

    writes: list[ShardWrite]
    outputs: list[list[Output]]
    observations: Observations
    decisions: NDArray[np.void]
    probabilities: NDArray[np.float64]
    scored: NDArray[np.bool_]
    ended: tuple[NDArray[np.void], NDArray[np.void]]


class Scorer(Protocol):
    """What the core needs of a bundle."""

    def score(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of the four stages, shape (n, 4)."""
        ...


def decode(records: Records) -> Decoded:
    """Decode one partition's records; what is no event is set aside with its reason."""
    partition, values, offsets, record_ms = records
    last = offsets[-1]
    try:
        # A tombstone (None) raises here like a bad record does.
        if max(map(len, values)) <= MAX_VALUE_BYTES:  # type: ignore[arg-type]
            events = [decode_unchecked(value) for value in values]  # type: ignore[arg-type]
            return Decoded(partition, events, offsets, record_ms, [], last)
    except Exception:  # noqa: S110 - one bad record: the slow path below says which and why
        pass
    kept: list[int] = []
    bad: list[tuple[int, InvalidEvent]] = []
    events = []
    for i, value in enumerate(values):
        if value is None:  # a tombstone is no poison: compaction's business, not ours
            continue
        try:
            events.append(decode_checked(value))
            kept.append(i)
        except InvalidEvent as error:
            bad.append((i, error))
    return Decoded(partition, events, [offsets[i] for i in kept], [record_ms[i] for i in kept], bad, last)


def plan(parts: Sequence[Decoded], buckets: int, floor: Callable[[Shard], int]) -> Plan:
    """Give every session of the batch a slot; leave out events at or below the shard's applied offset."""
    sessions: list[str] = []
    events: list[Event] = []
    slots: list[int] = []
    offsets: list[int] = []
    times: list[int] = []
    spans: list[tuple[Shard, int, int]] = []
    for part in parts:
        first = len(sessions)
        index: dict[str, int] = {}
        slots += [index.setdefault(event.session_id, first + len(index)) for event in part.events]
        sessions += index
        events += part.events
        offsets += part.offsets
        times += part.record_ms
        if index:
            spans.append((Shard(part.partition), first, len(sessions)))
    hashes = hash64(sessions)
    rows = columns(events, slots, offsets, times)
    record_ms = np.array(times, np.int64)
    if buckets > 1 and sessions:
        sessions, hashes, spans = _by_bucket(sessions, hashes, spans, rows, buckets)
    applied = np.empty(len(sessions), np.int64)
    for shard, first, end in spans:
        applied[first:end] = floor(shard)
    fresh = rows["offset"] > applied[rows["slot"]]
    if not fresh.all():
        rows, record_ms = rows[fresh], record_ms[fresh]
    return Plan(sessions, hashes, spans, rows, record_ms)


def plan_ticks(due: Sequence[tuple[Shard, Sequence[str], int]]) -> Plan:
    """A plan in which only time passes: (shard, sessions whose deadline has passed, epoch ms)."""
    sessions: list[str] = []
    spans = []
    rows = []
    for shard, ids, t in due:
        first = len(sessions)
        sessions += ids
        spans.append((shard, first, len(sessions)))
        rows.append(ticks(list(range(first, len(sessions))), t))
    events = np.concatenate(rows)
    return Plan(sessions, hash64(sessions), spans, events, np.full(events.size, -1, np.int64))


def _by_bucket(
    sessions: list[str],
    hashes: NDArray[np.uint64],
    spans: Sequence[tuple[Shard, int, int]],
    events: NDArray[np.void],
    buckets: int,
) -> tuple[list[str], NDArray[np.uint64], list[tuple[Shard, int, int]]]:
    """The sessions in the order of their buckets within each partition, and a span for each bucket that has some."""
    order = []
    finer = []
    for shard, first, end in spans:
        bucket = (hashes[first:end] % np.uint64(buckets)).astype(np.int64)
        order.append(first + np.argsort(bucket, kind="stable"))
        counts = np.bincount(bucket, minlength=buckets)
        ends = first + np.cumsum(counts)
        finer += [
            (Shard(shard.partition, b), int(ends[b] - counts[b]), int(ends[b])) for b in np.flatnonzero(counts).tolist()
        ]
    taken = np.concatenate(order)
    place = np.empty(taken.size, np.int32)
    place[taken] = np.arange(taken.size, dtype=np.int32)
    events["slot"] = place[events["slot"]]
    return [sessions[i] for i in taken.tolist()], hashes[taken], finer


class Engine:
    """Folds, scores and decides; one bundle, one policy, one topic.

    Args:
        bundle: scores feature rows.
        policy: decides.
        config: constants of the fold.
        namespace: whose keys are written.
        model: the bundle's id, for the documents.
        explainer: words for a stage change.
        decision_ttl_ms: life of a decision.
        log_decisions: whether every decision is wanted, or only the last of each session.
    """

    def __init__(
        self,
        bundle: Scorer,
        policy: Policy,
        config: FoldConfig,
        namespace: Namespace,
        model: str,
        explainer: Explainer,
        *,
        log_decisions: bool = True,
    ) -> None:
        self.bundle = bundle
        self.config = config
        self.namespace = namespace
        self.model = model
        self._explainer = explainer
        self._log_decisions = log_decisions
        self.use_policy(policy)

    def use_policy(self, policy: Policy) -> None:
        """Decide by another policy from the next batch on."""
        self.policy = policy
        words = Vocabulary(
            actions=policy.action_names,
            routes=ROUTES,
            guards=GUARDS,
            arms=policy.arms,
            model=self.model,
            policy=policy.hash,
            source=self.namespace.source,
        )
        self._encoder = DecisionEncoder(words)
        self._summaries = Summaries(words, policy.action_of)

    def warm_up(self) -> None:
        """Compile and touch everything now, so that no event waits for it: a whole batch, thrown away."""
        values: list[bytes | None] = [
            b'{"session_id":"w","type":"add_to_cart","ts":%d,"event_id":"e","visitor_id":"v","page":"p","price":1.5}'
            % t
            for t in (0, 60_000, 4_000_000)
        ]
        decoded = decode(Records(0, values, [0, 1, 2], [-1, -1, -1]))
        for batch in (plan([decoded], 1, lambda _: -1), plan_ticks([(Shard(0), ["w"], 9_000_000)])):
            states, memory = self.open([None] * len(batch.sessions), batch)
            wanted = self.visitors_wanted(batch, states)
            self.run(batch, states, memory, wanted, [None] * wanted.size, 0)
            self.open([*pack(states, memory)], batch)

    @property
    def decision_ttl_ms(self) -> int:
        """A decision lives as long as a session may be silent."""
        return self.config.session_gap_ms

    def visitors_wanted(self, batch: Plan, states: NDArray[np.void]) -> NDArray[np.int64]:
        """Slots whose visitor's profile the fold needs, and which the event names: shape (k,) of event rows."""
        events = batch.events
        named = np.flatnonzero(events["visitor"])
        if named.size == 0:
            return named
        slots = events["slot"][named]
        begins = (states["flags"][slots] & LIVE == 0) | (states["visitor"][slots] == 0)
        restarts = events["t"][named] >= states["t_max"][slots] + self.config.session_gap_ms
        wanting = begins | restarts
        cleared = events["kind"] == WITHDRAWN
        if cleared.any():  # a session that is cleared may begin anew in the same batch
            wanting |= np.isin(slots, events["slot"][cleared])
        wanted = named[wanting]
        _, first = np.unique(events["slot"][wanted], return_index=True)
        chosen: NDArray[np.int64] = wanted[first]
        return chosen

    def open(self, blobs: Sequence[bytes | None], batch: Plan) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """States and memories of the batch's slots."""
        states, memory = unpack(blobs)
        states["session"] = batch.hashes
        return states, memory

    def profile_keys(self, batch: Plan, wanted: NDArray[np.int64]) -> list[str]:
        """The keys to load for `visitors_wanted`."""
        return [self.namespace.visitor(visitor) for visitor in batch.events["visitor"][wanted].tolist()]

    def run(
        self,
        batch: Plan,
        states: NDArray[np.void],
        memory: NDArray[np.void],
        wanted: NDArray[np.int64],
        profile_blobs: Sequence[bytes | None],
        decided_at: int,
    ) -> Result:
        """Fold, score, decide; states and memories are changed in place."""
        profiles = np.zeros(len(batch.sessions), PROFILE)
        if wanted.size:
            profiles[batch.events["slot"][wanted]] = unpack_profiles(profile_blobs)
        seen = fold(states, profiles, batch.events, self.config)
        scored = seen.rows["kind"] <= SILENCE
        probabilities = np.zeros((scored.size, 4))
        if scored.any():
            probabilities[scored] = self.bundle.score(seen.features[scored])
        decisions, ended = self.policy.decide(seen, probabilities, memory)
        result = Result([], [[] for _ in batch.spans], seen, decisions, probabilities, scored, (seen.ended, ended))
        documents = self._documents(batch, result, decided_at)
        self._writes(batch, states, memory, result, documents)
        self._ends(batch, result, decided_at)
        return result

    def _documents(self, batch: Plan, result: Result, decided_at: int) -> dict[int, bytes]:
        """The last document of each slot; fills ``result.outputs``."""
        rows = result.observations.rows
        at = np.flatnonzero(result.scored)
        slots = rows["slot"][at]
        if not self._log_decisions and at.size:
            latest = np.zeros(len(batch.sessions), np.int64) - 1
            latest[slots] = at
            at = latest[latest >= 0]
            at.sort()
            slots = rows["slot"][at]
        names = batch.sessions
        ids = [names[slot] for slot in slots.tolist()]
        decisions = result.decisions[at]
        reasons = self._reasons(result, at, decisions)
        documents = self._encoder.encode(
            ids,
            decisions,
            result.probabilities[at],
            rows["t"][at],
            rows["seq"][at],
            reasons,
            decided_at,
            self.decision_ttl_ms,
        )
        if self._log_decisions:
            outputs = [(DECISIONS, sid, document) for sid, document in zip(ids, documents, strict=True)]
            if len(batch.spans) == 1:
                result.outputs[0] = outputs
            else:
                for where, output in zip(_span_of(batch, slots), outputs, strict=True):
                    result.outputs[where].append(output)
        return dict(zip(slots.tolist(), documents, strict=True))

    def _reasons(self, result: Result, at: NDArray[np.int64], decisions: NDArray[np.void]) -> dict[int, list[str]]:
        # That a session begins as an Explorer needs no reason.
        begins = (decisions["stage"] == EXPLORER) & (result.observations.features[at, 1] <= 1)
        told = np.flatnonzero((decisions["changed"] & STAGE_CHANGED != 0) & ~begins)
        reasons: dict[int, list[str]] = {}
        if told.size:
            features = result.observations.features[at[told]]
            words = self._explainer.words(features, decisions["stage"][told])
            for i, texts, guards in zip(told.tolist(), words, decisions["guards"][told].tolist(), strict=True):
                reasons[i] = [*texts, *guard_words(guards)]
        return reasons

    def _writes(
        self,
        batch: Plan,
        states: NDArray[np.void],
        memory: NDArray[np.void],
        result: Result,
        documents: dict[int, bytes],
    ) -> None:
        rows = result.observations.rows
        n = len(batch.sessions)
        touched = np.zeros(n, np.bool_)
        touched[rows["slot"]] = True
        touched[batch.events["slot"][batch.events["kind"] == TICK]] = True
        live = states["flags"] & LIVE != 0
        # A slot's last document counts only if its session was not closed after it.
        closed = np.full(n, -1, np.int64)
        closing = np.flatnonzero((rows["kind"] == END) | (rows["kind"] == CLEAR))
        closed[rows["slot"][closing]] = closing
        latest = np.full(n, -1, np.int64)
        at = np.flatnonzero(result.scored)
        latest[rows["slot"][at]] = at
        put = np.flatnonzero(touched & live)
        gone = np.flatnonzero(touched & ~live)
        shown = np.flatnonzero((latest > closed) & live)
        dropped = np.flatnonzero((closed >= 0) & ~((latest > closed) & live))
        armed = self._arm(states, put, batch)
        blobs = pack(states, memory, put)
        names = batch.sessions
        for shard, first, end in batch.spans:
            a, b = np.searchsorted(put, (first, end)).tolist()
            mine = [names[slot] for slot in put[a:b].tolist()]
            seen = _within(shown, first, end)
            write = ShardWrite(shard, "", None, None)
            write.sessions, write.blobs = mine, blobs[a:b]
            again = _within(armed, first, end)
            write.armed = [names[slot] for slot in again]
            write.deadlines = states["armed"][again].tolist()
            write.decision_keys = [decision_key(names[slot]) for slot in seen]
            write.decisions = [documents[slot] for slot in seen]
            write.removed = [names[slot] for slot in _within(gone, first, end)]
            write.dropped_decisions = [decision_key(names[slot]) for slot in _within(dropped, first, end)]
            result.writes.append(write)

    def _arm(self, states: NDArray[np.void], put: NDArray[np.int64], batch: Plan) -> NDArray[np.int64]:
        """The slots whose entry in the idle index must move.

        An entry may stand before the deadline, which moves with every click: when it falls due, the session is looked
        at, found busy, and armed anew. So an entry is written once a silence, not once an event.
        """
        due = deadlines(states, self.config)[put]
        stands = states["armed"][put]
        fallen = np.zeros(states.size, np.bool_)
        fallen[batch.events["slot"][batch.events["kind"] == TICK]] = True
        again: NDArray[np.int64] = put[(stands == 0) | (stands > due) | fallen[put]]
        states["armed"][again] = due[np.searchsorted(put, again)]
        return again

    def _ends(self, batch: Plan, result: Result, decided_at: int) -> None:
        states, memories = result.ended
        if states.size == 0:
            return
        rows = result.observations.rows
        at = np.flatnonzero(rows["kind"] == END)
        slots = rows["slot"][at]
        names = [batch.sessions[slot] for slot in slots.tolist()]
        spans = _span_of(batch, slots)
        features, arms = result.observations.features[at], result.decisions["arms"][at]
        documents = self._summaries.encode(names, states, memories, features, rows["seq"][at], arms, decided_at)
        for where, name, document in zip(spans, names, documents, strict=True):
            result.outputs[where].append((SESSIONS, name, document))
        known = np.flatnonzero(states["visitor"])
        entries = np.zeros(known.size, ENTRY)
        s = states[known]
        entries["key"] = [session_key(a, b) for a, b in zip(s["session"].tolist(), s["t_min"].tolist(), strict=True)]
        entries["ended"] = s["t_max"]
        entries["shown"] = memories[known]["persuasive"]
        entries["bounced"] = s["pages"] <= 1
        for k, i, visitor in zip(range(known.size), known.tolist(), s["visitor"].tolist(), strict=True):
            result.writes[spans[i]].profiles.append((self.namespace.visitor(visitor), entries[k].tobytes()))


def _span_of(batch: Plan, slots: NDArray[np.int64]) -> list[int]:
    """Index of the span that holds each slot."""
    firsts = np.array([first for _, first, _ in batch.spans])
    spans: list[int] = (np.searchsorted(firsts, slots, side="right") - 1).tolist()
    return spans


def _within(slots: NDArray[np.int64], first: int, end: int) -> list[int]:
    """The slots of one span, out of a sorted array."""
    a, b = np.searchsorted(slots, (first, end)).tolist()
    part: list[int] = slots[a:b].tolist()
    return part
