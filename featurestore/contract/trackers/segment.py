"""Segment's spec, which RudderStack, Jitsu and others share: calls of the HTTP API, one or a batch.

https://segment.com/docs/connections/spec/ecommerce/v2/ names the events; shops write the names in every casing.
"""

import re
from typing import Any, Final

from featurestore.contract.event import TYPE_CODE
from featurestore.contract.trackers.mapping import (
    MAX_TYPE,
    Mapped,
    basket,
    event,
    first_id,
    first_text,
    identifier,
    item,
    items_of,
    left_out,
    number,
    objects,
    page,
    session_of,
    text,
    time_ms,
    word,
    worth,
)

TYPES: Final = {
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
    "order refunded": "refund",
    "order cancelled": "refund",
    "promotion viewed": "view_promotion",
    "promotion clicked": "select_promotion",
    "signed in": "login",
    "signed up": "login",
    # The names of the first version of the spec, still sent by old plugins.
    "viewed product": "view_item",
    "viewed product category": "view_item_list",
    "searched products": "search",
    "added product": "add_to_cart",
    "removed product": "remove_from_cart",
    "viewed cart": "view_cart",
    "started order": "begin_checkout",
    "viewed checkout step": "begin_checkout",
    "completed checkout step": "add_shipping_info",
    "completed order": "purchase",
    "refunded order": "refund",
    "viewed promotion": "view_promotion",
    "clicked promotion": "select_promotion",
}
"""Names as `words` writes them."""

VIEWS: Final = ("page", "screen")
NO_ACTIONS: Final = ("identify", "group", "alias", "delete")
"""Calls that say who somebody is, not what they did."""

_ITEM: Final = {
    "item_id": ("product_id", "productId", "item_id", "sku", "id"),
    "category": ("category", "item_category"),
    "price": ("price",),
    "quantity": ("quantity",),
}
_DEVICES: Final = {"desktop": "desktop", "mobile": "mobile", "phone": "mobile", "tablet": "tablet"}
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_WORD: Final = re.compile(r"[\W_]+")


def words(name: str) -> str:
    """A name as lower-case words.

    >>> words("Product_Added"), words("  PRODUCT   added "), words("productAdded"), words("add_to_cart")
    ('product added', 'product added', 'product added', 'add to cart')
    """
    return _NO_WORD.sub(" ", _CAMEL.sub(" ", name)).strip().lower()


def kind_of(name: str) -> str:
    """The contract's type of an event's name; the name itself where it has none."""
    known = words(name)
    own = known.replace(" ", "_")
    return TYPES.get(known) or (own if own in TYPE_CODE else (known or name)[:MAX_TYPE])


def segment(payload: Any, received_ms: int | None = None) -> Mapped:
    """One call, a call under ``message``, or ``{"batch": [calls…], "sentAt": …}``.

    A session is ``anonymousId.sessionId``: a session id of Segment's is a time, and not unique. Without a session id it
    is the anonymous id, or the user id.

    Args:
        payload: decoded JSON.
        received_ms: when it arrived, epoch ms, for live traffic; None for a file.
    """
    if not isinstance(payload, dict):
        return left_out("no_object")
    if "batch" in payload and isinstance(payload["batch"], list):
        made = Mapped()
        shared = {name: payload[name] for name in ("sentAt", "receivedAt") if name in payload}
        for call in payload["batch"]:
            made.add(_call({**shared, **call}, received_ms) if isinstance(call, dict) else left_out("no_object"))
        return made
    if "message" in payload and "event" not in payload:
        inner = payload["message"]
        return _call(inner, received_ms) if isinstance(inner, dict) else left_out("no_object")
    return _call(payload, received_ms)


def _call(message: dict[str, Any], received_ms: int | None) -> Mapped:
    call = (text(message.get("type")) or "track").lower()
    if call in NO_ACTIONS:
        return Mapped(ignored=1)
    told = objects(message.get("properties"))
    name = text(message.get("event"))
    kind = "page_view" if call in VIEWS else kind_of(name) if name else None
    if kind is None:
        return left_out("no_action")
    context = objects(message.get("context"))
    browser = first_id(message.get("anonymousId"), message.get("userId"))
    visit = first_id(*(place.get(key) for place in (context, message, told) for key in ("sessionId", "session_id")))
    session = session_of(browser, visit)
    if session is None:
        return left_out("no_session")
    ts, sent_ts = _times(message, received_ms)
    if ts is None:
        return left_out("no_time")
    return Mapped([_event(session, kind, ts, sent_ts, message, context, told)])


def _event(
    session: str,
    kind: str,
    ts: int,
    sent_ts: int | None,
    message: dict[str, Any],
    context: dict[str, Any],
    told: dict[str, Any],
) -> dict[str, Any]:
    shown = objects(context.get("page"))
    sold = kind in {"purchase", "refund"}
    # A list of products on a list view or a checkout is what the event is about; only baskets count its units.
    items = items_of(told.get("products"), _ITEM) or [item(told, _ITEM)]
    value = next((n for key in ("revenue", "total", "value") if (n := number(told.get(key))) is not None), None)
    campaign = objects(context.get("campaign"))
    return event(
        session,
        kind,
        ts,
        sent_ts=sent_ts,
        event_id=identifier(first_id(message.get("messageId"), message.get("message_id"))),
        visitor_id=identifier(first_id(message.get("userId"), message.get("anonymousId"))),
        page=page(shown.get("url"), told.get("url"), shown.get("path"), told.get("path"), message.get("name")),
        currency=word(told.get("currency")),
        query=word(told.get("query"), 512),
        value=(worth(items) if value is None else value) if sold else None,
        transaction_id=identifier(first_id(told.get("order_id"), told.get("orderId"))) if sold else None,
        source=_source(campaign),
        device=_DEVICES.get((first_text(objects(context.get("device")).get("type")) or "").lower()),
        **basket(items),
    )


def _source(campaign: dict[str, Any]) -> str | None:
    """The contract's word for a campaign's medium; None where there is none."""
    medium = (text(campaign.get("medium")) or "").lower()
    if medium in {"cpc", "ppc", "paid", "paidsearch", "display", "banner", "affiliate"}:
        return "paid"
    return medium if medium in {"email", "social", "organic", "referral"} else None


def _times(message: dict[str, Any], received_ms: int | None) -> tuple[int | None, int | None]:
    """When it happened, and by the same clock when it was sent, where that is not corrected already.

    The service corrects ``timestamp`` by its own clock and keeps the sender's as ``originalTimestamp``. A file holds no
    time of receipt but ``receivedAt``, so that its times are corrected here.
    """
    corrected = time_ms(message.get("timestamp")) if "originalTimestamp" in message else None
    if corrected is not None:
        return corrected, None
    sent = time_ms(message.get("sentAt"))
    received = time_ms(message.get("receivedAt")) if received_ms is None else received_ms
    own = next((t for key in ("timestamp", "originalTimestamp") if (t := time_ms(message.get(key))) is not None), None)
    if own is None:
        return next((t for t in (received, sent) if t is not None), None), None
    if sent is None:
        return own, None
    if received_ms is not None:
        return own, sent
    return (own if received is None else max(own + received - sent, 0)), None
