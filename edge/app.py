"""The ASGI application: routes, life, and what a deployment asks for (health, readiness, metrics, API description)."""

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from edge import openapi
from edge.compat.segment import CALLS
from edge.problems import Problem
from edge.replies import Endpoint, Handler, Reply, Streamer, json_reply
from edge.requests import Request
from edge.routing import Application, Routes
from edge.service import Service
from edge.settings import METRICS_DIRECTORY, EdgeSettings
from edge.static import Storefront

TRACKER: Final = Path(__file__).parent / "tracker" / "dist" / "clickstage.js"
SNOWPLOW_POST: Final = "/com.snowplowanalytics.snowplow/tp2"
SNOWPLOW_GET: Final = "/i"
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def application() -> Application:
    """The application as the environment describes it; what the server's processes run."""
    return create(EdgeSettings.load({}, os.environ))


def create(settings: EdgeSettings) -> Application:
    """The application for these settings."""

    @asynccontextmanager
    async def life() -> AsyncIterator[Routes]:
        service = Service(settings, os.environ.get(METRICS_DIRECTORY, ""))
        table = _Table(service)
        try:
            yield Routes(table.endpoints(), table.endpoint("other", {}, unknown=True))
        finally:
            await service.close()

    return Application(life)


class _Table:
    """The table of routes over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._metrics_from = service.settings.metrics_from

    def endpoints(self) -> dict[str, Endpoint]:
        """The endpoint of each address or pattern."""
        service = self._service
        table: dict[str, dict[str, Handler]] = {
            "/v1/events": {"POST": service.collector.events},
            "/v1/decide": {"POST": service.collector.decide},
            "/v1/decisions/{session_id}": {"GET": service.reading.decision},
            "/v1/sessions": {"POST": service.sessions.begin},
            "/v1/sessions/{session_id}": {"DELETE": service.sessions.end},
            "/v1/exposures": {"POST": service.exposures.report},
            **{f"/v1/{call}": {"POST": service.segment.call} for call in CALLS},
            "/mp/collect": {"POST": service.ga4.collect},
            "/debug/mp/collect": {"POST": service.ga4.debug},
            SNOWPLOW_POST: {"POST": service.snowplow.post},
            SNOWPLOW_GET: {"GET": service.snowplow.get},
            "/v1/tracker.js": {"GET": _tracker},
            "/healthz": {"GET": _alive},
            "/readyz": {"GET": self._ready},
            "/metrics": {"GET": self._metrics},
            "/openapi.json": {"GET": _openapi},
        }
        if service.explaining is not None:
            shop = Storefront()
            table["/v1/sessions/{session_id}/explain"] = {"GET": service.explaining.explain}
            table["/"] = table["/{file}"] = {"GET": shop.file}
        endpoints = {
            path: self.endpoint(path, handlers, credentials=path in {SNOWPLOW_POST, SNOWPLOW_GET})
            for path, handlers in table.items()
        }
        stream = "/v1/decisions/{session_id}/events"
        return {**endpoints, stream: self.endpoint(stream, {}, {"GET": service.push.events})}

    def endpoint(
        self,
        route: str,
        handlers: dict[str, Handler],
        streamers: dict[str, Streamer] | None = None,
        *,
        unknown: bool = False,
        credentials: bool = False,
    ) -> Endpoint:
        """The endpoint of a route; an unknown one answers every method with 404."""
        service = self._service
        if unknown:
            handlers = dict.fromkeys(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"), _unknown)
        hops = service.settings.trusted_hops
        return Endpoint(route, service.gate, service.metrics, hops, handlers, streamers, credentials=credentials)

    async def _ready(self, request: Request) -> Reply:
        works = self._service.readiness.of_all(self._service.works())
        # A process that has reached Kafka is about to decide: traffic should wait for that.
        return json_reply(200 if works.events and works.decisions >= works.kafka else 503, works)

    async def _metrics(self, request: Request) -> Reply:
        address = request.ip()
        if address is None or not any(address in network for network in self._metrics_from):
            raise Problem(403, "metrics", "metrics are for the networks of edge_metrics_from")
        return Reply(200, self._service.metrics.page(), media_type=METRICS_TYPE)


async def _alive(_request: Request) -> Reply:
    return json_reply(200, {"alive": True})


async def _unknown(_request: Request) -> Reply:
    raise Problem(404, "no_such_address", "there is nothing here; /openapi.json lists what there is")


async def _openapi(_request: Request) -> Reply:
    return Reply(200, openapi.document(), (("Cache-Control", "public, max-age=300"),))


async def _tracker(request: Request) -> Reply:
    try:
        script = TRACKER.read_bytes()
    except OSError:
        raise Problem(404, "no_tracker", "the tracker is not built here: make tracker") from None
    tag = f'"{hashlib.blake2b(script, digest_size=12).hexdigest()}"'
    headers = (("Cache-Control", "public, max-age=3600"), ("ETag", tag))
    if request.header(b"if-none-match") == tag:
        return Reply(304, b"", headers)
    return Reply(200, script, headers, media_type="text/javascript; charset=utf-8")
