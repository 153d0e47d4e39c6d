"""GA4's Measurement Protocol: ``/mp/collect`` and, to try things out, ``/debug/mp/collect``. The key is ``api_secret``.

https://developers.google.com/analytics/devguides/collection/protocol/ga4
"""

import time
from typing import Final

from edge.compat.intake import Intake
from edge.replies import NO_STORE, Reply, json_reply
from edge.requests import Request
from featurestore.contract.trackers import ga4

WHY: Final = {
    "no_object": "an entry of events is no object",
    "no_session": "neither client_id nor session_id is there",
    "no_time": "there is no time",
    "no_action": "an event has no name",
}


class GA4:
    """Answers what sends to Google Analytics."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def collect(self, request: Request) -> Reply:
        """Events; the answer is empty, whatever became of them."""
        await self._take(request)
        return Reply(204, b"", (NO_STORE,))

    async def debug(self, request: Request) -> Reply:
        """The same, and the answer says what was left out."""
        left_out = await self._take(request)
        messages = [{"description": WHY.get(reason, reason), "validationCode": reason.upper()} for reason in left_out]
        return json_reply(200, {"validationMessages": messages})

    async def _take(self, request: Request) -> list[str]:
        payload = await self._intake.json(request)
        key = request.query.get("api_secret", "")
        mapped = await self._intake.take(request, key, payload, ga4, time.time_ns() // 1_000_000)
        return mapped.left_out
