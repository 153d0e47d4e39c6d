"""``/v1/sessions``: a session id with its token, and the end of both."""

import time
from typing import Any

import msgspec

from edge.batcher import Batcher
from edge.collector import json_body, kept
from edge.gate import Gate, bearer
from edge.inbox import new_event_id
from edge.problems import Problem
from edge.publisher import Publisher, Record
from edge.push import Hub
from edge.replies import NO_STORE, Reply, json_reply
from edge.requests import Request
from edge.settings import EdgeSettings
from edge.tokens import new_session_id
from featurestore.errors import StoreUnavailable

SMALL_BODY = 4_096


class Renewal(msgspec.Struct):
    """The body of ``POST /v1/sessions``: empty for a new session, a token for a new token of the same one."""

    token: str = ""


class Session(msgspec.Struct):
    """A session and the token that proves it; times in epoch milliseconds."""

    session_id: str
    token: str
    expires_at: int
    now: int


class Sessions:
    """Begins and ends sessions."""

    def __init__(
        self,
        settings: EdgeSettings,
        gate: Gate,
        publisher: Publisher,
        withdrawals: "Batcher[tuple[str, int], None]",
        hub: Hub,
    ) -> None:
        self._settings = settings
        self._gate = gate
        self._publisher = publisher
        self._withdrawals = withdrawals
        self._hub = hub

    async def begin(self, request: Request) -> Reply:
        """``POST``: a new session, or a new token for the one whose token the body holds."""
        shop = self._gate.shop(request)
        json_body(request)
        body = await request.body(SMALL_BODY, self._settings.edge_body_s)
        self._gate.charge(shop, request, "", 1)
        try:
            renewal = msgspec.json.decode(body, type=Renewal) if body.strip() else Renewal()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Problem(400, "bad_body", 'the body is empty or {"token": "..."}') from None
        now = time.time_ns() // 1_000_000
        session_id = (await self._gate.claim(renewal.token)).session_id if renewal.token else new_session_id()
        token, expires_at = self._gate.issue(session_id, now)
        return json_reply(201, Session(session_id, token, expires_at, now))

    async def end(self, request: Request) -> Reply:
        """``DELETE``: consent is withdrawn. Forget the session, close its streams, refuse its token; repeatable."""
        shop = self._gate.shop(request)
        claim = self._gate.genuine(bearer(request))
        self._gate.same(claim, request.path_session)
        self._gate.charge(shop, request, claim.session_id, 1)
        await self._forget(claim.session_id)
        self._gate.withdrawn(claim.session_id)
        self._hub.withdrawn(claim.session_id)
        try:
            await self._withdrawals.ask((claim.session_id, self._settings.edge_token_s + 60))
        except StoreUnavailable:
            # The event is in the log, so the session will be forgotten; only other edges may serve its token a while.
            raise Problem(503, "unavailable", "Redis does not answer; ask again", retry_after_s=1) from None
        return Reply(204, b"", (NO_STORE,))

    async def _forget(self, session_id: str) -> None:
        now = time.time_ns() // 1_000_000
        event: dict[str, Any] = {
            "session_id": session_id,
            "type": "click",
            "ts": now,
            "event_id": new_event_id(),
            "consent": False,
        }
        await kept(
            self._publisher, [Record(self._settings.topic, session_id.encode(), msgspec.json.encode(event), now)]
        )
