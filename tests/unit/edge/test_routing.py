"""Which endpoint a path leads to, and the life of the application."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from edge.requests import Receive, Scope, Send
from edge.routing import Application, Asgi, Routes


def _named(name: str) -> Asgi:
    async def endpoint(scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"name": name, **scope["path_params"]})

    return endpoint


TABLE = {path: _named(path) for path in ("/", "/v1/a", "/v1/a/{id}", "/v1/a/{id}/b", "/{file}")}


@pytest.mark.parametrize(
    ("path", "name", "parameters"),
    [
        ("/", "/", {}),
        ("/v1/a", "/v1/a", {}),
        ("/v1/a/7", "/v1/a/{id}", {"id": "7"}),
        ("/v1/a/7/b", "/v1/a/{id}/b", {"id": "7"}),
        ("/shop.js", "/{file}", {"file": "shop.js"}),
        ("/v1/a/", "unknown", {}),
        ("/v1/a//b", "unknown", {}),
        ("/v1/a/7/b/c", "unknown", {}),
        ("/v1/a/7/c", "unknown", {}),
        ("", "unknown", {}),
        ("//", "unknown", {}),
    ],
)
def test_a_path_leads_to_the_endpoint_whose_segments_it_has(path: str, name: str, parameters: dict[str, str]) -> None:
    assert asyncio.run(_answer(path)) == {"name": name, **parameters}


async def _answer(path: str) -> MutableMapping[str, Any]:
    @asynccontextmanager
    async def life() -> AsyncIterator[Routes]:
        yield Routes(TABLE, _named("unknown"))

    application = Application(life)
    assert await _lived(application, until="lifespan.startup") == ["lifespan.startup.complete"]
    told: list[MutableMapping[str, Any]] = []
    await application({"type": "http", "path": path}, _never, _into(told))
    return told[0]


async def _never() -> MutableMapping[str, Any]:
    raise AssertionError


def _into(told: list[MutableMapping[str, Any]]) -> Send:
    async def send(message: MutableMapping[str, Any]) -> None:
        told.append(message)

    return send


async def _lived(application: Application, *, until: str = "lifespan.shutdown") -> list[str]:
    """What the application tells its server, which asks for no more than that."""
    told: list[MutableMapping[str, Any]] = []
    kinds = ["lifespan.startup", "lifespan.shutdown"]
    messages = kinds[kinds.index(until) :: -1]

    async def receive() -> MutableMapping[str, Any]:
        if not messages:
            raise asyncio.CancelledError
        return {"type": messages.pop()}

    with contextlib.suppress(asyncio.CancelledError):
        await application({"type": "lifespan"}, receive, _into(told))
    return [message["type"] for message in told]


def test_what_is_behind_the_routes_is_ended_with_the_process() -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def life() -> AsyncIterator[Routes]:
        steps.append("began")
        yield Routes({}, _named("unknown"))
        steps.append("ended")

    told = asyncio.run(_lived(Application(life)))
    assert (steps, told) == (["began", "ended"], ["lifespan.startup.complete", "lifespan.shutdown.complete"])


def test_a_process_that_cannot_start_says_so_to_its_server() -> None:
    @asynccontextmanager
    async def life() -> AsyncIterator[Routes]:
        int("no number")
        yield Routes({}, _named("unknown"))

    assert asyncio.run(_lived(Application(life))) == ["lifespan.startup.failed"]
