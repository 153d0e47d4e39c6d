"""The wide view of a session: everything the state keeps that an outcome can depend on, as named numbers.

`WIDE` names the columns, in order; `wide` computes them, and the fold computes the same row beside each observation
when a head asks for it. Every value is finite and a float32, so that a tree's thresholds mean the same wherever it is
evaluated; what is not known is -1. Columns are only appended: a new meaning takes a new name, and `WIDE_VERSION`
counts the changes of both.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.columns.jit import compiled, inlined
from featurestore.contract.event import EVENT_TYPES, TYPE_CODE

WIDE_VERSION: Final = 1

LAST_TYPES: Final = 4
LAST_GAPS: Final = 3
NEVER: Final = 99.0
"""``since_add`` of a session without an addition among its last interactions."""

COUNTED: Final = tuple(name for name in EVENT_TYPES[:25] if name not in {"session_start", "view_promotion"})
"""Event types with a count of their own. The first is always 1, the second is nobody's act; later types came later."""

WIDE: Final[tuple[str, ...]] = (
    "duration_s",  # newest minus oldest event
    "clicks",  # interactions
    "pages",  # distinct pages, exact up to 64
    "clicks_per_s",  # clicks / max(duration_s, 1)
    "clicks_per_page",  # clicks / max(pages, 1)
    "gap_mean_s",  # mean gap between consecutive interactions
    "idle_s",  # mean of the last five gaps; in silence the open gap counts as the latest
    "silent_s",  # the open gap in silence; 0 at an event
    *(
        f"gap_{k}_s" for k in range(1, LAST_GAPS + 1)
    ),  # the last gaps, newest first; -1 for gaps that the session has not had yet
    "cart_additions",  # items ever added
    "cart_items",  # items in the cart now
    "cart_value",  # their price
    "checkout_step",  # the furthest step reached, 0 to 4 (or what the shop numbers)
    "purchases",  # orders
    "purchase_value",  # their value
    "since_add",  # interactions since the last addition; NEVER without one among the last sixteen
    *(f"type_{k}" for k in range(1, LAST_TYPES + 1)),  # codes of the last interactions' types, newest first; -1
    *(f"n_{name}" for name in COUNTED),  # events of the type, up to 255
    "scroll",  # deepest scroll, percent
    "price_n",  # events with a price
    "price_mean",  # of those prices; -1 without one
    "price_sd",
    "price_min",
    "price_max",
    "bounce_rate",  # of the visitor's last ten sessions; -1 for an unknown visitor
    "visitor_sessions",  # the visitor's finished sessions
    "device",  # codes of `events.DEVICES` and `events.SOURCES`
    "source",
    "hour",  # UTC, of the first event
    "weekday",  # Monday is 0
)
N_WIDE: Final = len(WIDE)

CART_COLUMNS: Final = frozenset(
    {
        "cart_additions",
        "cart_items",
        "cart_value",
        "checkout_step",
        "purchases",
        "purchase_value",
        "since_add",
        *(f"type_{k}" for k in range(1, LAST_TYPES + 1)),
        "n_add_to_cart",
        "n_remove_from_cart",
        "n_view_cart",
        "n_begin_checkout",
        "n_add_shipping_info",
        "n_add_payment_info",
        "n_purchase",
    }
)
"""Columns that say, alone, what is or was in the cart or the checkout."""

TOTALS: Final = frozenset({"duration_s", "clicks", "pages", "clicks_per_s", "clicks_per_page"})
"""Totals over all events: less the counts that are left, they tell how many cart and checkout events there were."""

_COUNTED_CODES: Final = np.array([TYPE_CODE[name] for name in COUNTED])
_ADD: Final = TYPE_CODE["add_to_cart"]


def wide(states: NDArray[np.void]) -> NDArray[np.float64]:
    """The wide view of each session as after its last event; shape (n, `N_WIDE`)."""
    out = np.empty((states.size, N_WIDE))
    _wide(states, out)
    return out


@compiled
def _wide(states: NDArray[np.void], out: NDArray[np.float64]) -> None:
    for i in range(states.size):
        wide_row(states[i], -1, out, i)


@inlined
def wide_row(s: np.void, open_gap: int, out: NDArray[np.float64], m: int) -> None:
    """Row ``m``: session ``s`` with an open gap of ``open_gap`` ms, -1 at an event. For compiled code."""
    row = out[m]
    clicks = s["num_clicks"]
    pages = s["pages"]
    duration = (s["t_max"] - s["t_min"]) / 1000.0
    row[0] = duration
    row[1] = clicks
    row[2] = pages
    row[3] = clicks / max(duration, 1.0)
    row[4] = clicks / max(pages, 1)
    at = _gaps(s, open_gap, row)
    row[at] = s["cart_additions"]
    row[at + 1] = s["cart_items"]
    row[at + 2] = s["cart_value"]
    row[at + 3] = s["checkout"]
    row[at + 4] = s["purchases"]
    row[at + 5] = s["purchase_value"]
    at = _recent(s, row, at + 6)
    for j in range(_COUNTED_CODES.size):
        row[at + j] = min(s["counts"][_COUNTED_CODES[j]], 255)
    at += _COUNTED_CODES.size
    row[at] = s["scroll"]
    at = _prices(s, row, at + 1)
    bounce = s["bounce"]
    row[at] = bounce if not np.isnan(bounce) else -1.0
    row[at + 1] = s["visitor_sessions"]
    row[at + 2] = s["device"]
    row[at + 3] = s["source"]
    row[at + 4] = s["first_hour"]
    row[at + 5] = s["first_weekday"]
    for j in range(at + 6):
        row[j] = np.float32(row[j])


@inlined
def _gaps(s: np.void, open_gap: int, row: NDArray[np.float64]) -> int:
    """Columns gap_mean_s to the last gap; the next column."""
    gaps = s["gaps"]
    n = s["gap_n"]
    size = len(gaps)
    row[5] = s["gap_sum"] / 1000.0 / n if n > 0 else 0.0
    held = min(n, size)
    total = 0.0
    taken = 0
    if open_gap >= 0:
        total += open_gap
        taken = 1
        held = min(n, size - 1)
    for j in range(held):
        total += gaps[(n - 1 - j) % size]
    taken += held
    row[6] = total / 1000.0 / taken if taken > 0 else 0.0
    row[7] = open_gap / 1000.0 if open_gap >= 0 else 0.0
    for j in range(LAST_GAPS):
        row[8 + j] = gaps[(n - 1 - j) % size] / 1000.0 if j < n else -1.0
    return 8 + LAST_GAPS


@inlined
def _recent(s: np.void, row: NDArray[np.float64], at: int) -> int:
    """since_add and the last types from column ``at`` on; the next column."""
    recent = s["recent"]
    size = len(recent)
    newest = s["recent_at"] + size - 1
    row[at] = NEVER
    for j in range(size):
        if recent[(newest - j) % size] == _ADD + 1:
            row[at] = j
            break
    for j in range(LAST_TYPES):
        row[at + 1 + j] = np.float64(recent[(newest - j) % size]) - 1.0
    return at + 1 + LAST_TYPES


@inlined
def _prices(s: np.void, row: NDArray[np.float64], at: int) -> int:
    """price_n to price_max from column ``at`` on; the next column."""
    n = s["price_n"]
    row[at] = n
    if n == 0:
        for j in range(at + 1, at + 5):
            row[j] = -1.0
    else:
        row[at + 1] = s["price_sum"] / n
        row[at + 2] = np.sqrt(s["price_squares"] / n)
        row[at + 3] = s["price_min"]
        row[at + 4] = s["price_max"]
    return at + 5
