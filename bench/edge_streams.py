"""Many open streams of server-sent events in one thread, and when each heard which decision."""

import asyncio
import re
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, Self
from urllib.parse import quote

import uvloop

SEQ: Final = re.compile(rb"\nid: [^\n]*:(\d+)\n|^id: [^\n]*:(\d+)\n")
PATIENCE_S: Final = 30.0


class _Stream(asyncio.Protocol):
    def __init__(self, streams: "Streams", request: bytes) -> None:
        self._streams = streams
        self._request = request
        self._begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined] # a socket's transport

    def data_received(self, data: bytes) -> None:
        at = time.time()
        if not self._begun and data.startswith(b"HTTP/1.1 200"):
            self._begun = True
            self._streams.begun()
        for one, other in SEQ.findall(data):
            self._streams.note(int(one or other), at)


class Streams:
    """Streams of sessions on one port; open until the end of the ``with``."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._heard: dict[int, list[float]] = defaultdict(list)
        self._loop = (
            uvloop.new_event_loop()
        )  # asyncio's own takes longer to hear of a decision than the edge to tell it
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._transports: list[Any] = []
        self._begun = 0

    def begun(self) -> None:
        """A stream got its first bytes."""
        self._begun += 1

    def note(self, seq: int, at: float) -> None:
        """A stream heard a decision."""
        self._heard[seq].append(at)

    def heard(self, seq: int, streams: int) -> list[float]:
        """When each stream heard this decision, epoch seconds; waits until so many have."""
        until = time.monotonic() + PATIENCE_S
        while len(self._heard[seq]) < streams:
            if time.monotonic() > until:
                raise TimeoutError(f"{len(self._heard[seq])} of {streams} streams heard decision {seq}")
            time.sleep(0.005)
        return list(self._heard[seq])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def open(self, sessions: Sequence[tuple[str, str]]) -> None:
        """Open a stream for each of these sessions and tokens; blocks until each has begun."""
        wanted = self._begun + len(sessions)
        asyncio.run_coroutine_threadsafe(self._open(sessions), self._loop).result(120)
        until = time.monotonic() + PATIENCE_S
        while self._begun < wanted:
            if time.monotonic() > until:
                raise TimeoutError(f"{self._begun} of {wanted} streams are open")
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._close)
        time.sleep(0.5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self, sessions: Sequence[tuple[str, str]]) -> None:
        for session, token in sessions:
            path = f"/v1/decisions/{session}/events?key=demo&token={quote(token)}"
            request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
            transport, _ = await self._loop.create_connection(
                lambda request=request: _Stream(self, request),  # type: ignore[misc]
                "127.0.0.1",
                self._port,
            )
            self._transports.append(transport)

    def _close(self) -> None:
        for transport in self._transports:
            transport.close()
