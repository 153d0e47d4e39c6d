"""Segment's HTTP API: ``/v1/batch``, ``/v1/track`` and the other calls.

The write key is the user of Basic authentication, or ``writeKey`` in the body.
https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

import base64
import binascii
import time
from typing import Any, Final

from edge.compat.intake import Intake
from edge.replies import Reply, json_reply
from edge.requests import Request
from featurestore.contract.trackers import segment

CALLS: Final = {
    "batch": "batch",
    "track": "track",
    "page": "page",
    "screen": "screen",
    "identify": "identify",
    "group": "group",
    "alias": "alias",
    # what Segment's script for browsers calls them
    "t": "track",
    "p": "page",
    "i": "identify",
    "g": "group",
    "a": "alias",
}
"""The last part of the address, and the call that it makes."""


class Segment:
    """Answers Segment's clients."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def call(self, request: Request) -> Reply:
        """One call, or a batch of them."""
        payload = await self._intake.json(request)
        key = _user(request.header(b"authorization"))
        if isinstance(payload, dict):
            key = key or _text(payload.get("writeKey"))
            call = CALLS[request.path.rpartition("/")[2]]
            if call != "batch":
                payload = {**payload, "type": call}
        await self._intake.take(request, key, payload, segment, time.time_ns() // 1_000_000)
        return json_reply(200, {"success": True})


def _user(authorization: str) -> str:
    scheme, _, coded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(coded.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
