"""GA4: Measurement Protocol payloads.

https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference describes the payload. An event's
own ``timestamp_micros`` counts before the payload's; without either, the time of receipt does.
"""

from typing import Any, Final

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
    micros_ms,
    number,
    objects,
    page,
    session_of,
    text,
    word,
    worth,
)

TYPES: Final = {
    "ecommerce_purchase": "purchase",
    "in_app_purchase": "purchase",
    "purchase_refund": "refund",
    "view_search_results": "search",
    "screen_view": "page_view",
    "present_offer": "view_promotion",
    "checkout_progress": "begin_checkout",
    "generate_lead": "contact",
    "sign_up": "login",
}
"""Names that GA4 and Firebase use beside those of the contract, which are GA4's own."""

DEVICES: Final = {"desktop": "desktop", "mobile": "mobile", "tablet": "tablet"}
_ITEM: Final = {
    "item_id": ("item_id", "id", "product_id"),
    "category": ("item_category", "category"),
    "price": ("price",),
    "quantity": ("quantity",),
}


def ga4(payload: Any, received_ms: int | None = None) -> Mapped:
    """One payload: ``{"client_id": …, "events": [{"name": …, "params": {…}}, …]}``.

    A session is ``client_id.session_id``: GA4's session id is the second in which a visit began, and not unique.
    Without a client id, the user's id stands for it; where there is none either, nobody knows whose visit it is.

    Args:
        payload: decoded JSON.
        received_ms: when it arrived, epoch ms; None where nobody knows.
    """
    if not isinstance(payload, dict):
        return left_out("no_object")
    events = payload.get("events")
    if not isinstance(events, list):
        return left_out("no_action")
    made = Mapped()
    for entry in events:
        made.add(_event(payload, entry, received_ms) if isinstance(entry, dict) else left_out("no_object"))
    return made


def _event(payload: dict[str, Any], entry: dict[str, Any], received_ms: int | None) -> Mapped:
    params = objects(entry.get("params"))
    name = text(entry.get("name"))
    visitor = first_id(payload.get("client_id"), payload.get("app_instance_id"))
    who = visitor or first_id(payload.get("user_id"))
    session = session_of(who, first_id(params.get("session_id"), params.get("ga_session_id")))
    stamps = (entry.get("timestamp_micros"), params.get("timestamp_micros"), payload.get("timestamp_micros"))
    ts = next((t for stamp in stamps if (t := micros_ms(stamp)) is not None), received_ms)
    if name is None:
        return left_out("no_action")
    if session is None:
        return left_out("no_session")
    if ts is None:
        return left_out("no_time")
    kind = TYPES.get(name, name[:MAX_TYPE])
    items = items_of(params.get("items"), _ITEM) or [item(params, _ITEM)]
    sold = kind in {"purchase", "refund"}
    value = number(params.get("value"))
    made = event(
        session,
        kind,
        ts,
        visitor_id=identifier(first_id(payload.get("user_id"), visitor)),
        page=page(params.get("page_location"), params.get("page_path"), params.get("firebase_screen")),
        currency=word(params.get("currency")),
        query=word(params.get("search_term"), 512),
        value=(worth(items) if value is None else value) if sold else None,
        transaction_id=identifier(first_id(params.get("transaction_id"))) if sold else None,
        scroll_depth=_percent(params.get("percent_scrolled")),
        device=DEVICES.get((first_text(objects(payload.get("device")).get("category")) or "").lower()),
        country=word(objects(payload.get("user_location")).get("country_id")),
        **basket(items),
    )
    return Mapped([made])


def _percent(value: Any) -> float | None:
    found = number(value)
    return found if found is not None and found <= 100 else None
