"""One connection: requests one after the other to the application. llhttp reads what the client sends.

A request that comes before the one in front of it is answered waits, and nothing more is read until then. A connection
that is to end is ended in both directions: first ours, so that the client can read the answer although it may still be
sending; what it sends then is passed over.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import unquote

import httptools

from edge.problems import MEDIA_TYPE, Problem
from edge.serving.exchange import STATUS_LINES, Exchange, Gone, Message, Scope

log = logging.getLogger(__name__)

Asgi = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

HEAD_BYTES: Final = 16_384
"""Of the request line and all headers; more is 431."""
HEAD_S: Final = 10.0
"""They must arrive within this, so that half-open requests hold a connection for no longer."""
IDLE_S: Final = 30.0
"""A connection without a request is closed after this."""
LINGER_S: Final = 5.0
"""So long a client may go on sending what nobody reads."""

_BAD: Final = Problem(400, "bad_request", "this is not a request in HTTP/1.1; the connection ends here")
_LONG: Final = Problem(431, "headers_too_large", f"at most {HEAD_BYTES} bytes of headers are read; send fewer")


class Shared:
    """What the connections of a process share.

    Attributes:
        open: all connections.
        date: the header that says what time it is.
        closing: the process ends.
    """

    def __init__(self, application: Asgi, loop: asyncio.AbstractEventLoop, left: Callable[[], None]) -> None:
        self.application = application
        self.loop = loop
        self.left = left
        self.open: set[Connection] = set()
        self.date = b""
        self.closing = False


class Connection(asyncio.Protocol):
    """See the module.

    Attributes:
        deadline: on the loop's clock; a connection that is older is `expired`.
    """

    __slots__ = (
        "_client", "_deaf", "_head", "_headers", "_held", "_in_head", "_incoming", "_long", "_parser", "_queue",
        "_room", "_running", "_shared", "_size", "_task", "_transport", "_url", "deadline",
    )  # fmt: skip

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Exchange] | None = None
        self._room: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._running: Exchange | None = None
        self._incoming: Exchange | None = None
        self._in_head = True
        self._deaf = self._held = self._long = False
        self._head = self._size = 0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self.deadline = math.inf

    # -- of asyncio ------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport
        self._client = transport.get_extra_info("peername")
        self._shared.open.add(self)
        self._wait(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._shared.open.discard(self)
        self._shared.left()
        for exchange in (self._running, *(self._queue or ())):
            if exchange is not None:
                exchange.lose()
        self._queue = None
        if self._room is not None:
            self._room.set()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._deaf:
            return
        if self._in_head:
            self._head += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._deaf = True  # no other protocol is spoken here: it is answered as if it had not asked, and ended
        except httptools.HttpParserError:
            self._refuse(_BAD)
        else:
            if self._long or (self._in_head and self._head > HEAD_BYTES):
                self._refuse(_LONG)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._room = asyncio.Event()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._room is not None:
            self._room.set()
            self._room = None

    # -- of the parser ---------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url, self._headers, self._size = b"", [], 0
        if self._running is None:
            self._wait(HEAD_S)

    def on_url(self, url: bytes) -> None:
        """A part of its target."""
        self._url += url
        self._size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers.append((name.lower(), value.rstrip(b" \t")))
        self._size += len(name) + len(value) + 4  # with its colon, space and line end

    def on_headers_complete(self) -> None:
        """The body, if there is one, follows."""
        self._in_head = False
        if self._size > HEAD_BYTES:
            self._long = True
            return
        parser, version = self._parser, self._parser.get_http_version()
        path, _, query = _target(self._url)
        scope: Scope = {
            "type": "http",
            "http_version": version,
            "method": parser.get_method().decode("ascii"),
            "scheme": "http",
            "path": path,
            "query_string": query,
            "headers": self._headers,
            "client": self._client,
        }
        keep_alive = version == "1.1" and parser.should_keep_alive() and not parser.should_upgrade()
        expects = any(name == b"expect" and value.lower() == b"100-continue" for name, value in self._headers)
        asks_first = expects and version == "1.1"
        exchange = self._incoming = Exchange(self, scope, keep_alive=keep_alive, asks_first=asks_first)
        if self._running is None:
            self._start(exchange)
        else:
            self._queue = self._queue or deque()
            self._queue.append(exchange)
            self.hold(held=True)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._incoming is not None:
            self._incoming.feed(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        exchange, self._incoming = self._incoming, None
        self._in_head, self._head = True, 0
        if exchange is not None:
            exchange.finish()
        if self._running is None:
            self._wait(IDLE_S)

    # -- of exchanges ----------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """See `Wire`."""
        self._transport.write(data)

    def hold(self, *, held: bool) -> None:
        """See `Wire`."""
        held = held or bool(self._queue)
        if held != self._held and not self._transport.is_closing():
            self._held = held
            if held:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    async def drain(self) -> None:
        """See `Wire`."""
        if self._room is not None:
            await self._room.wait()

    @property
    def congested(self) -> bool:
        """See `Wire`."""
        return self._room is not None

    @property
    def date(self) -> bytes:
        """See `Wire`."""
        return self._shared.date

    @property
    def closing(self) -> bool:
        """See `Wire`."""
        return self._shared.closing

    def _start(self, exchange: Exchange) -> None:
        self._running = exchange
        self.deadline = math.inf
        self._task = self._shared.loop.create_task(self._serve(exchange))

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self._shared.application(exchange.scope, exchange.receive, exchange.send)
        except Gone:
            pass
        except Exception:
            log.exception("a request failed; this is a defect of the edge")
        finally:
            self._over(exchange)

    def _over(self, exchange: Exchange) -> None:
        self._running = self._task = None
        if self._transport.is_closing():
            return
        if not exchange.ended:
            self._transport.close()  # an answer that is cut off must not look like a whole one
        elif not exchange.keep_alive or self._deaf or self._shared.closing:
            self._end()
        elif self._queue:
            self._start(self._queue.popleft())
            self.hold(held=False)
        else:
            self._wait(IDLE_S if exchange.complete else LINGER_S)

    # -- of the server ---------------------------------------------------------------------------

    @property
    def unanswered(self) -> bool:
        """Whether a request has no answer yet, not even the beginning of one."""
        return self._running is not None and not self._running.started

    def retire(self) -> None:
        """The process ends: close what is idle."""
        if self._running is None:
            self._transport.close()

    def expired(self) -> None:
        """The deadline has passed."""
        self.deadline = math.inf
        if self._deaf:
            self._transport.abort()
        else:
            self._transport.close()

    def _wait(self, within_s: float) -> None:
        self.deadline = self._shared.loop.time() + within_s

    def _refuse(self, problem: Problem) -> None:
        """What follows cannot be read."""
        self._deaf = True
        if self._running is not None:
            return  # it ends after the answer that is under way
        body = problem.body()
        head = b"cache-control: no-store\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.write(STATUS_LINES[problem.status] + self.date + head % (MEDIA_TYPE.encode(), len(body)) + body)
        self._end()

    def _end(self) -> None:
        self._deaf = True
        self.hold(held=False)
        self._wait(LINGER_S)
        self._transport.write_eof()


def _target(url: bytes) -> tuple[str, bytes, bytes]:
    """The path of a request's target, percent-decoded, a separator, and the query as it came."""
    if not url.startswith(b"/"):  # http://host/path, as proxies are asked
        scheme, found, rest = url.partition(b"://")
        if found and scheme.isalpha():
            url = b"/" + rest.partition(b"/")[2]
    raw, mark, query = url.partition(b"#")[0].partition(b"?")
    path = raw.decode("utf-8", "replace")
    return unquote(path) if "%" in path else path, mark, query
