"""HTTP/1.1 as the edge speaks it: what reaches the application, what the client reads, and when a connection ends."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from edge.serving import connection as timing
from edge.serving.server import NotStarted, Server

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PATIENCE_S: Final = 10.0
GET: Final = b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n"


async def _reply(send: Send, body: bytes, status: int = 200, *, sized: bool = True) -> None:
    headers = [(b"content-length", b"%d" % len(body))] if sized else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _whole(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """Answers with what it was asked."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{step}"
            await send({"type": f"lifespan.{step}.complete"})
        return
    what = scope["path"]
    if what == "/stream":
        scope.clear()  # as the edge does, since thousands of streams would keep theirs
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"one", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
    elif what == "/unread":
        await _reply(send, b"no", 401)
    elif what == "/none":
        await _reply(send, b"", 204, sized=False)
    elif what == "/slow":
        await asyncio.sleep(0.05)
        await _reply(send, b"slow")
    elif what == "/defect":
        int("no number")
    else:
        body = await _whole(receive)
        query = scope["query_string"].decode()
        await _reply(send, f"{scope['method']} {what} {query} {len(body)} {body[-9:].decode()}".encode(), sized=False)


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send, and read one answer."""
        for piece in pieces:
            self._writer.write(piece)
            await asyncio.sleep(0.01 if len(pieces) > 1 else 0)
        return await self.answer()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer."""
        head = (await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), PATIENCE_S)).decode()
        first, *lines = head.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return int(first.split()[1]), headers, body

    async def rest(self) -> bytes:
        """What comes until the server ends the connection."""
        return await asyncio.wait_for(self._reader.read(), PATIENCE_S)

    async def read(self, size: int) -> bytes:
        return await asyncio.wait_for(self._reader.readexactly(size), PATIENCE_S)

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def end(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class Served:
    """A server under test; ``stop`` ends it."""

    def __init__(self, port: int, stop: asyncio.Event) -> None:
        self._port = port
        self.stop = stop
        self.clients: list[Client] = []

    async def client(self) -> Client:
        """A new connection."""
        self.clients.append(Client(*await asyncio.open_connection("127.0.0.1", self._port)))
        return self.clients[-1]


@asynccontextmanager
async def _served(most: int = 100) -> AsyncIterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = Served(listener.getsockname()[1], asyncio.Event())
        serving = asyncio.create_task(Server(application, most).serve(listener, served.stop))
        yield served
        for client in served.clients:
            await client.end()
        served.stop.set()
        await asyncio.wait_for(serving, PATIENCE_S)


def test_a_connection_is_used_again_and_requests_ahead_are_answered_in_order() -> None:
    async def scenario() -> None:
        async with _served() as served:
            client = await served.client()
            status, headers, body = await client.ask(GET % b"a%20b?x=1")
            assert (status, body) == (200, b"GET /a b x=1 0 ")
            assert "date" in headers
            assert "connection" not in headers
            assert (await client.ask(GET % b"slow" + GET % b"b" + GET % b"c"))[2] == b"slow"
            assert [(await client.answer())[2] for _ in range(2)] == [b"GET /b  0 ", b"GET /c  0 "]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "pieces",
    [
        (b"POST /p HTTP/1.1\r\ncontent-length: 9\r\n\r\n123456789",),
        (b"POST /p HTTP/1.1\r\ncontent-", b"length: 9\r\n\r\n1234", b"56789"),
        (b"POST /p HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4\r\n1234\r\n", b"5\r\n56789\r\n0\r\n\r\n"),
    ],
)
def test_a_body_comes_whole_however_it_was_sent(pieces: tuple[bytes, ...]) -> None:
    async def scenario() -> None:
        async with _served() as served:
            client = await served.client()
            assert (await client.ask(*pieces))[2] == b"POST /p  9 123456789"
            assert (await client.ask(GET % b"again"))[0] == 200

    asyncio.run(scenario())


def test_a_large_body_is_held_back_until_it_is_asked_for() -> None:
    async def scenario() -> None:
        async with _served() as served:
            client = await served.client()
            body = b"x" * 3_000_000 + b"123456789"
            answer = await client.ask(b"POST /p HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body), body)
            assert answer[2] == b"POST /p  3000009 123456789"

    asyncio.run(scenario())


def test_who_asks_before_sending_is_told_to_go_on_or_that_it_is_refused() -> None:
    async def scenario() -> None:
        async with _served() as served:
            head = b"POST /%b HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n"
            client = await served.client()
            assert (await client.ask(head % b"p"))[0] == 100
            assert (await client.ask(b"123456789"))[2] == b"POST /p  9 123456789"
            status, headers, _ = await client.ask(head % b"unread")
            assert (status, headers["connection"]) == (401, "close")
            assert await client.rest() == b""

    asyncio.run(scenario())


def test_a_body_that_nobody_reads_is_passed_over() -> None:
    async def scenario() -> None:
        async with _served() as served:
            client = await served.client()
            assert (await client.ask(b"POST /unread HTTP/1.1\r\ncontent-length: 200000\r\n\r\n"))[0] == 401
            assert (await client.ask(b"x" * 200_000 + GET % b"next"))[2] == b"GET /next  0 "

    asyncio.run(scenario())


def test_answers_without_a_body_have_none() -> None:
    async def scenario() -> None:
        async with _served() as served:
            client = await served.client()
            status, headers, _ = await client.ask(GET % b"none")
            assert (status, "content-length" in headers, "transfer-encoding" in headers) == (204, False, False)
            client.send(b"HEAD /unread HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert (await client.rest()).endswith(b"\r\n\r\n")

    asyncio.run(scenario())


def test_a_stream_comes_in_chunks_and_hears_that_its_page_has_gone() -> None:
    async def scenario() -> None:
        async with _served() as served:
            client = await served.client()
            status, headers, _ = await client.ask(GET % b"stream")
            assert (status, headers["transfer-encoding"]) == (200, "chunked")
            assert await client.read(16) == b"3\r\none\r\n3\r\ntwo\r\n"

    asyncio.run(scenario())  # the server waits for the stream's end before it ends


def test_http_1_0_gets_a_stream_that_ends_with_its_connection() -> None:
    async def scenario() -> None:
        async with _served() as served:
            client = await served.client()
            status, headers, _ = await client.ask(b"GET /stream HTTP/1.0\r\n\r\n")
            assert (status, headers["connection"]) == (200, "close")
            served.stop.set()
            assert await client.rest() == b"onetwo"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST /p HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /p HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc", 400),
        (b"GET / HTTP/1.1\r\nx: %b\r\n\r\n" % (b"y" * 40_000), 431),
        (b"GET / HTTP/1.1\r\nx: %b" % (b"y" * 40_000), 431),
        (b"GET /%b HTTP/1.1\r\n\r\n" % (b"y" * 40_000), 431),
        (b"GET / HTTP/1.1\r\n%b\r\n" % (b"a: b\r\n" * 8_000), 431),
    ],
)
def test_what_is_no_request_is_a_problem_and_the_end(sent: bytes, status: int) -> None:
    async def scenario() -> None:
        async with _served() as served:
            client = await served.client()
            told, headers, body = await client.ask(sent)
            assert (told, headers["content-type"], headers["connection"]) == (
                status,
                "application/problem+json",
                "close",
            )
            assert b'"status":%d' % status in body
            assert await client.rest() == b""

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /u HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nrubbish",
        b"GET /u HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\nGET /v HTTP/1.1\r\n\r\n",
    ],
)
def test_the_last_request_of_a_connection_is_answered_and_nothing_after_it(sent: bytes) -> None:
    async def scenario() -> None:
        async with _served() as served:
            client = await served.client()
            status, headers, body = await client.ask(sent)
            assert (status, headers["connection"], body) == (200, "close", b"GET /u  0 ")
            assert await client.rest() == b""

    asyncio.run(scenario())


def test_a_defect_ends_the_connection_without_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """An answer that was cut off must not look like a whole one."""

    async def scenario() -> None:
        async with _served() as served:
            client = await served.client()
            client.send(GET % b"defect")
            assert await client.rest() == b""

    asyncio.run(scenario())
    assert "defect of the edge" in caplog.text


def test_beyond_the_limit_connections_wait_to_be_accepted() -> None:
    async def scenario() -> None:
        async with _served(most=1) as served:
            first = await served.client()
            assert (await first.ask(GET % b"a"))[0] == 200
            second = await served.client()
            asked = asyncio.create_task(second.ask(GET % b"b"))
            await asyncio.sleep(0.1)
            assert not asked.done()
            await first.end()
            assert (await asked)[2] == b"GET /b  0 "

    asyncio.run(scenario())


def test_what_is_under_way_is_answered_before_the_end() -> None:
    async def scenario() -> None:
        async with _served() as served:
            idle, busy = await served.client(), await served.client()
            asked = asyncio.create_task(busy.ask(GET % b"slow"))
            await asyncio.sleep(0.02)
            served.stop.set()
            status, headers, body = await asked
            assert (status, headers["connection"], body) == (200, "close", b"slow")
            assert await idle.rest() == b""

    asyncio.run(scenario())


def test_headers_that_do_not_come_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "HEAD_S", 0.1)

    async def scenario() -> None:
        async with _served() as served:
            client = await served.client()
            client.send(b"GET / HTTP/1.1\r\nho")
            assert await client.rest() == b""

    asyncio.run(scenario())


def test_an_application_that_cannot_start_is_not_served() -> None:
    async def broken(_scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed"})

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(NotStarted):
            await Server(broken, 1).serve(listener, asyncio.Event())

    asyncio.run(scenario())
