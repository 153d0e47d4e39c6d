"""One process that serves: accepts connections, watches their deadlines, and ends in order."""

import asyncio
import logging
import socket
from contextlib import suppress
from email.utils import formatdate
from typing import Final

from edge.serving.connection import Asgi, Connection, Shared
from edge.serving.exchange import Message

log = logging.getLogger(__name__)

EVERY_S: Final = 0.5
ANSWER_S: Final = 5.0
"""Requests that are under way when the process is asked to end are answered within this."""
AGAIN_S: Final = 0.1


class NotStarted(Exception):
    """The application cannot start; its log says why."""


class Server:
    """Serves an ASGI application over HTTP/1.1.

    Args:
        application: which.
        most: connections that it holds at once; others wait to be accepted.
    """

    def __init__(self, application: Asgi, most: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._shared = Shared(application, self._loop, self._left)
        self._lifespan = _Lifespan(application)
        self._most = most
        self._room = asyncio.Event()
        self._room.set()

    async def serve(self, listener: socket.socket, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then answer what is under way and end.

        Raises:
            NotStarted: the application cannot start.
        """
        await self._lifespan.begin()
        tasks = [self._loop.create_task(work) for work in (self._accept(listener), self._watch())]
        await stop.wait()
        tasks[0].cancel()
        self._shared.closing = True
        for connection in list(self._shared.open):
            connection.retire()
        until = self._loop.time() + ANSWER_S
        while any(one.unanswered for one in self._shared.open) and self._loop.time() < until:  # noqa: ASYNC110 - each tells its own client
            await asyncio.sleep(0.01)
        await self._lifespan.end()
        await asyncio.sleep(0)  # streams that were ended write their last bytes
        for connection in list(self._shared.open):
            connection.expired()
        tasks[1].cancel()

    def _left(self) -> None:
        if len(self._shared.open) < self._most:
            self._room.set()

    async def _accept(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        while True:
            await self._room.wait()
            try:
                accepted, _ = await self._loop.sock_accept(listener)
                await self._loop.connect_accepted_socket(lambda: Connection(self._shared), accepted)
            except OSError as error:  # the client has gone already, or no file is left
                log.warning("a connection was not accepted", extra={"error_class": type(error).__name__})
                await asyncio.sleep(AGAIN_S)
            if len(self._shared.open) >= self._most:
                self._room.clear()

    async def _watch(self) -> None:
        while True:
            self._shared.date = b"date: %b\r\n" % formatdate(usegmt=True).encode()
            now = self._loop.time()
            for connection in [one for one in self._shared.open if one.deadline < now]:
                connection.expired()
            await asyncio.sleep(EVERY_S)


class _Lifespan:
    """The application's beginning and end; see ASGI."""

    def __init__(self, application: Asgi) -> None:
        self._application = application
        self._asked: asyncio.Queue[Message] = asyncio.Queue()
        self._told: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())
        if await self._tell("startup") != "lifespan.startup.complete":
            raise NotStarted

    async def end(self) -> None:
        await self._tell("shutdown")
        if self._task is not None:
            with suppress(Exception):
                await self._task

    async def _run(self) -> None:
        try:
            await self._application({"type": "lifespan"}, self._asked.get, self._told.put)
        finally:
            await self._told.put({"type": ""})

    async def _tell(self, what: str) -> str:
        await self._asked.put({"type": f"lifespan.{what}"})
        return str((await self._told.get())["type"])
