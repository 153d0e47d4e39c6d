"""The ASGI application around endpoints: which one a path leads to, and the life of a process. No framework.

A path is an address, or a pattern whose segments may be parameters: ``/v1/sessions/{session_id}``. Addresses without
parameters are found in one step. A parameter matches any segment that is not empty.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

from edge.requests import Receive, Scope, Send

log = logging.getLogger(__name__)

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
OPEN: Final = "{"


class Routes:
    """Finds the endpoint of a path.

    Args:
        endpoints: by address or pattern; of two patterns that fit, the first.
        unknown: for every other path.
    """

    def __init__(self, endpoints: Mapping[str, Asgi], unknown: Asgi) -> None:
        self._addresses = {path: endpoint for path, endpoint in endpoints.items() if OPEN not in path}
        self._patterns = [(path.split("/"), endpoint) for path, endpoint in endpoints.items() if OPEN in path]
        self._unknown = unknown

    def find(self, path: str) -> tuple[Asgi, dict[str, str]]:
        """The endpoint, and the parameters by name."""
        endpoint = self._addresses.get(path)
        if endpoint is not None:
            return endpoint, {}
        segments = path.split("/")
        for pattern, endpoint in self._patterns:
            if len(pattern) == len(segments):
                pairs = list(zip(pattern, segments, strict=True))
                if all(told if name[:1] == OPEN else name == told for name, told in pairs):
                    return endpoint, {name[1:-1]: told for name, told in pairs if name[:1] == OPEN}
        return self._unknown, {}


class Application:
    """What the server calls.

    Args:
        life: makes the routes, on the event loop that serves requests, and ends what is behind them.
    """

    def __init__(self, life: Callable[[], AbstractAsyncContextManager[Routes]]) -> None:
        self._life = life
        self._routes: Routes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._routes is not None:
            endpoint, scope["path_params"] = self._routes.find(scope["path"])
            await endpoint(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        life = self._life()
        try:
            self._routes = await life.__aenter__()
        except Exception as error:
            log.exception("the edge cannot start", extra={"error_class": type(error).__name__})
            await send({"type": "lifespan.startup.failed", "message": type(error).__name__})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await life.__aexit__(None, None, None)
        await send({"type": "lifespan.shutdown.complete"})
