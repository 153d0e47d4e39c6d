"""A third party's synthetic shop as events of the contract: `shop_synthetic_ecom` (Apache-2.0, of retentioneering)."""

import csv
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from models.simulator.simulator import SimEvent

FILE: Final = "shop_synthetic_ecom.csv.gz"
TYPES: Final = {
    "home": "page_view",
    "catalog": "view_item_list",
    "product_view": "view_item",
    "search": "search",
    "filter_results": "select_item",
    "promo_page": "select_promotion",
    "wishlist_add": "add_to_wishlist",
    "add_to_cart": "add_to_cart",
    "cart": "view_cart",
    "shipping_details": "add_shipping_info",
    "payment_details": "add_payment_info",
    "purchase": "purchase",
    "account_page": "login",
    "support_chat": "contact",
    "review_page": "view_reviews",
    "compare": "compare",
}
"""The shop's event names in the contract's words; the others, its error pages, count as clicks."""
_SOURCES: Final = {"paid_search": "paid"}


def load_shop_log(path: Path) -> list[SimEvent]:
    """The events, in the order of their time.

    Raises:
        OSError, KeyError: it is not that file.
    """
    events: list[SimEvent] = []
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            at = datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
            t = int(at.timestamp()) * 1000
            channel = row["acquisition_channel"]
            event = {
                "session_id": row["session_id"],
                "visitor_id": row["user_id"],
                "event_id": str(number),
                "type": TYPES.get(row["event"], "click"),
                "page": f"/{row['event']}",
                "ts": t,
                "device": row["platform"],
                "source": _SOURCES.get(channel, channel),
            }
            events.append((row["session_id"].encode(), json.dumps(event).encode(), t))
    return sorted(events, key=lambda event: event[2])
