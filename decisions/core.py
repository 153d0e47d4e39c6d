"""The pure core: records and stored sessions in, one result out. No client, no clock; what the benchmarks measure.

`intake` turns records into events and says which sessions to load; `Engine.run` folds, scores and decides.
The loop does the input and output between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from decisions.document import DecisionEncoder, Vocabulary
from decisions.intake import Plan, Records, decode, plan, plan_ticks
from decisions.outcome import Outcome, outcome, visitors_wanted
from decisions.overlay import Overlay, apply_overlays
from decisions.policy import Policy
from decisions.policy.vocabulary import GUARDS, ROUTES, STAGE_CHANGED, guard_words
from decisions.reasons import Explainer
from decisions.summaries import Summaries
from featurestore.columns.column import Blobs, Texts
from featurestore.session.codec import pack, unpack
from featurestore.session.fold import END, SILENCE, FoldConfig, Observations, fold
from featurestore.session.stages import EXPLORER
from featurestore.session.visitors import ENTRY, PROFILE, session_key
from featurestore.session.visitors import unpack as unpack_profiles
from featurestore.store.expiry_buckets import EXPIRY_BUCKET_MS
from featurestore.store.keys import Namespace, Shard
from featurestore.store.outbox import DECISIONS, SESSIONS, Output, encode
from featurestore.store.protocols import Due, ShardWrite

NOBODY: Final = Texts.of([])


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
        overlay: the same as the writes, for batches that were loaded before they are carried out.
    """

    writes: list[ShardWrite]
    outputs: list[list[Output]]
    observations: Observations
    decisions: NDArray[np.void]
    probabilities: NDArray[np.float64]
    scored: NDArray[np.bool_]
    ended: tuple[NDArray[np.void], NDArray[np.void]]
    overlay: Overlay


class Scorer(Protocol):
    """What the core needs of a bundle."""

    def score(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of the four stages, shape (n, 4)."""
        ...


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
        decoded = decode([Records(0, values, [0, 1, 2], [-1, -1, -1])])
        for batch in (plan(decoded, 1, lambda _: -1), plan_ticks([(Shard(0), Due(["w"], []), 9_000_000)])):
            states, memory = self.open([None] * len(batch.sessions), batch)
            wanted = self.visitors_wanted(batch, states)
            result = self.run(batch, states, memory, wanted, [None] * wanted.size, 0)
            # What the loop does with it.
            batch.newest()
            self.open(apply_overlays(batch, pack(states, memory), [result.overlay]), batch)
            encode(0, [output for outputs in result.outputs for output in outputs])

    @property
    def decision_ttl_ms(self) -> int:
        """A decision lives as long as a session may be silent."""
        return self.config.session_gap_ms

    def visitors_wanted(self, batch: Plan, states: NDArray[np.void]) -> NDArray[np.int64]:
        """Event rows that name a visitor whose profile the fold needs, at most one a session: shape (k,)."""
        return visitors_wanted(batch.events, states, self.config.session_gap_ms)

    def open(self, blobs: Sequence[bytes | None], batch: Plan) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """States and memories of the batch's sessions."""
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
            profiles[batch.events["session_index"][wanted]] = unpack_profiles(profile_blobs)
        seen = fold(states, profiles, batch.events, self.config)
        scored = seen.rows["kind"] <= SILENCE
        probabilities = np.zeros((scored.size, 4))
        if scored.any():
            probabilities[scored] = self.bundle.score(seen.features[scored])
        decisions, ended = self.policy.decide(seen, probabilities, memory)
        after = outcome(batch.events, seen.rows, scored, states, self.config)
        blobs = pack(states, memory, after.put)
        writes = _writes(batch, states, blobs, after)
        result = Result(
            writes,
            [[] for _ in writes],
            seen,
            decisions,
            probabilities,
            scored,
            (seen.ended, ended),
            Overlay(batch, after.put, blobs, after.gone, writes),
        )
        self._documents(batch, result, after, decided_at)
        self._ends(batch, result, decided_at)
        return result

    def _documents(self, batch: Plan, result: Result, after: Outcome, decided_at: int) -> None:
        """Write the decisions: to the store the last one of each session, to the log all of them."""
        told = np.flatnonzero(result.scored) if self._log_decisions else np.sort(after.row)
        rows = result.observations.rows
        indices = rows["session_index"][told]  # of the rows three fields only: a whole row is long
        decisions = result.decisions[told]
        names = batch.sessions.take(indices)
        packed = self._encoder.pack(
            names,
            decisions,
            result.probabilities[told],
            rows["t"][told],
            rows["seq"][told],
            self._reasons(result, told, decisions),
            decided_at,
            self.decision_ttl_ms,
        )
        documents = packed.documents()
        shown = documents.take(told.searchsorted(after.row))
        for write, last in zip(result.writes, _parts(after.shown, batch.spans), strict=True):
            write.decided, write.decisions = batch.sessions.take(after.shown[last]), shown.take(last)
        if self._log_decisions:
            logged = packed.logged(documents)
            for where, part in _by_span(batch, indices):
                some = packed.take(part)
                result.outputs[where].append(Output(DECISIONS, some.names, logged.take(part), some))

    def _reasons(self, result: Result, at: NDArray[np.int64], decisions: NDArray[np.void]) -> dict[int, list[str]]:
        # That a session begins as an Explorer needs no reason.
        begins = (decisions["stage"] == EXPLORER) & (result.observations.features[at, 1] <= 1)
        told = np.flatnonzero((decisions["changed"] & STAGE_CHANGED != 0) & ~begins)
        reasons: dict[int, list[str]] = {}
        if told.size:
            features = result.observations.features[at[told]]
            words = self._explainer.words(features, decisions["stage"][told])
            silent = result.observations.rows["kind"][at[told]] == SILENCE
            guards = decisions["guards"][told]
            for i, texts, quiet, bits in zip(told.tolist(), words, silent.tolist(), guards.tolist(), strict=True):
                # Most live sessions are silent, and keep this decision for half an hour: the strongest reason will do.
                reasons[i] = [*texts[: 1 if quiet else None], *guard_words(bits)]
        return reasons

    def _ends(self, batch: Plan, result: Result, decided_at: int) -> None:
        states, memories = result.ended
        if states.size == 0:
            return
        rows = result.observations.rows
        at = np.flatnonzero(rows["kind"] == END)
        indices = rows["session_index"][at]
        names = batch.sessions.take(indices)
        features, arms = result.observations.features[at], result.decisions["arms"][at]
        documents = self._summaries.encode(names, states, memories, features, rows["seq"][at], arms, decided_at)
        known = states["visitor"] != 0
        entries = np.zeros(states.size, ENTRY)
        pairs = zip(states["session"].tolist(), states["t_min"].tolist(), strict=True)
        entries["key"] = [session_key(session, begun) for session, begun in pairs]
        entries["ended"] = states["t_max"]
        entries["shown"] = memories["persuasive"]
        entries["bounced"] = states["pages"] <= 1
        for where, part in _by_span(batch, indices):
            output = Output(SESSIONS, names.take(part), [documents[i] for i in part.tolist()])
            result.outputs[where].append(output)
            result.writes[where].profiles += [
                (self.namespace.visitor(int(states["visitor"][i])), entries[i].tobytes())
                for i in part[known[part]].tolist()
            ]


def _writes(batch: Plan, states: NDArray[np.void], blobs: Blobs, after: Outcome) -> list[ShardWrite]:
    """What the store is told, one write a span; without the decisions."""
    deadlines = states["armed"][after.armed]
    buckets = states["armed"][after.ending] // EXPIRY_BUCKET_MS
    sorts = (after.put, after.armed, after.ending, after.gone, after.dropped)
    writes = []
    for (shard, *_), passed, *parts in zip(
        batch.spans, batch.passed, *(_parts(sort, batch.spans) for sort in sorts), strict=True
    ):
        write = ShardWrite(shard, "", None, None)
        put, armed, ending, gone, dropped = parts
        write.sessions, write.blobs = _named(batch, after.put[put]), blobs.take(put)
        write.armed, write.deadlines = _named(batch, after.armed[armed]), deadlines[armed].tolist()
        write.ending = write.disarmed = _named(batch, after.ending[ending])
        write.expiry_buckets, write.passed = buckets[ending].tolist(), passed
        write.removed = _named(batch, after.gone[gone])
        write.undecided = _named(batch, after.dropped[dropped])
        writes.append(write)
    return writes


def _named(batch: Plan, indices: NDArray[np.int64]) -> Texts:
    """The sessions of some indices, of which there are often none."""
    return batch.sessions.take(indices) if indices.size else NOBODY


def _by_span(batch: Plan, indices: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    """For each span that has some of ``slots``: its index, and their places, ascending."""
    firsts = np.array([first for _, first, _ in batch.spans])
    span = firsts.searchsorted(indices, side="right") - 1
    order = span.argsort(kind="stable")
    edges = span[order].searchsorted(np.arange(len(batch.spans) + 1)).tolist()
    return [(where, order[a:b]) for where, (a, b) in enumerate(pairwise(edges)) if a < b]


def _parts(indices: NDArray[np.int64], spans: Sequence[tuple[Shard, int, int]]) -> list[slice]:
    """Where the indices of each span stand in a sorted array; the spans follow one another."""
    edges = indices.searchsorted([first for _, first, _ in spans]).tolist()
    return list(map(slice, edges, [*edges[1:], indices.size]))
