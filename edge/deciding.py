"""Inline decisions as requests see them: ``?decide=1`` on ``POST /v1/events``, and ``POST /v1/decide``.

Both answer with ``provisional: true``: the stream's own decision follows, and is the same if this process has seen the
session's events in order. `Decider` does the work; this module asks it and dresses the answer.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from edge.batcher import Batcher, Busy
from edge.decide import UNKNOWN_OFFSET, Answer, Decider, Question, question
from edge.document import Presenter
from edge.ladder import Known, read
from edge.pending import Pending
from edge.problems import Problem
from edge.publisher import Record
from edge.push import Hub
from edge.store import Asked, Stored
from featurestore.errors import StoreUnavailable
from featurestore.session.observation import SEQ_STEP

MOST_QUESTIONS = 256
MOST_WAITING = 4_096
PAUSES = 3.0
"""A batch costs as much as twenty questions in it. With pauses three times as long, the thread takes a quarter of a
processor, whatever the processor is."""
LOOK_AGAIN_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Pauses between looks for a decision that a Cluster writes a moment after its session's state."""


class Deciding:
    """Asks for decisions.

    Args:
        reads: what is stored.
        pending: what was sent from here.
        hub: compares inline decisions with the stream's.
        decisions_follow: see `EdgeStore.decisions_follow`.

    Attributes:
        presenter: by the policy in use; replaced when that changes.
    """

    def __init__(
        self,
        reads: "Batcher[Asked, Stored]",
        pending: Pending,
        hub: Hub,
        presenter: Presenter,
        decisions_follow: Callable[[], bool],
    ) -> None:
        self._decisions_follow = decisions_follow
        self._reads = reads
        self._pending = pending
        self._hub = hub
        self._questions: Batcher[Question, Answer] | None = None
        self.presenter = presenter

    def use(self, decider: Decider) -> None:
        """Decisions are made by this one from now on."""
        if self._questions is not None:
            self._questions.end()
        self._questions = Batcher("edge-decide", decider.decide, MOST_QUESTIONS, MOST_WAITING, PAUSES)

    @property
    def ready(self) -> bool:
        """Whether decisions can be made."""
        return self._questions is not None

    def close(self) -> None:
        """End the thread."""
        if self._questions is not None:
            self._questions.close()

    async def sent(self, session_id: str, delivery: Awaitable[None]) -> dict[str, Any] | None:
        """The decision after all events of a session that were sent from here, the latest of them just now.

        None where nothing can be decided now: the events are kept all the same.

        Args:
            session_id: whose.
            delivery: ends when Kafka or the spool has the latest; the place in the stream's order is known then.
        """
        sent = self._pending.of(session_id)
        deciding = asyncio.ensure_future(self._decided(session_id, sent, []))
        try:
            await delivery
        except BaseException:
            deciding.cancel()
            raise
        try:
            decision = await deciding
        except (Problem, StoreUnavailable):
            return None
        return self._placed(session_id, decision, sent)

    async def after(self, session_id: str, values: list[bytes]) -> dict[str, Any]:
        """The decision after those and some more that are not sent; it has no place in the stream's order."""
        return _unplaced(await self._decided(session_id, self._pending.of(session_id), values))

    def _placed(self, session_id: str, decision: dict[str, Any], sent: list[Record]) -> dict[str, Any]:
        """The decision with its place in the stream's order, which Kafka told with the event that it rests on."""
        if "seq" not in decision or not decision["provisional"]:
            return decision
        offset, silences = divmod(decision["seq"], SEQ_STEP)
        if offset >= UNKNOWN_OFFSET:
            offset = sent[offset - UNKNOWN_OFFSET].offset
            if offset < 0:
                return _unplaced(decision)  # in the spool
        seq = offset * SEQ_STEP + silences
        self._hub.expect(session_id, seq, decision["stage"], decision["action"])
        return {**decision, "seq": seq}

    async def _decided(self, session_id: str, sent: list[Record], values: list[bytes]) -> dict[str, Any]:
        if self._questions is None:
            raise Problem(503, "no_decisions", "this edge cannot decide yet: Kafka is away", retry_after_s=5)
        now_ms = time.time_ns() // 1_000_000
        asked = question(session_id, sent, values, now_ms)
        try:
            answer = await self._questions.ask(asked)
            self._pending.applied(session_id, answer.applied)
            if answer.document is None and answer.live:
                return await self._stored(session_id, answer.applied)
        except Busy:
            raise Problem(503, "overloaded", "too many decisions are asked for; ask again", retry_after_s=1) from None
        known = read(answer.document) if answer.document is not None else None
        if known is None:
            return self.presenter.neutral_document(session_id, provisional=True)
        return self.presenter.decision(session_id, known, "inline", now_ms, provisional=True)

    async def _stored(self, session_id: str, applied: int) -> dict[str, Any]:
        """Nothing that the events say is new: what is stored stands. ``applied``: the state's last offset."""
        known = await self._known(session_id)
        for pause_s in LOOK_AGAIN_S if self._decisions_follow() else ():
            if known is not None and known.order.seq >= applied * SEQ_STEP:
                break
            await asyncio.sleep(pause_s)
            known = await self._known(session_id)
        if known is None:
            return self.presenter.neutral_document(session_id, provisional=False)
        return self.presenter.decision(session_id, known, "fresh", time.time_ns() // 1_000_000, provisional=False)

    async def _known(self, session_id: str) -> Known | None:
        stored = await self._reads.ask(Asked(session_id))
        return read(stored.document) if stored.document is not None else None


def _unplaced(decision: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in decision.items() if name not in {"seq", "source"}}
