"""Open-loop HTTP for the edge's benchmarks: requests are due at fixed times, over connections that stay open.

    python -m bench.edge_client HOST PORT  < a plan as JSON

The plan names the requests (``[[path, body], ...]``, used in turn), ``rate`` (a second; 0: as fast as the connections
answer), ``seconds`` and ``connections``. It prints JSON: statuses, how many requests were answered a second, and the
time from when a request was due to its answer, milliseconds at p50, p99 and at most. A request that has to wait for a
free connection has been waiting since it was due. ``answered`` counts those of the first second too.
"""

import asyncio
import json
import math
import sys
import time
from collections import Counter, deque
from typing import Any, Final

import numpy as np

from bench.processes import give_way

LOST: Final = 0
"""The status of a request whose connection ended before its answer."""
UNANSWERED: Final = -1
"""The status of a request that had no answer when the load gave up."""
WARM_S: Final = 1.0
"""Answers of the first second are not counted."""
PATIENCE_S: Final = 10.0
"""So long after the last request was due the load waits for answers."""


class Connection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._data = b""
        self._transport: Any = None
        self.due: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._load.free(self)

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n") + 4
        if end < 4 or self.due is None:
            return
        head = self._data[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 : head.index(b"\r", at)]) if at >= 0 else 0
        if len(self._data) >= end + length:
            self._data = self._data[end + length :]
            due, self.due = self.due, None
            self._load.answered(int(head[9:12]), due)
            self._load.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        due, self.due = self.due, None
        self._load.lost(self, due)

    def ask(self, request: bytes, due: float) -> None:
        """Send."""
        self.due = due
        self._transport.write(request)


class Load:
    """Sends what is due over what is free; callbacks alone, since the load shares the cores with what it measures."""

    def __init__(self, host: str, port: int, plan: dict[str, Any]) -> None:
        self._address = host, port
        self._wires = [_wire(host, path, body) for path, body in plan["requests"]]
        self._rate: float = plan["rate"]
        self._seconds: float = plan["seconds"]
        self._connections: int = plan["connections"]
        self._loop = asyncio.get_running_loop()
        self._free: deque[Connection] = deque()
        self._number = self._under_way = 0
        self._begin = self._end = self._ended = math.inf
        self._statuses: Counter[int] = Counter()
        self._taken: list[float] = []
        self._done = asyncio.Event()
        self._again: set[asyncio.Task[Any]] = set()

    async def run(self) -> dict[str, Any]:
        """Carry out the plan."""
        for _ in range(self._connections):
            await self._connect()
        self._begin = self._ended = time.perf_counter() + 0.05
        self._end = self._begin + self._seconds
        await asyncio.sleep(0.05)
        self._send()
        while self._rate and time.perf_counter() < self._end:
            await asyncio.sleep(0.001)
            self._send()
        await asyncio.sleep(self._end - time.perf_counter())
        self._over()
        try:
            await asyncio.wait_for(self._done.wait(), PATIENCE_S)
        except TimeoutError:
            self._statuses[UNANSWERED] += self._under_way
        return self._told()

    def free(self, connection: Connection) -> None:
        """It can take a request."""
        self._free.append(connection)
        self._send()

    def answered(self, status: int, due: float) -> None:
        """A request was answered."""
        self._under_way -= 1
        self._ended = time.perf_counter()
        self._statuses[status] += 1
        if due >= self._begin + WARM_S:
            self._taken.append(self._ended - due)
        self._over()

    def lost(self, connection: Connection, due: float | None) -> None:
        """A connection ended; another takes its place."""
        if connection in self._free:
            self._free.remove(connection)
        if due is not None:
            self.answered(LOST, due)
        if not self._done.is_set():
            task = self._loop.create_task(self._connect())
            self._again.add(task)
            task.add_done_callback(self._again.discard)

    async def _connect(self) -> None:
        await self._loop.create_connection(lambda: Connection(self), *self._address)

    def _send(self) -> None:
        while self._free:
            now = time.perf_counter()
            due = self._begin + self._number / self._rate if self._rate else now
            if due > now or not self._begin <= due < self._end:
                return
            self._under_way += 1
            self._free.popleft().ask(self._wires[self._number % len(self._wires)], due)
            self._number += 1

    def _over(self) -> None:
        if not self._under_way and time.perf_counter() >= self._end:
            self._done.set()

    def _told(self) -> dict[str, Any]:
        waited = np.array(self._taken or [math.inf]) * 1000
        p50, p99 = np.percentile(waited, [50, 99], method="nearest").tolist()
        seconds = max(self._ended - self._begin - WARM_S, 1e-9)
        return {
            "statuses": dict(self._statuses),
            "answered": self._statuses.total() - self._statuses[UNANSWERED],
            "per_s": len(self._taken) / seconds,
            "p50_ms": p50,
            "p99_ms": p99,
            "most_ms": float(waited.max()),
        }


def _wire(host: str, path: str, body: str) -> bytes:
    data = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


async def load(host: str, port: int, plan: dict[str, Any]) -> dict[str, Any]:
    """Carry out a plan."""
    return await Load(host, port, plan).run()


if __name__ == "__main__":
    import uvloop

    asked = json.load(sys.stdin)
    if not asked["rate"]:
        give_way()  # at a fixed rate it would count its own wait for a core as the server's time
    print(json.dumps(uvloop.run(load(sys.argv[1], int(sys.argv[2]), asked))))
