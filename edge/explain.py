"""``GET /v1/sessions/{session_id}/explain``: what is kept of a session, and why it was decided so.

The demonstration shop shows it beside its pages. An edge for real shoppers has no such route: those who run it have
`clickstage inspect`.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from decisions.policy import Policy
from decisions.reasons import Explainer
from edge.document import Presenter
from edge.gate import Gate, bearer
from edge.ladder import read
from edge.problems import Problem
from edge.reading import now_ms
from edge.replies import Reply, json_reply
from edge.requests import Request
from featurestore.columns.hashing import hash_text
from featurestore.contract.codes import country_name
from featurestore.contract.event import DEVICES, EVENT_TYPES, SOURCES
from featurestore.contract.ids import IdKey
from featurestore.contract.partitioner import partitions_of
from featurestore.session.codec import unpack
from featurestore.session.features import FEATURES
from featurestore.session.fold import FoldConfig, deadlines, observe
from featurestore.session.stages import STAGES
from featurestore.session.state import LIVE, SILENT
from featurestore.store.cluster.cluster_connection import AWAY
from featurestore.store.keys import Shard
from featurestore.store.protocols import SessionReader, unavailable
from models.bundle.bundle import Bundle


class State(msgspec.Struct):
    """What was counted; money in the shop's currency."""

    events: dict[str, int]
    cart_items: int
    cart_value: float
    purchases: int
    device: str
    source: str
    country: str


class Memory(msgspec.Struct):
    """What the policy remembers; times in epoch milliseconds."""

    shown: str | None
    candidate: str | None
    stage_changes: int
    actions_shown: dict[str, int]
    offer_until: int | None


class Explanation(msgspec.Struct):
    """A session as the worker sees it; without state it has not come, has ended, or was erased.

    ``silent_at`` is when it becomes a Drop-Off Risk without another click, epoch ms; absent when it has become one.
    """

    session_id: str
    now: int
    features: dict[str, float | None] | None = None
    state: State | None = None
    policy: Memory | None = None
    silent_at: int | None = None
    why: list[str] = []
    decision: dict[str, Any] | None = None


class Explaining:
    """Answers for sessions whose token is shown.

    Args:
        buckets: of a partition.
        ids: of the workers.
        presenter: the one of now.
    """

    def __init__(self, gate: Gate, buckets: int, ids: IdKey, presenter: Callable[[], Presenter]) -> None:
        self._gate = gate
        self._buckets = buckets
        self._ids = ids
        self._presenter = presenter
        self._one_at_a_time = asyncio.Lock()
        self._source: _Source | None = None

    def use(self, bundle: Bundle, policy: Policy, reader: Callable[[], SessionReader], partitions: int) -> None:
        """Kafka and Redis are known from now on; ``reader`` connects to the store, in the thread that asks it."""
        self._source = _Source(bundle, policy, reader, partitions)

    async def explain(self, request: Request) -> Reply:
        """See the module."""
        shop = self._gate.shop(request)
        claim = await self._gate.claim(bearer(request))
        self._gate.same(claim, request.path_session)
        self._gate.charge(shop, request, claim.session_id, 1)
        if self._source is None:
            raise Problem(503, "no_decisions", "Kafka or Redis is not ready; ask again", retry_after_s=1)
        async with self._one_at_a_time:
            return json_reply(200, await asyncio.to_thread(self._explained, self._source, claim.session_id))

    def _explained(self, source: "_Source", session_id: str) -> Explanation:
        reader = source.connected()
        name = self._ids.session(session_id)
        [partition] = partitions_of([session_id], source.partitions).tolist()
        [[blob]] = reader.load([(Shard(partition, hash_text(name) % self._buckets), [name])])
        [document] = reader.documents([name])
        explanation = Explanation(session_id, now_ms())
        known = read(document) if document is not None else None
        if known is not None:
            explanation.decision = self._presenter().decision(session_id, known, "fresh", explanation.now)
        states, memories, _ = unpack([blob], [hash_text(name)])
        if states["flags"][0] & LIVE:
            X = observe(states)
            explanation.features = dict(zip(FEATURES, map(_known, X[0].tolist()), strict=True))
            if not states["flags"][0] & SILENT:
                explanation.silent_at = int(deadlines(states, source.config)[0])
            explanation.state = _state(states[0])
            explanation.policy = _memory(memories[0], source.actions)
            if explanation.decision is not None:
                stage = np.array([STAGES.index(explanation.decision["stage"])], np.uint8)
                [explanation.why] = source.explainer.words(X, stage)
        return explanation


class _Source:
    """Where explanations come from; the store is connected to when it is first asked."""

    def __init__(self, bundle: Bundle, policy: Policy, reader: Callable[[], SessionReader], partitions: int) -> None:
        self.actions = policy.action_of
        self.config: FoldConfig = bundle.rules.fold_config()
        self.explainer = Explainer(bundle)
        self.partitions = partitions
        self._connect = reader
        self._reader: SessionReader | None = None

    def connected(self) -> SessionReader:
        """The store.

        Raises:
            StoreUnavailable: it does not answer.
        """
        if self._reader is None:
            try:
                self._reader = self._connect()
            except AWAY as error:
                raise unavailable(error, "explaining a session") from None
        return self._reader


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _state(s: np.void) -> State:
    return State(
        events={EVENT_TYPES[i]: n for i, n in enumerate(s["counts"].tolist()) if n and i < len(EVENT_TYPES)},
        cart_items=int(s["cart_items"]),
        cart_value=round(float(s["cart_value"]), 2),
        purchases=int(s["purchases"]),
        device=DEVICES[s["device"]],
        source=SOURCES[s["source"]],
        country=country_name(int(s["country"])),
    )


def _memory(m: np.void, actions: Mapping[int, str]) -> Memory:
    n = int(m["n_actions"])
    shown: NDArray[Any] = m["action_id"][:n]
    return Memory(
        shown=STAGES[m["shown"] - 1] if m["shown"] else None,
        candidate=STAGES[m["candidate"] - 1] if m["candidate"] else None,
        stage_changes=int(m["flips"]),
        actions_shown=dict(
            zip((actions.get(i, f"retired-{i}") for i in shown.tolist()), m["action_count"][:n].tolist(), strict=True)
        ),
        offer_until=int(m["offer_until"]) or None,
    )
