"""Events of other trackers as events of the contract: Snowplow, Segment's spec (RudderStack too), GA4.

A row without a session, a time or an action is left out and counted in the log. Numbers that are none, or negative, are
left out of their event: other people's data is untidy, and a click with a broken price is still a click.
"""

import csv
import json
import logging
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from worker.trackers.rows import Click, click, json_lines, text_lines

log = logging.getLogger(__name__)

SNOWPLOW_TYPES: Final = {
    "product_view": "view_item",
    "list_view": "view_item_list",
    "list_click": "select_item",
    "add_to_cart": "add_to_cart",
    "remove_from_cart": "remove_from_cart",
    "checkout_step": "begin_checkout",
    "transaction": "purchase",
    "promo_view": "view_promotion",
    "promo_click": "select_promotion",
}
SEGMENT_TYPES: Final = {
    "product viewed": "view_item",
    "product clicked": "select_item",
    "product list viewed": "view_item_list",
    "product list filtered": "view_item_list",
    "products searched": "search",
    "product added": "add_to_cart",
    "product removed": "remove_from_cart",
    "product added to wishlist": "add_to_wishlist",
    "product shared": "share",
    "product reviewed": "view_reviews",
    "cart viewed": "view_cart",
    "cart shared": "share",
    "checkout started": "begin_checkout",
    "checkout step viewed": "begin_checkout",
    "checkout step completed": "add_shipping_info",
    "payment info entered": "add_payment_info",
    "order completed": "purchase",
    "promotion viewed": "view_promotion",
    "promotion clicked": "select_promotion",
}
_SNOWPLOW: Final = "com_snowplowanalytics_snowplow_ecommerce"
_ACTION: Final = f"unstruct_event_{_SNOWPLOW}_snowplow_ecommerce_action_1_0_0"


def snowplow(path: Path) -> Iterator[Click]:
    """Snowplow's enriched e-commerce events, CSV with a column a context."""
    with text_lines(path) as lines:
        yield from _sorted(path, (_of_snowplow(row) for row in csv.DictReader(lines)))


def segment(path: Path) -> Iterator[Click]:
    """Segment's ``track`` messages, one a line, bare or under ``message``; event names in any casing."""
    yield from _sorted(path, (_of_segment(row.get("message", row)) for _, row in json_lines(path)))


def ga4(path: Path) -> Iterator[Click]:
    """GA4 Measurement Protocol payloads, one a line; event names are the contract's already."""
    yield from _sorted(path, (made for _, row in json_lines(path) for made in _of_ga4(row)))


def _of_snowplow(row: dict[str, str]) -> Click | None:
    ts = _time(row.get("derived_tstamp"))
    mobile = _first(row.get("contexts_com_snowplowanalytics_snowplow_client_session_1_0_1"))
    session = row.get("domain_sessionid") or _text(mobile.get("sessionId"))
    action = _first(row.get(_ACTION))
    if ts is None or not session or not action:
        return None
    product = _first(row.get(f"contexts_{_SNOWPLOW}_product_1_0_0"))
    deal = _first(row.get(f"contexts_{_SNOWPLOW}_transaction_1_0_0"))
    kind = str(action.get("type"))
    return click(
        session,
        SNOWPLOW_TYPES.get(kind, kind),
        ts,
        event_id=row.get("event_id"),
        visitor_id=row.get("domain_userid"),
        page=_text(row.get("page_urlpath")),
        item_id=_text(product.get("id")),
        category=_text(product.get("category")),
        price=_number(product.get("price")),
        quantity=_whole(product.get("quantity")),
        currency=_text(product.get("currency")),
        value=_number(deal.get("revenue")),
        country=row.get("geo_country"),
    )


def _of_segment(message: dict[str, Any]) -> Click | None:
    context, told = _dict(message.get("context")), _dict(message.get("properties"))
    when = next((t for name in ("timestamp", "originalTimestamp", "sentAt") if (t := _time(message.get(name)))), None)
    names = (context.get("sessionId"), message.get("session_id"), message.get("anonymousId"), message.get("userId"))
    session = next((str(name) for name in names if name), None)
    if when is None or session is None:
        return None
    products = told.get("products")
    product = _dict(products[0]) if isinstance(products, list) and products else told
    kind = " ".join(str(message.get("event")).split()).lower()
    total = told.get("revenue") if told.get("revenue") is not None else told.get("total")
    return click(
        session,
        SEGMENT_TYPES.get(kind, kind[:64] or "click"),
        when,
        event_id=_text(message.get("messageId")),
        visitor_id=_text(message.get("userId") or message.get("anonymousId")),
        page=_text(_dict(context.get("page")).get("path")),
        item_id=_text(product.get("product_id")),
        category=_text(product.get("category")),
        price=_number(product.get("price")),
        quantity=_whole(product.get("quantity")),
        currency=_text(told.get("currency")),
        query=_text(told.get("query")),
        value=_number(total) if SEGMENT_TYPES.get(kind) == "purchase" else None,
    )


def _of_ga4(payload: dict[str, Any]) -> Iterator[Click | None]:
    micros = payload.get("timestamp_micros")
    visitor = payload.get("client_id") or payload.get("app_instance_id")
    for event in payload.get("events") or []:
        told = _dict(event.get("params"))
        session = told.get("session_id") or visitor
        if not session or not isinstance(micros, int):
            yield None
            continue
        items = told.get("items")
        item = _dict(items[0]) if isinstance(items, list) and items else told
        yield click(
            str(session),
            str(event.get("name"))[:64],
            micros // 1_000,
            visitor_id=_text(visitor),
            page=_text(told.get("page_location")),
            item_id=_text(item.get("item_id")),
            category=_text(item.get("item_category")),
            price=_number(item.get("price")),
            quantity=_whole(item.get("quantity")),
            currency=_text(told.get("currency")),
            query=_text(told.get("search_term")),
            value=_number(told.get("value")) if event.get("name") == "purchase" else None,
        )


def _sorted(path: Path, rows: Iterator[Click | None]) -> Iterator[Click]:
    all_rows = list(rows)
    clicks = [row for row in all_rows if row is not None]
    if len(clicks) < len(all_rows):
        log.warning(
            "%s: %d rows without a session, a time or an action are left out", path.name, len(all_rows) - len(clicks)
        )
    clicks.sort(key=lambda c: c.ts)
    yield from clicks


def _time(text: Any) -> int | None:
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1_000)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and 0 <= number <= 1e9 else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number <= 10_000 else None


def _text(value: Any) -> str | None:
    return None if value is None or isinstance(value, (dict, list)) else str(value)[:128]


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(text: str | None) -> dict[str, Any]:
    """The object, or the first of a list of them, in a JSON cell."""
    try:
        value = json.loads(text or "{}")
    except json.JSONDecodeError:
        return {}
    return _dict(value[0] if isinstance(value, list) and value else value)
