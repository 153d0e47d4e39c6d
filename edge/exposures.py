"""``POST /v1/exposures``: what was really shown, clicked or dismissed, to the topic ``exposures``.

A decision says what to show; only the page knows what was on the screen. The exposure id binds the report to the
session and the action: a report of another session's, or of an action that was made up, is refused.
"""

import time
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from edge.collector import json_body, kept
from edge.document import exposure_id
from edge.gate import Gate, bearer
from edge.problems import Problem
from edge.publisher import Publisher, Record
from edge.replies import Reply, json_reply
from edge.requests import Request
from edge.settings import EdgeSettings
from featurestore.contract.ids import IdKey

EXPOSURE_VERSION: Final = 1
_Word = Annotated[str, Meta(min_length=1, max_length=64)]


class Exposure(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One record of the topic ``exposures``; its key is the session id, hashed if the workers hash ids."""

    v: Annotated[int, Meta(ge=1, description="Version of this document")] = EXPOSURE_VERSION
    session_id: Annotated[str, Meta(max_length=128, description="May be left out of a report: it is the token's")] = ""
    exposure_id: Annotated[str, Meta(max_length=64, description="Of the decision that was shown")]
    kind: Annotated[
        Literal["shown", "clicked", "dismissed"], Meta(description="shown: half of it on the screen for a second")
    ]
    action: _Word
    slot: Annotated[str, Meta(max_length=64, description="Where on the page")] = ""
    ts: Annotated[int, Meta(ge=0, le=9_007_199_254_740_991, description="When, epoch ms")]
    received_at: Annotated[int, Meta(description="When the edge had it, epoch ms")] = 0


class Reports(msgspec.Struct):
    """A body of exposures."""

    exposures: list[msgspec.Raw]
    sent_ts: int | None = None
    token: str = ""


class Counted(msgspec.Struct):
    """The answer to exposures."""

    accepted: int
    refused: int


_reports: Final = msgspec.json.Decoder(Reports).decode
_exposure: Final = msgspec.json.Decoder(Exposure).decode


class Exposures:
    """Takes reports.

    Args:
        ids: of the workers: a report names the session as their decisions and summaries do, so that they can be joined.
    """

    def __init__(self, settings: EdgeSettings, gate: Gate, publisher: Publisher, ids: IdKey) -> None:
        self._settings = settings
        self._gate = gate
        self._publisher = publisher
        self._ids = ids

    async def report(self, request: Request) -> Reply:
        """See the module."""
        shop = self._gate.shop(request)
        if not self._settings.exposures_topic:
            raise Problem(404, "no_exposures", "this edge collects no exposures: exposures_topic is empty")
        json_body(request)
        body = await request.body(self._settings.edge_body_kb * 1024, self._settings.edge_body_s)
        try:
            reports = _reports(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Problem(400, "bad_body", 'the body is no {"exposures": [...]} in JSON') from None
        if len(reports.exposures) > self._settings.edge_events_most:
            raise Problem(413, "too_many_events", f"at most {self._settings.edge_events_most} exposures a request")
        session_id = (await self._gate.claim(bearer(request) or reports.token)).session_id
        self._gate.charge(shop, request, session_id, len(reports.exposures))
        records = self._records(reports, session_id)
        await kept(self._publisher, records)
        return json_reply(202, Counted(len(records), len(reports.exposures) - len(records)))

    def _records(self, reports: Reports, session_id: str) -> list[Record]:
        now = time.time_ns() // 1_000_000
        topic, name = self._settings.exposures_topic, self._ids.session(session_id)
        records = []
        for raw in reports.exposures:
            exposure = _read(raw)
            if exposure is None or exposure.session_id not in {"", session_id}:
                continue
            if exposure.exposure_id != exposure_id(session_id, exposure.action):
                continue
            told = msgspec.structs.replace(exposure, v=EXPOSURE_VERSION, session_id=name, received_at=now)
            records.append(Record(topic, name.encode(), msgspec.json.encode(told), now))
        return records


def json_schema() -> dict[str, Any]:
    """The document as JSON Schema (2020-12)."""
    schema: dict[str, Any] = msgspec.json.schema(Exposure)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Clickstage exposure",
        **schema["$defs"]["Exposure"],
    }


def _read(raw: msgspec.Raw) -> Exposure | None:
    try:
        return _exposure(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
