"""Snowplow: rows of enriched events, and events of the tracker protocol as a browser or a server posts them.

https://docs.snowplow.io/docs/sources/trackers/snowplow-tracker-protocol/ names the fields; the e-commerce schemas are
`com.snowplowanalytics.snowplow.ecommerce`. Self-describing parts are found by the name of their schema in either form,
in whatever version.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from featurestore.contract.trackers.mapping import (
    MAX_TYPE,
    Mapped,
    basket,
    event,
    first_id,
    first_text,
    identifier,
    items_of,
    left_out,
    number,
    objects,
    page,
    text,
    time_ms,
    word,
    worth,
)

ACTIONS: Final = {
    "product_view": "view_item",
    "list_view": "view_item_list",
    "list_click": "select_item",
    "add_to_cart": "add_to_cart",
    "remove_from_cart": "remove_from_cart",
    "checkout_step": "begin_checkout",
    "transaction": "purchase",
    "refund": "refund",
    "promo_view": "view_promotion",
    "promo_click": "select_promotion",
}
"""Types of the e-commerce action."""

CALLS: Final = {"pv": "page_view", "pp": "page_ping", "page_view": "page_view", "page_ping": "page_ping"}
"""Event types of the protocol and of enriched rows that are no e-commerce action."""

_ITEM: Final = {"item_id": ("id",), "category": ("category",), "price": ("price",), "quantity": ("quantity",)}
_PARTS: Final = ("snowplow_ecommerce_action", "product", "transaction", "refund", "client_session", "screen_view")


def snowplow_enriched(row: Mapping[str, Any]) -> Mapped:
    """One enriched event: a column a field, contexts as JSON in cells (a warehouse export) or as objects.

    ``derived_tstamp`` is when it happened, corrected by the collector.
    """
    parts: dict[str, list[dict[str, Any]]] = {}
    for name, cell in row.items():
        if name and name.startswith(("contexts_", "unstruct_event_")):
            _collect(parts, _schema_of_column(name), _objects(cell))
    first = _first(parts, "client_session")
    session = first_id(row.get("domain_sessionid"), first.get("sessionId"))
    visitor = first_id(row.get("domain_userid"), first.get("userId"), row.get("network_userid"))
    times = (row.get("derived_tstamp"), row.get("collector_tstamp"))
    ts = next((t for stamp in times if (t := time_ms(stamp)) is not None), None)
    shown = page(row.get("page_url"), row.get("page_urlpath"))
    call = CALLS.get(first_text(row.get("event"), row.get("event_name")) or "")
    return _made(parts, call, session, visitor, ts, None, row.get("event_id"), shown, row.get("geo_country"))


def snowplow_tracker(payload: Any, received_ms: int | None = None) -> Mapped:
    """One event of the tracker protocol, or ``{"schema": …payload_data…, "data": [events…]}``.

    Args:
        payload: decoded JSON, or the parameters of a GET.
        received_ms: when it arrived, epoch ms; None where nobody knows.
    """
    if not isinstance(payload, dict):
        return left_out("no_object")
    if isinstance(payload.get("data"), list):
        made = Mapped()
        for entry in payload["data"]:
            made.add(_tracked(entry, received_ms) if isinstance(entry, dict) else left_out("no_object"))
        return made
    return _tracked(payload, received_ms)


def _tracked(told: dict[str, Any], received_ms: int | None) -> Mapped:
    parts: dict[str, list[dict[str, Any]]] = {}
    for plain, coded in (("ue_pr", "ue_px"), ("co", "cx")):
        for schema, data in _self_describing(_json(told.get(plain)) or _json(_decoded(told.get(coded)))):
            _collect(parts, schema, [data])
    first = _first(parts, "client_session")
    ts, sent = (time_ms(told.get(name)) for name in ("dtm", "stm"))
    if told.get("ttm") is not None:  # the true time: the sender vouches for it
        ts, sent = time_ms(told.get("ttm")), None
    session = first_id(told.get("sid"), first.get("sessionId"), told.get("duid"))
    visitor = first_id(told.get("uid"), told.get("duid"), first.get("userId"), told.get("tnuid"), told.get("nuid"))
    call = CALLS.get(text(told.get("e")) or "")
    ts = received_ms if ts is None else ts
    sent = sent if received_ms is not None else None
    return _made(
        parts, call, session, visitor, ts, sent, told.get("eid"), page(told.get("url"), told.get("page")), None
    )


def _made(
    parts: dict[str, list[dict[str, Any]]],
    call: str | None,
    session: str | None,
    visitor: str | None,
    ts: int | None,
    sent_ts: int | None,
    event_id: Any,
    shown: str | None,
    country: Any,
) -> Mapped:
    action = text(_first(parts, "snowplow_ecommerce_action").get("type"))
    kind = ACTIONS.get(action, action[:MAX_TYPE]) if action else "page_view" if "screen_view" in parts else call
    if kind is None:
        return left_out("no_action")
    if session is None:
        return left_out("no_session")
    if ts is None:
        return left_out("no_time")
    items = items_of(parts.get("product", []), _ITEM)
    deal = _first(parts, "transaction")
    back = _first(parts, "refund")
    value = number(deal.get("revenue")) if kind == "purchase" else None
    if kind == "refund":
        value = next(
            (n for n in (number(back.get("refund_amount")), number(deal.get("revenue"))) if n is not None), None
        )
    sold = kind in {"purchase", "refund"}
    currencies = (part.get("currency") for part in (*parts.get("product", []), deal, back))
    made = event(
        identifier(session) or session,
        kind,
        ts,
        sent_ts=sent_ts,
        event_id=identifier(first_id(event_id)),
        visitor_id=identifier(visitor),
        page=shown,
        currency=next((w for found in currencies if (w := word(found))), None),
        value=(worth(items) if value is None else value) if sold else None,
        transaction_id=identifier(first_id(deal.get("transaction_id"), back.get("transaction_id"))) if sold else None,
        country=word(country),
        **basket(items),
    )
    return Mapped([made])


def _collect(parts: dict[str, list[dict[str, Any]]], schema: str | None, found: list[dict[str, Any]]) -> None:
    if schema is not None and found:
        parts.setdefault(schema, []).extend(found)


def _first(parts: dict[str, list[dict[str, Any]]], name: str) -> dict[str, Any]:
    found = parts.get(name)
    return found[0] if found else {}


def _schema_of_column(name: str) -> str | None:
    """The part that a column of a warehouse holds: ``contexts_<vendor>_<name>_<version>``."""
    stem = name.rstrip("0123456789_")
    return next((part for part in _PARTS if stem.endswith("_" + part)), None)


def _schema_of_uri(uri: Any) -> str | None:
    """The part that ``iglu:vendor/name/format/version`` names."""
    pieces = (text(uri) or "").split("/")
    return pieces[1] if len(pieces) == 4 and pieces[1] in _PARTS else None


def _self_describing(value: Any) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Schema and data of an event's own part or of its contexts, both of which are wrapped once."""
    inner = objects(value).get("data")
    for part in inner if isinstance(inner, list) else [inner]:
        told = objects(part)
        yield _schema_of_uri(told.get("schema")), objects(told.get("data"))


def _objects(cell: Any) -> list[dict[str, Any]]:
    """The objects in a cell that holds one or a list of them."""
    value = _json(cell) if isinstance(cell, str) else cell
    return [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, dict) and part]


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _decoded(value: Any) -> str | None:
    """Base64 for URLs, padded or not."""
    if not isinstance(value, str):
        return None
    try:
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
