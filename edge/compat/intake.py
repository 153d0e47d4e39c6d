"""What the three protocols share: a body of JSON, and mapped events on their way to Kafka."""

from collections.abc import Callable
from typing import Any

import msgspec

from edge import inbox
from edge.collector import Collector
from edge.gate import Gate
from edge.inbox import Envelope
from edge.problems import Problem
from edge.requests import Request
from edge.settings import EdgeSettings
from featurestore.contract.trackers import Mapped, encode

Map = Callable[[Any, int], Mapped]
"""A payload and when it arrived, epoch ms, to what it becomes."""


class Intake:
    """Reads payloads and hands over what they become."""

    def __init__(self, settings: EdgeSettings, gate: Gate, collector: Collector) -> None:
        self._settings = settings
        self._gate = gate
        self._collector = collector

    async def json(self, request: Request) -> Any:
        """The body as plain data, whatever its media type says: these clients send all sorts.

        Raises:
            Problem: 400, 408, 413, 415.
        """
        body = await request.body(self._settings.edge_body_kb * 1024, self._settings.edge_body_s)
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Problem(400, "not_json", "the body is not JSON in UTF-8") from None

    async def take(self, request: Request, key: str, payload: Any, mapping: Map, now_ms: int) -> Mapped:
        """Check the key, map the payload, and return once its events are safe.

        Raises:
            Problem: 401, 403, 413, 429, 503.
        """
        shop = self._gate.shop(request, key)
        mapped = mapping(payload, now_ms)
        if len(mapped.events) > self._settings.edge_events_most:
            raise Problem(
                413, "too_many_events", f"at most {self._settings.edge_events_most} events a request are read"
            )
        self._gate.charge(shop, request, "", len(mapped.events))
        private = request.header(b"sec-gpc") == "1"
        envelope = Envelope([msgspec.Raw(encode(made)) for made in mapped.events])
        taken = [one for _, one in inbox.take(envelope, "", private=private) if one is not None]
        await self._collector.keep(taken, len(mapped.events) - len(taken) + len(mapped.left_out))
        return mapped
