"""Open-loop HTTP for the edge's benchmarks: requests are due at fixed times, over connections that stay open.

    python -m bench.edge_client HOST PORT  < a plan as JSON

The plan names the requests (``[[path, body], ...]``, used in turn), ``rate`` (a second; 0: as fast as the connections
answer), ``seconds`` and ``connections``. It prints JSON: statuses, how many requests were answered a second, and the
time from when a request was due to its answer, milliseconds at p50, p99 and at most. A request that has to wait for a
free connection has been waiting since it was due.
"""

import asyncio
import json
import math
import sys
import time
from collections import Counter
from typing import Any, Final

import numpy as np

from bench.processes import give_way

LOST: Final = 0
"""The status of a request whose connection ended before its answer."""
WARM_S: Final = 1.0
"""Answers of the first second are not counted."""


class Connection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self) -> None:
        self._data = b""
        self._answer: asyncio.Future[int] | None = None
        self._transport: Any = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, rest = self._data.partition(b"\r\n\r\n")
        if not found or self._answer is None:
            return
        lengths = [line for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:"]
        length = int(lengths[0][15:]) if lengths else 0
        if len(rest) >= length:
            self._data = rest[length:]
            self._answer.set_result(int(head[9:12]))
            self._answer = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(LOST)

    def ask(self, request: bytes) -> "asyncio.Future[int]":
        """Send; the status."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer


async def load(host: str, port: int, plan: dict[str, Any]) -> dict[str, Any]:
    """Carry out a plan."""
    loop = asyncio.get_running_loop()
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(plan["connections"]):
        free.put_nowait((await loop.create_connection(Connection, host, port))[1])
    wires = [_wire(host, path, body) for path, body in plan["requests"]]
    rate, seconds = plan["rate"], plan["seconds"]
    begin = time.perf_counter() + 0.05
    statuses: Counter[int] = Counter()
    taken: list[float] = []
    ended = begin
    counted = 0

    async def one(number: int, due: float, connection: Connection) -> None:
        nonlocal ended, counted
        if connection.lost:
            _, connection = await loop.create_connection(Connection, host, port)
        status = await connection.ask(wires[number % len(wires)])
        ended = time.perf_counter()
        free.put_nowait(connection)
        if due >= begin + WARM_S:
            statuses[status] += 1
            taken.append(ended - due)
            counted += 1

    tasks: set[asyncio.Task[None]] = set()
    number = 0
    while (now := time.perf_counter()) < begin + seconds:
        due = begin + number / rate if rate else now
        if due > now:
            await asyncio.sleep(due - now)
        connection = await free.get()
        task = loop.create_task(one(number, due if rate else time.perf_counter(), connection))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
    await asyncio.gather(*tasks)
    waited = np.array(taken or [math.inf]) * 1000
    p50, p99 = np.percentile(waited, [50, 99], method="nearest").tolist()
    answered = counted / (ended - begin - WARM_S)
    return {"statuses": dict(statuses), "per_s": answered, "p50_ms": p50, "p99_ms": p99, "most_ms": float(waited.max())}


def _wire(host: str, path: str, body: str) -> bytes:
    data = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


if __name__ == "__main__":
    import uvloop

    give_way()
    print(json.dumps(uvloop.run(load(sys.argv[1], int(sys.argv[2]), json.load(sys.stdin)))))
