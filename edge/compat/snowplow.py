"""Snowplow's tracker protocol: ``POST /com.snowplowanalytics.snowplow/tp2`` and ``GET /i``. The key is the ``aid``.

https://docs.snowplow.io/docs/sources/trackers/snowplow-tracker-protocol/
"""

import base64
import time
from typing import Any, Final

from edge.compat.intake import Intake
from edge.replies import NO_STORE, Reply
from edge.requests import Request
from featurestore.contract.trackers import snowplow_tracker

PIXEL: Final = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""The transparent picture that an image tag waits for."""


class Snowplow:
    """Answers Snowplow's trackers."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def post(self, request: Request) -> Reply:
        """Some events."""
        payload = await self._intake.json(request)
        await self._intake.take(request, _app(payload), payload, snowplow_tracker, time.time_ns() // 1_000_000)
        return Reply(200, b"ok", (NO_STORE,), media_type="text/plain; charset=utf-8")

    async def get(self, request: Request) -> Reply:
        """One event in the query."""
        payload = dict(request.query)
        await self._intake.take(request, _app(payload), payload, snowplow_tracker, time.time_ns() // 1_000_000)
        return Reply(200, PIXEL, (NO_STORE,), media_type="image/gif")


def _app(payload: Any) -> str:
    """The application id, which all events of a request share."""
    entry = payload
    if isinstance(payload, dict) and isinstance(payload.get("data"), list) and payload["data"]:
        entry = payload["data"][0]
    named = entry.get("aid") if isinstance(entry, dict) else None
    return named if isinstance(named, str) else ""
