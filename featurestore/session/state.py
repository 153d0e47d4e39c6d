"""What an event does to the state of one session: compiled parts of the fold."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import inlined
from featurestore.contract.event import EVENT_TYPES, PASSIVE, TYPE_CODE
from featurestore.session.layout import MAX_EVENT_IDS, MAX_ORDERS, MAX_PAGES, N_GAPS, N_RECENT
from featurestore.session.visitors import bounce_rate, latest_segment, profile_at, remember_session

# Flags of a state.
LIVE: Final = 1
SILENT: Final = 2  # the silence row of the current gap has been emitted
IS_BOT: Final = 4
UPLOADED: Final = 8  # nothing but old events so far: the session is over as soon as somebody acts

REMEMBER_MS: Final = 86_400_000
"""Purchases and withdrawals are remembered so long after the session's last record."""

_IS_PASSIVE = np.array([name in PASSIVE for name in EVENT_TYPES])
_ADD = TYPE_CODE["add_to_cart"]
_REMOVE = TYPE_CODE["remove_from_cart"]
_PURCHASE = TYPE_CODE["purchase"]
_REFUND = TYPE_CODE["refund"]
_LOW = np.uint64(0xFFFF_FFFF)
_CHECKOUT_STEP = np.zeros(len(EVENT_TYPES), np.uint8)
for _step, _name in enumerate(("begin_checkout", "add_shipping_info", "add_payment_info", "purchase"), 1):
    _CHECKOUT_STEP[TYPE_CODE[_name]] = _step


@inlined
def begin(s: np.void, t: int, now: int) -> None:
    s["flags"] = LIVE
    s["t_min"] = t
    s["t_max"] = t
    s["last_int"] = t
    s["arrival"] = now
    s["int_arrival"] = now
    s["bounce"] = np.nan
    hours = t // 3_600_000
    s["first_hour"] = hours % 24
    s["first_weekday"] = (hours // 24 + 3) % 7


@inlined
def recognise(s: np.void, visitor: int, profiles: NDArray[np.void], index: int) -> None:
    """The session's visitor is known from now on. What it was shown before is the policy's to say."""
    s["visitor"] = visitor
    at = profile_at(profiles, visitor, index)
    if at >= 0:
        profile = profiles[at]
        s["visitor_sessions"] = profile["sessions"]
        s["bounce"] = bounce_rate(profile)
        s["visitor_segment"] = latest_segment(profile)


@inlined
def seen(s: np.void, e: np.void) -> bool:
    """Whether the session has had this event, or this purchase, already."""
    found = False
    if e["event_id"] != 0:
        for j in range(s["ids"]):
            found |= s["id_hashes"][j] == e["event_id"]
    if e["kind"] == _PURCHASE:
        for j in range(s["orders"]):
            known = s["order_hashes"][j]
            found |= (e["order"] != 0 and known == np.uint32(e["order"] & _LOW)) or (
                e["event_id"] != 0 and known == np.uint32(e["event_id"] & _LOW)
            )
    return found


@inlined
def apply_event(s: np.void, e: np.void, t: int, now: int, gap_cap_ms: int) -> int:
    """Count one event; returns whether its money was left out."""
    kind = e["kind"]
    s["offset"] = e["offset"]
    s["silences"] = 0
    s["t_min"] = min(s["t_min"], t)
    s["t_max"] = max(s["t_max"], t)
    s["arrival"] = max(s["arrival"], now)
    s["counts"][kind] = min(s["counts"][kind] + 1, 65_535)
    if not _IS_PASSIVE[kind]:
        gap = 0
        if s["num_clicks"] > 0:
            gap = min(max(t - s["last_int"], 0), gap_cap_ms)
            s["gap_sum"] = min(s["gap_sum"] + gap, 4_294_967_295)
            s["gaps"][s["gap_n"] % N_GAPS] = gap
            # At its largest it steps back by a whole turn of the ring.
            s["gap_n"] = s["gap_n"] + 1 if s["gap_n"] < 65_534 else 65_530
            s["last_int"] = max(s["last_int"], t)
        else:
            s["last_int"] = t
        s["int_arrival"] = max(s["int_arrival"], now)
        s["num_clicks"] = min(s["num_clicks"] + 1, 65_535)
        s["flags"] &= 255 - SILENT
        at = s["recent_at"]
        s["recent"][at] = kind + 1
        s["dwell"][at] = gap // 100
        s["recent_at"] = (at + 1) % N_RECENT
    if e["page"] != 0:
        known = False
        pages = s["page_hashes"]
        for j in range(s["pages"]):
            if pages[j] == e["page"]:
                known = True
                break
        if not known and s["pages"] < MAX_PAGES:
            pages[s["pages"]] = e["page"]
            s["pages"] += 1
    foreign = _money(s, e)
    s["checkout"] = max(s["checkout"], e["checkout"], _CHECKOUT_STEP[kind])
    s["scroll"] = max(s["scroll"], e["scroll"])
    if s["device"] == 0:
        s["device"] = e["device"]
    if s["source"] == 0:
        s["source"] = e["source"]
    if s["country"] == 0:
        s["country"] = e["country"]
    if e["category"] != 0:
        s["category"] = e["category"]
    if e["event_id"] != 0:
        s["id_hashes"][s["id_at"]] = e["event_id"]
        s["id_at"] = (s["id_at"] + 1) % MAX_EVENT_IDS
        s["ids"] = min(s["ids"] + 1, MAX_EVENT_IDS)
    return foreign


@inlined
def _priced(s: np.void, price: float) -> None:
    """One more price. The squares are Welford's, which lose nothing where prices are large and close together."""
    n = s["price_n"]
    if n == 0:
        s["price_min"] = price
    elif price != s["price_min"] or price != s["price_max"]:
        off = price - s["price_sum"] / n
        s["price_squares"] += off * off * (n / (n + 1))
    s["price_min"] = min(s["price_min"], price)
    s["price_max"] = max(s["price_max"], price)
    s["price_sum"] += price
    s["price_n"] = min(n + 1, 65_535)


@inlined
def _money(s: np.void, e: np.void) -> int:
    """Prices, cart, purchases and refunds; returns whether amounts were left out, being in a second currency."""
    kind = e["kind"]
    quantity = e["quantity"]
    price, value, amount = e["price"], e["value"], e["amount"]
    foreign = 0
    named = not (np.isnan(price) and np.isnan(value) and np.isnan(amount))
    if named and e["currency"] != 0:
        if s["currency"] == 0:
            s["currency"] = e["currency"]
        elif s["currency"] != e["currency"]:
            foreign = 1
            price, value, amount = np.nan, np.nan, np.nan
    if not np.isnan(price) and kind != _REFUND:
        _priced(s, price)
    worth = price * quantity if np.isnan(amount) else amount
    if kind == _ADD:
        s["cart_additions"] = min(s["cart_additions"] + quantity, 65_535)
        s["cart_items"] = min(s["cart_items"] + quantity, 65_535)
        if not np.isnan(worth):
            s["cart_value"] += worth
    elif kind == _REMOVE:
        s["cart_items"] = s["cart_items"] - min(s["cart_items"], quantity)
        if s["cart_items"] == 0:
            s["cart_value"] = 0.0
        elif not np.isnan(worth):
            s["cart_value"] = max(s["cart_value"] - worth, 0.0)
    elif kind == _PURCHASE:
        s["purchases"] = min(s["purchases"] + 1, 255)
        if not foreign:
            s["purchase_value"] += value if not np.isnan(value) else amount if not np.isnan(amount) else s["cart_value"]
        s["cart_items"] = 0
        s["cart_value"] = 0.0
        _remember_order(s, e)
    elif kind == _REFUND:
        if not np.isnan(value):
            s["refund_value"] += value
        elif not np.isnan(amount):
            s["refund_value"] += amount
    return foreign


@inlined
def _remember_order(s: np.void, e: np.void) -> None:
    order = e["order"] if e["order"] != 0 else e["event_id"]
    if order != 0:
        s["order_hashes"][s["order_at"]] = np.uint32(order & _LOW)
        s["order_at"] = (s["order_at"] + 1) % MAX_ORDERS
        s["orders"] = min(s["orders"] + 1, MAX_ORDERS)


@inlined
def bounced(s: np.void) -> bool:
    """Whether a visit saw one page and no more: at most one interaction, no purchase. Without a page nobody knows."""
    return bool(s["pages"] == 1 and s["num_clicks"] <= 1 and s["purchases"] == 0)


@inlined
def remember(profile: np.void, s: np.void, shown: int, segment: int) -> None:
    """Count a session that has ended in its visitor's profile. ``segment`` is a code, 0 for none."""
    remember_session(profile, s["session"] ^ np.uint64(s["t_min"]), s["t_max"], shown, bounced(s), segment)


@inlined
def end_state(states: NDArray[np.void], index: int, blank: NDArray[np.void]) -> None:
    """The session has ended; what may come again is remembered."""
    s = states[index]
    if s["orders"] == 0 and s["withdrawn"] == 0:
        forget(states, index, blank)
        return
    b = blank[0]
    b["orders"], b["order_at"], b["withdrawn"] = s["orders"], s["order_at"], s["withdrawn"]
    for j in range(MAX_ORDERS):
        b["order_hashes"][j] = s["order_hashes"][j]
    b["arrival"], b["t_min"], b["offset"] = s["arrival"], s["arrival"], s["offset"]
    forget(states, index, blank)
    b["orders"], b["order_at"], b["withdrawn"] = 0, 0, 0
    for j in range(MAX_ORDERS):
        b["order_hashes"][j] = 0
    b["arrival"], b["t_min"], b["offset"] = 0, 0, 0


@inlined
def forget(states: NDArray[np.void], index: int, blank: NDArray[np.void]) -> None:
    session = states[index]["session"]
    states[index] = blank[0]
    states[index]["session"] = session
