"""One request and its answer, as ASGI sees them: `Exchange.receive` and `Exchange.send` over a `Wire`."""

import asyncio
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any, Final, Protocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]

BODILESS: Final = frozenset({204, 304})
STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE: Final = b"connection: close\r\n"
CHUNKED: Final = b"transfer-encoding: chunked\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
HELD_BYTES: Final = 65_536
"""So much of a body is read before the application asks for it; the client waits with the rest."""


class Gone(ConnectionError):
    """The client has gone; there is nobody to answer."""


class Wire(Protocol):
    """What an exchange needs of its connection."""

    def write(self, data: bytes) -> None:
        """Send; never blocks."""

    def hold(self, *, held: bool) -> None:
        """Whether to read no more for now."""

    async def drain(self) -> None:
        """Return once the client has taken most of what was written."""

    @property
    def congested(self) -> bool:
        """Whether `drain` would wait."""

    @property
    def date(self) -> bytes:
        """The header that says what time it is."""

    @property
    def closing(self) -> bool:
        """Whether the server ends, and its connections with it."""


class Exchange:
    """Takes a body as it comes, and writes an answer.

    Args:
        wire: of the connection.
        scope: of ASGI; the application may empty it.
        keep_alive: whether the client wants to use the connection again.
        asks_first: whether it waits for word before it sends the body (Expect: 100-continue).

    Attributes:
        complete: the whole request was read.
        started, ended: how far the answer is.
        keep_alive: whether the connection can be used again.
    """

    __slots__ = (
        "_asks_first", "_body", "_chunked", "_delivered", "_headers", "_in_pieces", "_lost", "_mute", "_status",
        "_waiter", "_wire", "complete", "ended", "keep_alive", "scope", "started",
    )  # fmt: skip

    def __init__(self, wire: Wire, scope: Scope, *, keep_alive: bool, asks_first: bool) -> None:
        self._wire = wire
        self.scope = scope
        self.keep_alive = keep_alive
        self._asks_first = asks_first
        self._in_pieces: bool = scope["http_version"] == "1.1"
        self._chunked = False
        self._mute: bool = scope["method"] == "HEAD"
        self._body = b""
        self._delivered = self._lost = False
        self._waiter: asyncio.Future[None] | None = None
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self.complete = self.started = self.ended = False

    # -- what the connection tells ---------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """A part of the body came."""
        if self.ended:
            return  # answered already: what is left of the body is passed over
        self._body = self._body + data if self._body else data
        if len(self._body) > HELD_BYTES:
            self._wire.hold(held=True)
        self._wake()

    def finish(self) -> None:
        """The request is whole."""
        self.complete = True
        self._wake()

    def lose(self) -> None:
        """The client has gone."""
        self._lost = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- what the application does ---------------------------------------------------------------

    async def receive(self) -> Message:
        """See ASGI; after the whole body it returns when the client has gone, or the answer was sent."""
        while not self._body and (self._delivered or not self.complete) and not (self._lost or self.ended):
            if self._asks_first:
                self._asks_first = False
                self._wire.write(CONTINUE)
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._lost or self.ended:
            return {"type": "http.disconnect"}
        body, self._body = self._body, b""
        self._wire.hold(held=False)
        self._delivered = self.complete
        return {"type": "http.request", "body": body, "more_body": not self.complete}

    async def send(self, message: Message) -> None:
        """See ASGI.

        Raises:
            Gone: the client has gone.
        """
        if self._lost:
            raise Gone
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], message["headers"]
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        data = self._piece(body, more=more) if self.started else self._first(body, more=more)
        if data:
            self._wire.write(data)
        if not more:
            self.ended = True
            self._wake()
        if self._wire.congested:
            await self._wire.drain()

    def _first(self, body: bytes, *, more: bool) -> bytes:
        """The head of the answer, and the first of its body."""
        self.started = True
        parts = [STATUS_LINES[self._status], self._wire.date]
        sized = self._status in BODILESS
        for name, value in self._headers:
            sized |= name == b"content-length"
            parts.append(b"%b: %b\r\n" % (name, value))
        if not sized:
            if not more:
                parts.append(b"content-length: %d\r\n" % len(body))
            elif self._in_pieces:
                self._chunked = True
                parts.append(CHUNKED)
            else:
                self.keep_alive = False  # the end of the connection is the end of the answer
        if self._wire.closing or self._asks_first:
            self.keep_alive = False  # whoever asked first and hears no may send the body or not
        if not self.keep_alive:
            parts.append(CLOSE)
        self._mute = self._mute or self._status in BODILESS
        parts += (b"\r\n", self._piece(body, more=more))
        return b"".join(parts)

    def _piece(self, body: bytes, *, more: bool) -> bytes:
        if self._mute:
            return b""
        if not self._chunked:
            return body
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        return chunk if more else chunk + LAST_CHUNK
