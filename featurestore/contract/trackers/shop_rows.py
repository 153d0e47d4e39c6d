"""A shop's event log as a table: a row each view, addition, removal and article of an order.

Columns are ``event_time``, ``event_type``, ``product_id``, ``category_code`` (or ``category``, ``category_id``),
``price``, ``user_id`` and ``user_session``. Shops publish such tables as CSV. The names of types are short: "view",
"cart".
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from featurestore.contract.files import Left, csv_rows
from featurestore.contract.trackers.mapping import (
    MAX_ITEMS,
    WHY,
    Event,
    Mapped,
    basket,
    event,
    first_id,
    identifier,
    item,
    left_out,
    page,
    text,
    time_ms,
    worth,
)
from featurestore.contract.trackers.segment import kind_of, words
from featurestore.errors import SettingsError

COLUMNS: Final = ("event_time", "event_type", "user_session")
"""What a table must have."""
TYPES: Final = {
    "view": "view_item",
    "cart": "add_to_cart",
    "remove": "remove_from_cart",
    "order": "purchase",
    "transaction": "purchase",
}
"""Names as `words` writes them; other names mean what they mean to Segment."""
_ITEM: Final = {
    "item_id": ("product_id",),
    "category": ("category_code", "category", "category_id"),
    "price": ("price",),
    "quantity": ("quantity",),
}


def shop_row(row: Mapping[str, Any]) -> Mapped:
    """One row; a session without an id is that of its user, and the page of a view is its article."""
    session, visitor = first_id(row.get("user_session"), row.get("user_id")), first_id(row.get("user_id"))
    ts, name = time_ms(row.get("event_time")), text(row.get("event_type"))
    if session is None:
        return left_out("no_session")
    if ts is None:
        return left_out("no_time")
    if name is None:
        return left_out("no_action")
    kind = TYPES.get(words(name)) or kind_of(name)
    fields = basket([item({**row, "product_id": _whole(row.get("product_id"))}, _ITEM)])
    shown = page(f"/item/{fields['item_id']}") if kind == "view_item" and fields.get("item_id") else None
    return Mapped([event(str(identifier(session)), kind, ts, visitor_id=identifier(visitor), page=shown, **fields)])


def shop_events(path: Path, left: Left) -> Iterator[Event]:
    """The events of a file, ``.gz`` too, in its order.

    Raises:
        SettingsError: it has not the columns, or too many rows are no events.
    """
    return _orders_as_one(_events(path, left))


def _events(path: Path, left: Left) -> Iterator[Event]:
    for number, row in csv_rows(path, left):
        missing = [name for name in COLUMNS if name not in row]
        if missing:
            raise SettingsError(
                f"{path}: has no column {missing[0]!r}; a shop's event log has {', '.join(COLUMNS)}, and may have "
                "product_id, category_code, price and user_id"
            )
        made = shop_row(row)
        for reason in made.left_out:
            left.out(number, WHY[reason])
        yield from made.events


def _orders_as_one(events: Iterable[Event]) -> Iterator[Event]:
    """The articles of an order as one purchase: rows of one session and time. It stands where its first row was.

    Counted apart, the second article would be "an order later in this visit" to the row of the first.
    """
    orders: dict[str, list[Event]] = {}
    waiting: list[Event] = []
    at: int | None = None
    for made in events:
        if made["ts"] != at:
            yield from _settled(waiting, orders)
            waiting, orders, at = [], {}, made["ts"]
        session = made["session_id"]
        if made["type"] == "purchase":
            orders.setdefault(session, []).append(made)
        if made["type"] != "purchase" or len(orders[session]) == 1:
            waiting.append(made)
    yield from _settled(waiting, orders)


def _settled(waiting: Iterable[Event], orders: Mapping[str, list[Event]]) -> Iterator[Event]:
    for made in waiting:
        rows = orders.get(made["session_id"], []) if made["type"] == "purchase" else []
        if len(rows) < 2:
            yield made
            continue
        items = [{name: row[name] for name in _ITEM if name in row} for row in rows]
        rest = {("kind" if name == "type" else name): value for name, value in made.items() if name not in _ITEM}
        yield event(**rest, **basket(items[:MAX_ITEMS]), value=worth(items))


def _whole(value: Any) -> Any:
    """Programs that have read numbers write 123 as "123.0"; the article is the same."""
    return value.removesuffix(".0") if isinstance(value, str) else value
