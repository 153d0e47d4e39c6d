"""``GET /v1/decisions/{session_id}``: the reader's ladder, climbed for the caller."""

import time
from typing import Any

from edge.batcher import Batcher, Busy
from edge.document import Presenter
from edge.gate import Gate, bearer
from edge.ladder import Known, Ladder, Rung
from edge.metrics import EdgeMetrics
from edge.pending import Pending
from edge.problems import Problem
from edge.replies import Reply, json_reply
from edge.requests import Request
from edge.store import Asked, Stored
from featurestore.errors import StoreUnavailable

CACHE = ("Cache-Control", "private, no-cache")


class Reading:
    """Answers with the newest decision that may be shown.

    Attributes:
        presenter: by the policy in use; replaced when that changes.
    """

    def __init__(
        self,
        gate: Gate,
        reads: "Batcher[Asked, Stored]",
        pending: Pending,
        presenter: Presenter,
        metrics: EdgeMetrics,
    ) -> None:
        self._gate = gate
        self._reads = reads
        self._pending = pending
        self._away = metrics.store_away
        self._ladder = Ladder()
        self.presenter = presenter

    async def decision(self, request: Request) -> Reply:
        """See the module."""
        shop = self._gate.shop(request)
        claim = self._gate.genuine(bearer(request))
        self._gate.same(claim, request.path_session)
        self._gate.charge(shop, request, claim.session_id, 1)
        rung, known = await self._climb(claim.session_id)
        presenter = self.presenter
        if known is None:
            neutral = presenter.neutral_document(claim.session_id, **self.behind(claim.session_id))
            return json_reply(200, neutral, (CACHE,))
        tag = presenter.etag(known)
        headers = (CACHE, ("ETag", tag))
        if _matches(request.header(b"if-none-match"), tag):
            return Reply(304, b"", headers)
        document = presenter.decision(claim.session_id, known, rung, now_ms(), **self.behind(claim.session_id))
        return json_reply(200, document, headers)

    def behind(self, session_id: str) -> dict[str, Any]:
        """``behind_ms`` where events of this session wait for the worker."""
        waiting = self._pending.of(session_id)
        return {"behind_ms": max(now_ms() - waiting[0].at_ms, 0)} if waiting else {}

    async def _climb(self, session_id: str) -> tuple[Rung, Known | None]:
        try:
            stored = await self._reads.ask(Asked(session_id, self._pending.partition(session_id)))
        except (StoreUnavailable, Busy):
            self._away.inc()
            return self._ladder.climb(session_id, None, now_ms(), answered=False)
        if stored.withdrawn:
            self._gate.withdrawn(session_id)
        if stored.withdrawn or self._gate.is_known_withdrawn(session_id):
            raise Problem(410, "withdrawn", "consent for this session was withdrawn")
        self._pending.applied(session_id, stored.applied)
        return self._ladder.climb(session_id, stored.document, now_ms(), answered=True)


def now_ms() -> int:
    """The wall clock, epoch milliseconds."""
    return time.time_ns() // 1_000_000


def _matches(asked: str, tag: str) -> bool:
    """Whether If-None-Match names the tag; weakly, as RFC 9110 (13.1.2) has it."""
    named = [part.strip().removeprefix("W/") for part in asked.split(",")]
    return asked.strip() == "*" or tag.removeprefix("W/") in named
