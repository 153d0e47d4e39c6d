"""Whatever a handler raises becomes a problem document, whether it answers at once or piece by piece."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from edge.batcher import Busy
from edge.gate import Gate
from edge.metrics import EdgeMetrics
from edge.problems import MEDIA_TYPE, Problem
from edge.replies import Endpoint, Handler, Reply, Streamer
from edge.requests import Receive, Request, Send
from edge.settings import EdgeSettings
from edge.shops import demo_shops, new_secret
from featurestore.errors import StoreUnavailable

RAISED: list[tuple[Exception, int, str]] = [
    (Problem(410, "withdrawn", "consent was withdrawn"), 410, ""),
    (StoreUnavailable("Redis does not answer"), 503, "1"),
    (Busy(), 503, "1"),
    (ZeroDivisionError("content of an event"), 500, ""),
]


def _gate(is_withdrawn: Callable[[str], Awaitable[bool]]) -> Gate:
    return Gate(EdgeSettings.load({}, {}), demo_shops(new_secret()), is_withdrawn)


async def _never(_session: str) -> bool:
    return False


async def _receive() -> MutableMapping[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(("error", "status", "retry_after"), RAISED)
def test_what_is_raised_becomes_a_problem_document(
    error: Exception, status: int, retry_after: str, streams: bool
) -> None:
    async def handler(_request: Request) -> Reply:
        raise error

    async def streamer(_request: Request, _send: Send, _receive: Receive, _cors: list[tuple[bytes, bytes]]) -> int:
        raise error

    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def run() -> None:
        handlers: dict[str, Handler] = {} if streams else {"GET": handler}
        streamers: dict[str, Streamer] = {"GET": streamer} if streams else {}
        endpoint = Endpoint("/x", _gate(_never), EdgeMetrics(), (), handlers, streamers)
        await endpoint({"type": "http", "method": "GET", "path": "/x", "headers": []}, _receive, send)

    asyncio.run(run())
    start, body = sent
    headers = dict(start["headers"])
    assert start["status"] == status
    assert headers[b"content-type"].decode() == MEDIA_TYPE
    assert headers.get(b"retry-after", b"").decode() == retry_after
    told = json.loads(body["body"])
    assert told["status"] == status
    assert "content of an event" not in body["body"].decode()


@pytest.mark.parametrize("error", [StoreUnavailable("Redis does not answer"), Busy()])
def test_a_token_counts_while_nobody_can_say_whether_its_session_was_withdrawn(error: Exception) -> None:
    """Redis is away, or too much waits for it: events are taken all the same."""

    async def unknown(_session: str) -> bool:
        raise error

    gate = _gate(unknown)
    token, _ = gate.issue("s1", 2**41)
    assert asyncio.run(gate.claim(token)).session_id == "s1"
