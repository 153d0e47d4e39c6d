"""A shop's event log as a table: a row each view, addition, removal and article of an order.

Shops publish such tables as CSV, Parquet or JSON lines. Names of columns and of types differ: `COLUMNS` and `TYPES`
have those that are in use, compared without regard to case, spaces and hyphens.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from featurestore.contract.event import TYPE_CODE
from featurestore.contract.trackers.mapping import (
    MAX_ITEMS,
    Event,
    basket,
    event,
    first_id,
    identifier,
    item,
    page,
    text,
    time_ms,
    worth,
)
from featurestore.contract.trackers.segment import kind_of, words
from featurestore.errors import SettingsError

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "ts": ("event_time", "timestamp", "ts", "event_timestamp", "time", "datetime"),
        "type": ("event_type", "event", "event_name", "type", "action"),
        "session": ("user_session", "session_id", "session", "visit_id"),
        "visitor": ("user_id", "visitor_id", "visitorid", "customer_id", "client_id"),
        "item_id": ("product_id", "item_id", "itemid", "sku", "aid"),
        "category": ("category_code", "category", "category_id", "categoryid"),
        "price": ("price", "item_price", "unit_price"),
        "quantity": ("quantity", "qty"),
        "page": ("page", "page_url", "url", "page_location"),
        "transaction_id": ("transaction_id", "transactionid", "order_id"),
    }
)
"""The columns that are read, each with the names that it has in shops' tables; the first that a row fills counts."""

TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "view": "view_item",
        "detail": "view_item",
        "product view": "view_item",
        "product page": "view_item",
        "catalog": "view_item_list",
        "home": "page_view",
        "wishlist add": "add_to_wishlist",
        "shipping details": "add_shipping_info",
        "payment details": "add_payment_info",
        "clicks": "view_item",
        "cart": "add_to_cart",
        "carts": "add_to_cart",
        "add": "add_to_cart",
        "addtocart": "add_to_cart",
        "add to basket": "add_to_cart",
        "remove": "remove_from_cart",
        "removefromcart": "remove_from_cart",
        "order": "purchase",
        "orders": "purchase",
        "buy": "purchase",
        "transaction": "purchase",
        "pageview": "page_view",
        "checkout": "begin_checkout",
    }
)
"""Names as `words` writes them; other names mean what they mean to Segment."""

_ITEM: Final[Mapping[str, tuple[str, ...]]] = {name: (name,) for name in ("item_id", "category", "price", "quantity")}


TYPE_HELP: Final = (
    "what a name of your own means in a table of events, for example payment_done=purchase; may be given several times"
)
"""Of the option ``--type``."""


def holds_shop_events(columns: Iterable[str]) -> bool:
    """Whether a table has the columns of a shop's event log: a time, a type, and a session or a visitor."""
    known = _known(tuple(columns))
    return bool(known["ts"] and known["type"] and (known["session"] or known["visitor"]))


def what_is_missing(columns: Iterable[str]) -> str:
    """Which columns of events a table lacks, and what they may be called, for messages."""
    known = _known(tuple(columns))
    lost = [
        f"no column for {what}, such as {', '.join(names)}"
        for what, names, there in (
            ("the time", COLUMNS["ts"], known["ts"]),
            ("the type of an event", COLUMNS["type"], known["type"]),
            (
                "the session or the visitor",
                (*COLUMNS["session"], *COLUMNS["visitor"]),
                [*known["session"], *known["visitor"]],
            ),
        )
        if not there
    ]
    return " and ".join(lost)


def own_types(told: Sequence[str]) -> dict[str, str]:
    """What a shop's own names mean, of ``NAME=TYPE`` each.

    Raises:
        SettingsError: not of that form, or no type of the contract.
    """
    found = {}
    for one in told:
        name, _, kind = one.rpartition("=")
        if not name or kind not in TYPE_CODE:
            raise SettingsError(f"--type {one}: say NAME=TYPE, with a TYPE of {', '.join(TYPE_CODE)}")
        found[words(name)] = kind
    return found


def shop_row(row: Mapping[str, Any], types: Mapping[str, str] = MappingProxyType({})) -> Event:
    """One row as an event; what it does not tell of session, type and time is left out, and the reader names it.

    A session without an id is that of its visitor. The page of a view is its article; where a table has neither pages
    nor articles, the event's name is the page.

    Args:
        row: cells by column.
        types: what the shop's own names mean, as `own_types` says, before `TYPES`.
    """
    known = _known(tuple(row))
    cells = {name: _first(row, names) for name, names in known.items()}
    session, visitor = first_id(cells["session"], cells["visitor"]), first_id(cells["visitor"])
    ts, name = time_ms(cells["ts"]), text(cells["type"])
    called = words(name) if name else ""
    kind = None if name is None else types.get(called) or TYPES.get(called) or kind_of(name)
    fields = basket([item(cells, _ITEM)])
    shown = page(cells["page"])
    if shown is None and kind == "view_item" and fields.get("item_id"):
        shown = page(f"/item/{fields['item_id']}")
    elif shown is None and name is not None and not known["page"] and not known["item_id"]:
        shown = page(f"/{name}")
    made = event(
        str(identifier(session)), kind or "", ts or 0, visitor_id=identifier(visitor), page=shown, **fields,
        transaction_id=identifier(first_id(cells["transaction_id"])) if kind == "purchase" else None,
    )  # fmt: skip
    for lost in [name for name, value in (("session_id", session), ("type", kind), ("ts", ts)) if value is None]:
        del made[lost]
    return made


def orders_as_one(rows: Iterable[tuple[int, Event]]) -> Iterator[tuple[int, Event]]:
    """The articles of an order as one purchase: rows of one session and time. It stands where its first row was.

    Counted apart, the second article would be "an order later in this visit" to the row of the first. So a later row of
    a session's order that is told by its ``transaction_id`` is left out.

    Args:
        rows: line number and event, as `shop_row` makes it.
    """
    orders: dict[str, list[Event]] = {}
    waiting: list[tuple[int, Event]] = []
    told: set[tuple[str, str]] = set()
    at: int | None = None
    for number, made in rows:
        if made.get("ts") != at:
            yield from _settled(waiting, orders)
            waiting, orders, at = [], {}, made.get("ts")
        session = made.get("session_id")
        if made.get("type") != "purchase" or session is None:
            waiting.append((number, made))
        elif session in orders:
            orders[session].append(made)
        elif (order := (session, made.get("transaction_id", ""))) not in told:
            told |= {order} if order[1] else set()
            orders[session] = [made]
            waiting.append((number, made))
    yield from _settled(waiting, orders)


def _settled(waiting: Iterable[tuple[int, Event]], orders: Mapping[str, list[Event]]) -> Iterator[tuple[int, Event]]:
    for number, made in waiting:
        rows = orders.get(made["session_id"], []) if made.get("type") == "purchase" and "session_id" in made else []
        if len(rows) < 2:
            yield number, made
            continue
        items = [{name: row[name] for name in _ITEM if name in row} for row in rows]
        rest = {("kind" if name == "type" else name): value for name, value in made.items() if name not in _ITEM}
        yield number, event(**rest, **basket(items[:MAX_ITEMS]), value=worth(items))


@lru_cache(maxsize=64)
def _known(columns: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The names of a table's columns, by what they hold, in the order of `COLUMNS`."""
    plain = {_plain(name): name for name in reversed(columns)}
    return {what: tuple(plain[name] for name in names if name in plain) for what, names in COLUMNS.items()}


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _first(row: Mapping[str, Any], names: Iterable[str]) -> Any:
    """The first cell that holds something. Programs that have read numbers write 123 as "123.0"; it is the same."""
    for name in names:
        value = row.get(name)
        if value is not None and value != "":
            return _whole(value)
    return None


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.removesuffix(".0") if isinstance(value, str) else value
