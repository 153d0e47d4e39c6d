"""The API's description, OpenAPI 3.1, out of the types that the handlers read and write.

Every status that a route can answer with stands here; a test with generated requests holds the code to it.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import msgspec

from decisions.document import Decision
from edge.collector import Receipt
from edge.compat.segment import CALLS
from edge.exposures import Counted, Exposure
from edge.inbox import Verdict
from edge.problems import MEDIA_TYPE, ProblemDocument
from edge.readiness import Works
from edge.sessions import Renewal, Session
from featurestore.contract.event import Event

VERSION: Final = "1.0.0"
TYPES: Final = (Event, Decision, Exposure, Counted, Receipt, Verdict, Renewal, Session, Works, ProblemDocument)
_NAME: Final = "#/components/schemas/{name}"

WHY: Final = {
    400: "The body, the query or the encoding cannot be read",
    401: "No write key or token, or one that is not known, was forged or has expired",
    403: "A page of another origin, or a token of another session",
    404: "There is nothing here",
    405: "Another method",
    408: "The body did not arrive in time",
    410: "Consent for this session was withdrawn",
    413: "The body is too large, or holds too many events",
    415: "A media type or an encoding that is not read",
    422: "No event of the body is one of the contract; the verdicts say why",
    429: "More than the limits of the key, the address or the session; Retry-After says when",
    431: "The address and the headers are larger than 16 KB; the server says so itself, without a document",
    503: "Kafka or Redis is away, or too much is under way; nothing was kept, Retry-After says when to try again",
}
NO_HTTP: Final = "The request is not HTTP; the server says so itself, without a document"
LIMITED: Final = (400, 401, 403, 405, 429)
WITH_BODY: Final = (*LIMITED, 408, 413, 415, 503)
WITH_TOKEN: Final = (*WITH_BODY, 410)

EVENT_EXAMPLE: Final = {
    "type": "add_to_cart",
    "ts": 1_780_000_000_000,
    "event_id": "k3v9",
    "page": "/shoes/runner",
    "price": 79.0,
    "quantity": 1,
}
RECEIPT_EXAMPLE: Final = {
    "accepted": 1,
    "refused": 0,
    "now": 1_780_000_000_123,
    "verdicts": [{"status": "accepted"}],
}
SESSION_EXAMPLE: Final = {
    "session_id": "cs-3f1c90b7a2d84e55a8f0c6d21b7e9f04",
    "token": "demo.tflk00.cs-3f1c90b7a2d84e55a8f0c6d21b7e9f04.9w2k5A7v0o8uWJ3x4y5zQg",
    "expires_at": 1_780_086_400_000,
    "now": 1_780_000_000_000,
}
EXPOSURES_EXAMPLE: Final = {
    "exposures": [
        {"exposure_id": "5b1d0c2a9f3e4d77", "kind": "shown", "action": "timed-discount", "ts": 1_780_000_000_500}
    ],
    "token": "demo.tflk00.cs-3f1c90b7a2d84e55a8f0c6d21b7e9f04.9w2k5A7v0o8uWJ3x4y5zQg",
}
DECISION_EXAMPLE: Final = {
    "v": 2,
    "session_id": "cs-3f1c90b7a2d84e55a8f0c6d21b7e9f04",
    "stage": "Intent Buyer",
    "confidence": 0.972,
    "probabilities": [0.025, 0.0, 0.972, 0.003],
    "action": "timed-discount",
    "route": "act",
    "model": "journey-2",
    "policy": "24e3eabc",
    "event_ts": 1_780_000_000_000,
    "decided_at": 1_780_000_000_012,
    "source": "Fq3nyJkU",
    "seq": 1_795_840,
    "expires_at": 1_780_000_900_000,
    "outcomes": {"add_rest": 0.484, "order_rest": 0.444, "checkout_rest": 0.778, "exit_next": 0.035},
    "label": "10 % off your basket, valid for 15 minutes",
    "parameters": {"discount_percent": 10.0, "offer_minutes": 15.0, "expires_at": 1_780_000_900_000},
    "exposure_id": "5b1d0c2a9f3e4d77",
    "answer": "fresh",
    "age_ms": 41,
}

KEY: Final[dict[str, list[str]]] = {"key": []}
TOKEN: Final[dict[str, list[str]]] = {"key": [], "token": []}


@cache
def document() -> bytes:
    """The description as JSON."""
    return msgspec.json.encode(describe())


def describe() -> dict[str, Any]:
    """The description as plain data."""
    _, schemas = msgspec.json.schema_components(TYPES, ref_template=_NAME)
    schemas["EdgeDecision"] = _edge_decision()
    schemas["Events"] = _events()
    schemas["Exposures"] = _exposures()
    schemas["Success"] = {"type": "object", "required": ["success"], "properties": {"success": {"const": True}}}
    schemas["Anything"] = {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Clickstage edge",
            "version": VERSION,
            "description": "Events in, decisions out. Errors are problem documents (RFC 9457).",
        },
        "paths": _paths(),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "query", "name": "key", "description": "The shop's write key"},
                "token": {"type": "http", "scheme": "bearer", "description": "The session's token"},
                "basic": {"type": "http", "scheme": "basic", "description": "The write key is the user"},
            },
        },
    }


def _paths() -> dict[str, Any]:
    session = {
        "name": "session_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    }
    decision = {"$ref": "#/components/schemas/EdgeDecision"}
    return {
        "/v1/events": {
            "post": _operation(
                "Collect events",
                {202: ("Receipt", RECEIPT_EXAMPLE), 422: ("Receipt", None)},
                WITH_TOKEN,
                body=("Events", EVENT_EXAMPLE),
                parameters=[
                    _query("decide", "1: add the decision that these events lead to", {"enum": ["0", "1"]}),
                    _header("Sec-GPC", "1: the visitor id is left out", {"enum": ["0", "1"]}),
                ],
            )
        },
        "/v1/decide": {
            "post": _operation(
                "The decision that these events would lead to; they are sent nowhere",
                {200: (decision, {**DECISION_EXAMPLE, "answer": "inline", "provisional": True})},
                (*WITH_TOKEN, 422),
                body=("Events", EVENT_EXAMPLE),
            )
        },
        "/v1/decisions/{session_id}": {
            "parameters": [session],
            "get": {
                **_operation(
                    "The newest decision that may be shown, or the neutral one",
                    {200: (decision, DECISION_EXAMPLE), 304: (None, None)},
                    (*LIMITED, 410),
                    security=TOKEN,
                    parameters=[_header("If-None-Match", "The ETag of an earlier answer", {})],
                ),
            },
        },
        "/v1/decisions/{session_id}/events": {
            "parameters": [session],
            "get": _operation(
                "Every newer decision as it is written (server-sent events)",
                {200: ("text/event-stream", None), 204: (None, None)},
                (*LIMITED, 503),
                security=TOKEN,
                parameters=[
                    _query("token", "The token, for EventSource, which sends no headers", {}),
                    _header("Last-Event-ID", "source:seq of the newest decision seen", {}),
                ],
            ),
        },
        "/v1/exposures": {
            "post": _operation(
                "Report what was really shown, clicked or dismissed",
                {202: ("Counted", {"accepted": 1, "refused": 0})},
                (*WITH_TOKEN, 404),
                body=("Exposures", EXPOSURES_EXAMPLE),
            )
        },
        **_compatible(),
        **_operated(),
        "/v1/sessions": {
            "post": _operation(
                "Begin a session, or renew the token of one",
                {201: ("Session", SESSION_EXAMPLE)},
                WITH_TOKEN,
                body=("Renewal", {}),
                optional=True,
            )
        },
        "/v1/sessions/{session_id}": {
            "parameters": [session],
            "delete": _operation(
                "Withdraw consent: forget the session and refuse its token",
                {204: (None, None)},
                (*LIMITED, 503),
                security=TOKEN,
            ),
        },
    }


def _compatible() -> dict[str, Any]:
    """Other people's protocols; their bodies are described where they come from."""
    bad = (*WITH_BODY,)
    anything: tuple[str, Any] = ("Anything", {})
    basic: dict[str, list[str]] = {"basic": []}
    calls = {
        f"/v1/{call}": {
            "post": _operation(
                f"Segment's {meaning}", {200: ("Success", {"success": True})}, bad, body=anything, security=basic
            )
        }
        for call, meaning in CALLS.items()
    }
    secret = [_query("api_secret", "The shop's write key", {}), _query("measurement_id", "Not read", {})]
    collect = _operation("GA4's Measurement Protocol", {204: (None, None)}, bad, body=anything, parameters=secret)
    checked = _operation(
        "GA4's Measurement Protocol; the answer says what was left out",
        {200: ("Anything", {"validationMessages": []})},
        bad,
        body=anything,
        parameters=secret,
    )
    posted = _operation(
        "Snowplow's tracker protocol; aid is the write key", {200: ("text/plain", None)}, bad, body=anything
    )
    got = _operation(
        "Snowplow's tracker protocol, one event in the query",
        {200: ("image/gif", None)},
        (*LIMITED, 503),
        parameters=[_query("aid", "The shop's write key", {}), _query("e", "The kind of event", {})],
    )
    return {
        **calls,
        "/mp/collect": {"post": collect},
        "/debug/mp/collect": {"post": checked},
        "/com.snowplowanalytics.snowplow/tp2": {"post": posted},
        "/i": {"get": got},
    }


def _operated() -> dict[str, Any]:
    """What a deployment asks for."""
    return {
        "/v1/tracker.js": {
            "get": _operation(
                "The tracker", {200: ("text/javascript", None), 304: (None, None)}, (404, 405), security={}
            )
        },
        "/healthz": {
            "get": _operation("Is the process alive", {200: ("Anything", {"alive": True})}, (405,), security={})
        },
        "/readyz": {
            "get": _operation(
                "Does it take events, reach Kafka, decide: what works in every process",
                {200: ("Works", {"events": True, "kafka": True, "decisions": True}), 503: ("Works", None)},
                (405,),
                security={},
            )
        },
        "/metrics": {"get": _operation("Prometheus", {200: ("text/plain", None)}, (403, 405), security={})},
    }


def _operation(
    summary: str,
    good: Mapping[int, tuple[Any, Any]],
    bad: Sequence[int],
    *,
    body: tuple[str, Any] | None = None,
    optional: bool = False,
    security: Mapping[str, list[str]] = KEY,
    parameters: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    responses: dict[str, Any] = {str(status): {"description": WHY[status], "content": problem} for status in bad}
    responses.setdefault("400", {"description": NO_HTTP})
    responses["431"] = {"description": WHY[431]}
    for status, (name, example) in good.items():
        responses[str(status)] = {"description": WHY.get(status, "Done"), **_content(name, example)}
    operation: dict[str, Any] = {
        "summary": summary,
        "security": [dict(security)] if security else [],
        "parameters": list(parameters),
        "responses": dict(sorted(responses.items())),
    }
    if body is not None:
        name, example = body
        content = {"schema": {"$ref": f"#/components/schemas/{name}"}, "example": example}
        operation["requestBody"] = {"required": not optional, "content": {"application/json": content}}
    return operation


def _content(name: Any, example: Any) -> dict[str, Any]:
    if name is None:
        return {}
    if isinstance(name, str) and "/" in name:
        return {"content": {name: {"schema": {"type": "string"}}}}
    schema = name if isinstance(name, dict) else {"$ref": f"#/components/schemas/{name}"}
    media: dict[str, Any] = {"schema": schema}
    if example is not None:
        media["example"] = example
    return {"content": {"application/json": media}}


def _query(name: str, text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": text, "schema": {"type": "string", **schema}}


def _header(name: str, text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": text, "schema": {"type": "string", **schema}}


def _events() -> dict[str, Any]:
    """What a body of events may be; ``session_id`` may be left out where a token is given."""
    event = {"$ref": "#/components/schemas/Event"}
    envelope = {
        "type": "object",
        "required": ["events"],
        "properties": {
            "events": {"type": "array", "items": event},
            "sent_ts": {"type": "integer", "description": "The sender's clock as it sent, epoch ms"},
            "token": {"type": "string", "description": "The session's token"},
        },
    }
    return {"anyOf": [event, {"type": "array", "items": event}, envelope]}


def _exposures() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["exposures"],
        "properties": {
            "exposures": {"type": "array", "items": {"$ref": "#/components/schemas/Exposure"}},
            "sent_ts": {"type": "integer"},
            "token": {"type": "string", "description": "The session's token"},
        },
    }


def _edge_decision() -> dict[str, Any]:
    """The stored document with the edge's fields; a neutral one has no stage, source and seq."""
    text, whole = {"type": "string"}, {"type": "integer"}
    return {
        "type": "object",
        "required": ["v", "session_id", "action", "route", "label", "parameters", "exposure_id", "answer"],
        "properties": {
            "v": whole,
            "session_id": text,
            "action": text,
            "route": text,
            "stage": text,
            "source": text,
            "seq": whole,
            "expires_at": whole,
            "label": {**text, "description": "The action's label in the policy"},
            "parameters": {
                "type": "object",
                "properties": {
                    "discount_percent": {"type": "number"},
                    "offer_minutes": {"type": "number"},
                    "expires_at": whole,
                },
            },
            "exposure_id": {**text, "description": "Names this action in this session, for /v1/exposures"},
            "answer": {"enum": ["fresh", "last_known", "neutral", "inline"]},
            "age_ms": {**whole, "description": "Time since it was decided"},
            "behind_ms": {
                **whole,
                "description": "Age of the oldest event of this session that the worker has not applied",
            },
            "provisional": {"type": "boolean", "description": "The stream has not confirmed it yet"},
        },
    }
