"""``GET /v1/decisions/{session_id}/events``: every newer decision, silence included, as server-sent events.

`Watch` tells what has changed in Redis; the hub passes it to the streams of that session. A stream that is being
written to takes only the newest decision after that, so a slow page skips what is outdated and holds up nobody.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final

import msgspec

from edge.document import Presenter
from edge.gate import Gate, bearer
from edge.ladder import Known, read
from edge.metrics import EdgeMetrics
from edge.problems import Problem
from edge.requests import Receive, Request, Send
from edge.watch import Watch

HEARTBEAT: Final = b": \n\n"
OPENED: Final = b"retry: 2000\n: open\n\n"
WITHDRAWN: Final = b"event: withdrawn\ndata: {}\n\n"
HEADERS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would keep events back
    (b"x-content-type-options", b"nosniff"),
)
BEATS: Final = 50
"""A heartbeat is spread over so many parts of its pause, so that not all streams are written to at once."""


class Stream:
    """One open stream."""

    __slots__ = ("_task", "busy", "heard", "last", "latest", "over", "send", "session_id", "withdrawn")

    def __init__(self, session_id: str, send: Send, last: tuple[str, int]) -> None:
        self.session_id = session_id
        self.send = send
        self.last = last
        self.latest: Known | None = None
        self.withdrawn = False
        self.busy = False
        self.heard = False
        self.over = False
        self._task = asyncio.current_task()

    def offer(self, known: Known) -> bool:
        """Take a decision if it is newer than what was sent or is about to be."""
        source, seq = self.last
        if source == known.order.source and known.order.seq <= seq:
            return False
        if self.latest is not None and self.latest.order.refuses(known.order):
            return False
        self.latest = known
        return True

    def end(self) -> None:
        """The page has gone, or is to go: its request, which made the stream, stops waiting."""
        if not self.over and self._task is not None:
            self.over = True
            self._task.cancel()


class Hub:
    """The streams of a process; on the event loop alone.

    Args:
        keys: the keys of a session's decision and of its withdrawal.
        watch: makes the watch, given whom to tell.

    Attributes:
        presenter: by the policy in use; replaced when that changes.
    """

    def __init__(
        self,
        keys: Callable[[str], tuple[str, str]],
        watch: Callable[[Callable[[list[tuple[str, bytes | None]]], None]], Watch],
        presenter: Presenter,
        metrics: EdgeMetrics,
        most: int,
        heartbeat_s: float,
    ) -> None:
        self._keys = keys
        self._loop = asyncio.get_running_loop()
        self._streams: dict[str, list[Stream]] = {}
        self._decided: dict[str, str] = {}  # key of a decision -> session
        self._marked: dict[str, str] = {}  # key of a withdrawal -> session
        self._newest: dict[str, Known] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._most = most
        self._heartbeat_s = heartbeat_s
        self._open = 0
        self._metrics = metrics
        self._pushed = metrics.tally(metrics.pushed)
        self._provisional: dict[str, tuple[int, str, str]] = {}
        self.presenter = presenter
        self._watch = watch(self._told)
        self._beating = self._loop.create_task(self._beat())

    async def serve(self, stream: Stream, receive: Receive) -> None:
        """Keep a stream until its page goes or consent is withdrawn."""
        self._enter(stream)
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            if not stream.over:
                raise
        finally:
            stream.over = True
            self._leave(stream)

    def take_place(self) -> None:
        """Take a place for one stream, before it waits for anything: a burst must not overrun the limit.

        Raises:
            Problem: 503 all places are taken.
        """
        if self._open >= self._most:
            raise Problem(503, "too_many_streams", "all streams are taken; poll, or try again", retry_after_s=5)
        self._open += 1

    def give_place(self) -> None:
        """Free the place of a stream that has ended."""
        self._open -= 1

    def withdrawn(self, session_id: str) -> None:
        """Tell the streams of a session, and close them."""
        for stream in self._streams.get(session_id, ()):
            stream.withdrawn = True
            self._write(stream)

    def expect(self, session_id: str, seq: int, stage: str, action: str) -> None:
        """An inline decision was handed out: the stream's own is compared with it when it comes."""
        if session_id in self._streams:
            self._provisional[session_id] = (seq, stage, action)

    def close(self) -> None:
        """End every stream; pages connect again."""
        self._beating.cancel()
        self._watch.close()
        for streams in list(self._streams.values()):
            for stream in streams:
                stream.end()

    def _enter(self, stream: Stream) -> None:
        session_id = stream.session_id
        streams = self._streams.setdefault(session_id, [])
        streams.append(stream)
        self._metrics.streams.inc()
        if len(streams) == 1:
            decision, mark = self._keys(session_id)
            self._decided[decision] = self._marked[mark] = session_id
            self._watch.add((decision, mark))
        elif (known := self._newest.get(session_id)) is not None and stream.offer(known):
            self._write(stream)

    def _leave(self, stream: Stream) -> None:
        session_id = stream.session_id
        streams = self._streams[session_id]
        streams.remove(stream)
        self._metrics.streams.dec()
        if not streams:
            decision, mark = self._keys(session_id)
            self._watch.remove((decision, mark))
            for table, name in ((self._decided, decision), (self._marked, mark)):
                table.pop(name, None)
            del self._streams[session_id]
            self._newest.pop(session_id, None)
            self._provisional.pop(session_id, None)

    def _told(self, values: list[tuple[str, bytes | None]]) -> None:
        """On the watch's thread."""
        self._loop.call_soon_threadsafe(self._spread, values)

    def _spread(self, values: list[tuple[str, bytes | None]]) -> None:
        for key, value in values:
            if (session_id := self._decided.get(key)) is not None:
                if value is not None and (known := read(value)) is not None:
                    self._pass_on(session_id, known)
                elif value is None:
                    self._newest.pop(session_id, None)
            elif value is not None and (marked := self._marked.get(key)) is not None:
                self.withdrawn(marked)

    def _pass_on(self, session_id: str, known: Known) -> None:
        self._newest[session_id] = known
        if session_id in self._provisional:
            self._compare(session_id, known)
        for stream in self._streams[session_id]:
            if stream.offer(known):
                self._write(stream)

    def _compare(self, session_id: str, known: Known) -> None:
        seq, stage, action = self._provisional[session_id]
        if known.order.seq < seq:
            return
        del self._provisional[session_id]
        if known.order.seq > seq:
            outcome = "superseded"
        else:
            told: dict[str, Any] = msgspec.json.decode(known.document)
            outcome = "confirmed" if (told.get("stage"), told.get("action")) == (stage, action) else "different"
        self._metrics.provisional.labels(outcome).inc()

    def _write(self, stream: Stream) -> None:
        self._begin(stream, self._flush(stream))

    def _begin(self, stream: Stream, writing: Coroutine[Any, Any, None]) -> None:
        """Write to a stream that nobody is writing to; a page that takes nothing holds up no other."""
        if stream.busy or stream.over:
            writing.close()
            return
        stream.busy = True
        try:
            waits_for = writing.send(None)  # nearly always the server takes it at once, and no task is needed
        except StopIteration:
            return
        task = self._loop.create_task(_continued(writing, waits_for))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _flush(self, stream: Stream) -> None:
        try:
            while (known := stream.latest) is not None and not stream.withdrawn:
                stream.latest = None
                stream.last = known.order.source, known.order.seq
                stream.heard = True
                await stream.send(_chunk(self._event(stream.session_id, known)))
                self._pushed.inc()
            if stream.withdrawn:
                await stream.send({"type": "http.response.body", "body": WITHDRAWN, "more_body": False})
                stream.end()
        except Exception:  # the page has gone; ASGI servers differ in what they raise then
            stream.end()
        finally:
            stream.busy = False

    def _event(self, session_id: str, known: Known) -> bytes:
        now = time.time_ns() // 1_000_000
        document = self.presenter.decision(session_id, known, "fresh", now)
        return b"id: %s:%d\nevent: decision\ndata: %s\n\n" % (
            known.order.source.encode(),
            known.order.seq,
            msgspec.json.encode(document),
        )

    async def _beat(self) -> None:
        part = 0
        while True:
            await asyncio.sleep(self._heartbeat_s / BEATS)
            part = (part + 1) % BEATS
            for session_id, streams in list(self._streams.items()):
                if hash(session_id) % BEATS == part:
                    for stream in list(streams):
                        if stream.heard:
                            stream.heard = False  # a decision was as good as a heartbeat
                        else:
                            self._begin(stream, self._sign(stream))

    async def _sign(self, stream: Stream) -> None:
        try:
            await stream.send(_chunk(HEARTBEAT))
        except Exception:
            stream.end()
        finally:
            stream.busy = False
        if stream.latest is not None or stream.withdrawn:
            self._write(stream)  # it came meanwhile


class Push:
    """The handler."""

    def __init__(self, gate: Gate, hub: Hub) -> None:
        self._gate = gate
        self._hub = hub

    async def events(self, request: Request, send: Send, receive: Receive, cors: list[tuple[bytes, bytes]]) -> int:
        """See the module."""
        shop = self._gate.shop(request)
        claim = self._gate.genuine(bearer(request) or request.query.get("token", ""))
        self._gate.same(claim, request.path_session)
        self._gate.charge(shop, request, claim.session_id, 1)
        try:
            await self._gate.claim(bearer(request) or request.query.get("token", ""))
        except Problem as problem:
            if problem.code != "withdrawn":
                raise
            await _start(send, 204, cors)
            await send({"type": "http.response.body", "body": b""})
            return 204
        self._hub.take_place()
        try:
            await self._stream(Stream(claim.session_id, send, _last(request)), request, receive, cors)
        finally:
            self._hub.give_place()
        return 200

    async def _stream(
        self, stream: Stream, request: Request, receive: Receive, cors: list[tuple[bytes, bytes]]
    ) -> None:
        request.forget()
        try:
            await _start(stream.send, 200, [*HEADERS, *cors])
            await stream.send(_chunk(OPENED))
        except Exception:  # the page has gone; ASGI servers differ in what they raise then
            return
        await self._hub.serve(stream, receive)


async def _continued(coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
    """The rest of a coroutine that has begun to wait; a task of its own awaits it."""
    await _Begun(coroutine, waits_for)


class _Begun:
    """A coroutine that has run up to its first wait."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        while True:
            sent: Any = None
            failed: BaseException | None = None
            try:
                sent = yield waits_for
            except BaseException as error:
                failed = error
            try:
                waits_for = self._coroutine.send(sent) if failed is None else self._coroutine.throw(failed)
            except StopIteration:
                return


async def _start(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


def _chunk(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


def _last(request: Request) -> tuple[str, int]:
    """What the page has seen: Last-Event-ID is source:seq."""
    source, _, seq = request.header(b"last-event-id").rpartition(":")
    return (source, int(seq)) if source and len(seq) < 20 and seq.isascii() and seq.isdigit() else ("", -1)
