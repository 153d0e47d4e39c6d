"""A response, and the ASGI endpoint around a handler: CORS, problem documents, figures."""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from edge.batcher import Busy
from edge.gate import PREFLIGHT, Gate
from edge.metrics import EdgeMetrics, Tally
from edge.problems import MEDIA_TYPE, Problem, unavailable
from edge.requests import Network, Receive, Request, Scope, Send
from featurestore.errors import StoreUnavailable

log = logging.getLogger(__name__)

JSON: Final = "application/json"
NO_STORE: Final = ("Cache-Control", "no-store")
NO_SNIFF: Final = (b"x-content-type-options", b"nosniff")
_encode: Final = msgspec.json.Encoder().encode


class Reply:
    """What is sent back."""

    __slots__ = ("body", "headers", "media_type", "status")

    def __init__(
        self, status: int, body: bytes = b"", headers: Sequence[tuple[str, str]] = (NO_STORE,), media_type: str = JSON
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.media_type = media_type


def json_reply(status: int, content: Any, headers: Sequence[tuple[str, str]] = (NO_STORE,)) -> Reply:
    """A reply of JSON."""
    return Reply(status, _encode(content), headers)


Handler = Callable[[Request], Awaitable[Reply]]
Streamer = Callable[[Request, Send, Receive, list[tuple[bytes, bytes]]], Awaitable[int]]
"""Answers itself, with those headers added; returns the status. What it raises, it raises before it answers."""


class Endpoint:
    """The ASGI application of one route.

    Args:
        route: its name in the metrics.
        handlers: by method.
        streamers: by method, for what answers piece by piece.
        credentials: whether its clients insist on sending cookies, as Snowplow's do; they are not read.
    """

    def __init__(
        self,
        route: str,
        gate: Gate,
        metrics: EdgeMetrics,
        trusted: Sequence[Network],
        handlers: dict[str, Handler],
        streamers: dict[str, Streamer] | None = None,
        *,
        credentials: bool = False,
    ) -> None:
        self._route = route
        self._gate = gate
        self._metrics = metrics
        self._trusted = trusted
        self._handlers = handlers
        self._streamers = streamers or {}
        self._seconds = metrics.request_seconds.labels(route)
        self._credentials = credentials
        self._answered: dict[int, Tally] = {}
        self._allow = ", ".join(sorted({*handlers, *self._streamers, "OPTIONS"}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        began = time.perf_counter()
        request = Request(scope, receive, self._trusted)
        cors = self._cors(request)
        if request.method in self._streamers:
            try:
                self._count(await self._streamers[request.method](request, send, receive, cors))
            except Exception as error:
                self._count(await _send(send, self._failed(error), cors))
            return
        self._count(await _send(send, await self._reply(request), cors))
        self._seconds.observe(time.perf_counter() - began)

    async def _reply(self, request: Request) -> Reply:
        try:
            handler = self._handlers.get(request.method)
            if handler is not None:
                return await handler(request)
            if request.method == "OPTIONS":
                return self._preflight(request)
            raise Problem(405, "method", f"this address takes {self._allow}", allow=self._allow)
        except Exception as error:
            return self._failed(error)

    def _failed(self, error: Exception) -> Reply:
        """The problem document of whatever a handler raised."""
        if isinstance(error, Problem):
            return _problem(error)
        if isinstance(error, StoreUnavailable):
            return _problem(unavailable("Redis does not answer"))
        if isinstance(error, Busy):
            return _problem(Problem(503, "overloaded", "too many requests wait; send it again", retry_after_s=1))
        log.error("a request failed; this is a defect of the edge", extra={"route": self._route}, exc_info=error)
        return _problem(Problem(500, "internal", "a defect of the edge; its log says more"))

    def _preflight(self, request: Request) -> Reply:
        if not self._gate.allowed_origin(request):
            raise Problem(403, "origin", "no shop of this edge has pages of this origin")
        headers = [(name.decode(), value.decode()) for name, value in PREFLIGHT]
        return Reply(204, b"", headers)

    def _cors(self, request: Request) -> list[tuple[bytes, bytes]]:
        if b"origin" not in request.headers:
            return []
        try:
            origin = self._gate.allowed_origin(request)
        except Problem:
            origin = ""
        headers = [(b"vary", b"Origin")]
        if origin:
            headers += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-expose-headers", b"ETag, Retry-After"),
            ]
            if self._credentials:
                headers.append((b"access-control-allow-credentials", b"true"))
        return headers

    def _count(self, status: int) -> None:
        counter = self._answered.get(status)
        if counter is None:
            counter = self._metrics.tally(self._metrics.requests.labels(self._route, str(status)))
            self._answered[status] = counter
        counter.inc()


def _problem(problem: Problem) -> Reply:
    return Reply(problem.status, problem.body(), list(problem.headers.items()), MEDIA_TYPE)


async def _send(send: Send, reply: Reply, cors: list[tuple[bytes, bytes]]) -> int:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers]
    headers += cors
    if reply.body or reply.status not in {204, 304}:
        headers.append((b"content-type", reply.media_type.encode()))
        headers.append((b"content-length", b"%d" % len(reply.body)))
    headers.append(NO_SNIFF)
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
    return reply.status
