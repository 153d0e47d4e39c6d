"""What a judgement means for the store and the topics: one write a shard, and what is produced once it is applied."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from decisions.core import Judge, Judgement
from decisions.encoder import Vocabulary
from decisions.intake import Plan
from decisions.outcome import Outcome, outcome
from decisions.overlay import Overlay
from decisions.summaries import Summaries
from decisions.writer import DocumentWriter
from featurestore.columns.column import Blobs, Texts
from featurestore.session.codec import pack
from featurestore.session.layout import MEMORY, STATE
from featurestore.session.observation import END
from featurestore.session.state import IS_BOT
from featurestore.session.visitors import ENTRY, session_key, visit_byte
from featurestore.store.expiry_buckets import EXPIRY_BUCKET_MS
from featurestore.store.keys import Namespace, Shard
from featurestore.store.outbox import Output
from featurestore.store.protocols import ShardWrite
from featurestore.store.streams import DECISIONS, SESSIONS
from featurestore.versions import VERSION_BEFORE

NOBODY: Final = Texts.of([])
NO_STATES: Final = np.zeros(0, STATE)
NO_MEMORIES: Final = np.zeros(0, MEMORY)


class Producer(Protocol):
    """Makes the documents of an output stream beside decisions and summaries."""

    def __call__(
        self, plan: Plan, judgement: Judgement, words: Vocabulary
    ) -> tuple[NDArray[np.int64], Sequence[bytes]]:
        """Sessions of the plan, one a document, and the documents. The same arguments give the same documents.

        A document names ``source``, ``session_id`` and ``seq``, which tell it from every other one: it may be produced
        again after a crash.
        """
        ...


PRODUCERS: Final[dict[int, Producer]] = {}
"""Who makes the documents of a stream, by the stream's code (`featurestore.store.streams`)."""


@dataclass(slots=True)
class Result:
    """What a batch changed.

    Attributes:
        judgement: what was decided, for the observer; without states and memories.
        writes: one a shard; the loop fills in the fence.
        outputs: for each write, what is produced to Kafka once it is applied: decisions in order, then summaries.
        overlay: the same as the writes, for batches that were loaded before they are carried out.
    """

    judgement: Judgement
    writes: list[ShardWrite]
    outputs: list[list[Output]]
    overlay: Overlay


class Effects:
    """Turns judgements into writes and outputs.

    Args:
        judge: whose judgements these are.
        writer: of the decisions' documents.
        namespace: whose keys are written.
        log_decisions: whether every decision is wanted in the topic, or none.
    """

    def __init__(self, judge: Judge, writer: DocumentWriter, namespace: Namespace, *, log_decisions: bool) -> None:
        self._judge = judge
        self._writer = writer
        self._namespace = namespace
        self._log_decisions = log_decisions
        self.use_policy()

    def use_policy(self) -> None:
        """Take the words of the judge's policy, after the writer has."""
        self._summaries = Summaries(self._writer.words, self._judge.policy.action_of)

    def of(self, plan: Plan, judgement: Judgement) -> Result:
        """The effects of a judgement of the plan's events."""
        states, rows = judgement.states, judgement.observations.rows
        after = outcome(plan.events, rows, judgement.scored, states, self._judge.config)
        blobs = pack(states, judgement.memories, after.put, self._namespace.write_version)
        writes = _writes(plan, states, blobs, after)
        overlay = Overlay(plan, after.put, blobs, after.gone, writes)
        # Megabytes that a batch whose write is under way does not need.
        kept = judgement._replace(states=NO_STATES, memories=NO_MEMORIES)
        result = Result(kept, writes, [[] for _ in writes], overlay)
        self.documents(plan, result, after)
        self._ends(plan, result)
        for code, produce in PRODUCERS.items():
            indices, values = produce(plan, judgement, self._writer.words)
            for where, part in _by_span(plan, indices):
                names = plan.sessions.take(indices[part])
                result.outputs[where].append(Output(code, names, [values[i] for i in part.tolist()]))
        return result

    def documents(self, plan: Plan, result: Result, after: Outcome) -> None:
        """Write the decisions: to the store the last one of each session, to the log all of them."""
        judgement = result.judgement
        told = np.flatnonzero(judgement.scored) if self._log_decisions else np.sort(after.row)
        packed = self._writer.pack(plan, judgement, told)
        documents = packed.documents()
        shown = documents.take(told.searchsorted(after.row))
        for write, last in zip(result.writes, _parts(after.shown, plan.spans), strict=True):
            write.decided, write.decisions = plan.sessions.take(after.shown[last]), shown.take(last)
        if self._log_decisions:
            logged = packed.logged(documents)
            for where, part in _by_span(plan, judgement.observations.rows["session_index"][told]):
                some = packed.take(part)
                result.outputs[where].append(Output(DECISIONS, some.names, logged.take(part), some))

    def _ends(self, plan: Plan, result: Result) -> None:
        """Write the summaries of the sessions that ended, and count them in their visitors' profiles."""
        judgement = result.judgement
        states, memories = judgement.ended
        if states.size == 0:
            return
        seen = judgement.observations
        at = np.flatnonzero(seen.rows["kind"] == END)
        indices = seen.rows["session_index"][at]
        names = plan.sessions.take(indices)
        features, arms = seen.features[at], judgement.decisions["arms"][at]
        seqs, outputs = seen.rows["seq"][at], self._writer.outputs_of(seen, at)
        segments = self._judge.segments_of(seen, at)
        documents = self._summaries.encode(
            names, states, memories, features, seqs, arms, judgement.at, outputs, segments
        )  # fmt: skip
        known = states["visitor"] != 0
        entries = np.zeros(states.size, ENTRY)
        pairs = zip(states["session"].tolist(), states["t_min"].tolist(), strict=True)
        entries["key"] = [session_key(session, begun) for session, begun in pairs]
        entries["ended"] = states["t_max"]
        entries["shown"] = memories["persuasive"]
        bounced = (states["pages"] == 1) & (states["num_clicks"] <= 1) & (states["purchases"] == 0)
        entries["visit"] = visit_byte(bounced, self._kinds(states, self._judge.kinds_of(seen, at)))
        for where, part in _by_span(plan, indices):
            output = Output(SESSIONS, names.take(part), [documents[i] for i in part.tolist()])
            result.outputs[where].append(output)
        ordered = judgement.in_order(plan.events)
        for where, part in _by_span(plan, indices[ordered]):
            result.writes[where].profiles += [
                (self._namespace.visitor(int(states["visitor"][i])), entries[i].tobytes())
                for i in ordered[part].tolist()
                if known[i]
            ]

    def _kinds(self, states: NDArray[np.void], kinds: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What profiles remember of sessions that were of some ``kinds``: nothing of bots, nor in version 1."""
        forgotten = self._namespace.write_version == VERSION_BEFORE
        return np.where((states["flags"] & IS_BOT != 0) | forgotten, np.uint8(0), kinds)


def _writes(plan: Plan, states: NDArray[np.void], blobs: Blobs, after: Outcome) -> list[ShardWrite]:
    """What the store is told, one write a span; without the decisions."""
    deadlines = states["armed"][after.armed]
    buckets = states["armed"][after.ending] // EXPIRY_BUCKET_MS
    sorts = (after.put, after.armed, after.ending, after.gone, after.dropped)
    writes = []
    for (shard, *_), passed, begun, *parts in zip(
        plan.spans, plan.passed, plan.begun, *(_parts(sort, plan.spans) for sort in sorts), strict=True
    ):
        write = ShardWrite(shard, "", None, None)
        put, armed, ending, gone, dropped = parts
        write.sessions, write.blobs = _named(plan, after.put[put]), blobs.take(put)
        write.armed, write.deadlines = _named(plan, after.armed[armed]), deadlines[armed].tolist()
        write.ending = write.disarmed = _named(plan, after.ending[ending])
        write.expiry_buckets, write.passed, write.begun = buckets[ending].tolist(), passed, begun
        write.removed = _named(plan, after.gone[gone])
        write.undecided = _named(plan, after.dropped[dropped])
        writes.append(write)
    return writes


def _named(plan: Plan, indices: NDArray[np.int64]) -> Texts:
    """The sessions of some indices, of which there are often none."""
    return plan.sessions.take(indices) if indices.size else NOBODY


def _by_span(plan: Plan, indices: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    """For each span that has some of ``indices``: its index, and their places, ascending."""
    firsts = np.array([first for _, first, _ in plan.spans])
    span = firsts.searchsorted(indices, side="right") - 1
    order = span.argsort(kind="stable")
    edges = span[order].searchsorted(np.arange(len(plan.spans) + 1)).tolist()
    return [(where, order[a:b]) for where, (a, b) in enumerate(pairwise(edges)) if a < b]


def _parts(indices: NDArray[np.int64], spans: Sequence[tuple[Shard, int, int]]) -> list[slice]:
    """Where the indices of each span stand in a sorted array; the spans follow one another."""
    edges = indices.searchsorted([first for _, first, _ in spans]).tolist()
    return list(map(slice, edges, [*edges[1:], indices.size]))
