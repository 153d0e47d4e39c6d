"""The simulated shop: its pages, articles and prices, and the JSON fragments that events are made of.

The size is that of the eshop data: 217 articles. Everything is fixed, so a seed decides about shoppers only.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from featurestore.contract.event import EVENT_TYPES, TYPE_CODE

CATEGORIES: Final = (
    "trousers", "skirts", "blouses", "dresses", "shirts", "knitwear",
    "coats", "shoes", "bags", "jewellery", "sale", "gifts",
)  # fmt: skip
N_ITEMS: Final = 217
QUERIES: Final = (
    "summer dress", "linen shirt", "black shoes", "gift under 50", "wool coat", "white blouse", "office skirt", "belt",
    "running shoes", "silk scarf", "rain jacket", "jeans slim", "party dress", "leather bag", "cardigan", "socks",
)  # fmt: skip

_SPECIAL: Final = {
    "view_cart": "/cart",
    "begin_checkout": "/checkout",
    "add_shipping_info": "/checkout/shipping",
    "add_payment_info": "/checkout/payment",
    "purchase": "/checkout/thanks",
    "login": "/account",
    "contact": "/contact",
    "view_policy": "/returns",
    "compare": "/compare",
}

HOME: Final = 0
FIRST_CATEGORY: Final = 1
FIRST_ITEM: Final = FIRST_CATEGORY + len(CATEGORIES)
FIRST_QUERY: Final = FIRST_ITEM + N_ITEMS
FIRST_SPECIAL: Final = FIRST_QUERY + len(QUERIES)
SPECIAL_PAGE: Final = {TYPE_CODE[name]: FIRST_SPECIAL + i for i, name in enumerate(_SPECIAL)}
FIRST_EXTRA: Final = FIRST_SPECIAL + len(_SPECIAL)
N_EXTRA: Final = 64
"""Landing pages without any role of their own; only the drift knob on pages sends shoppers there."""

PAGES: Final = (
    "/",
    *(f"/c/{name}" for name in CATEGORIES),
    *(f"/p/{100 + i}" for i in range(N_ITEMS)),
    *(f"/search?q={query.replace(' ', '+')}" for query in QUERIES),
    *_SPECIAL.values(),
    *(f"/look/{i}" for i in range(N_EXTRA)),
)
ITEM_CATEGORY: Final[NDArray[np.int64]] = np.arange(N_ITEMS, dtype=np.int64) % len(CATEGORIES)


def _prices() -> NDArray[np.float64]:
    spread = np.exp(0.55 * np.cos(np.arange(N_ITEMS) * 2.399963))
    level = np.linspace(25.0, 90.0, len(CATEGORIES))[ITEM_CATEGORY]
    return np.asarray(np.round(level * spread) - 0.05, np.float64)


PRICES: Final[NDArray[np.float64]] = _prices()

# One event is HEAD (of the session) + TYPE + ts + event id + PAGE + ITEM + tail + "}".
TYPE_JSON: Final = tuple(
    f'{name}",'.encode() + (f'"checkout_step":{step},'.encode() if step else b"") + b'"ts":'
    for name, step in (
        (name, {"begin_checkout": 1, "add_shipping_info": 2, "add_payment_info": 3, "purchase": 4}.get(name, 0))
        for name in EVENT_TYPES
    )
)
PAGE_JSON: Final = tuple(f',"page":"{page}"'.encode() for page in PAGES)
ITEM_JSON: Final = (
    b"",
    *(
        f',"item_id":"{100 + i}","category":"{CATEGORIES[category]}","price":{price:.2f},"currency":"EUR"'.encode()
        for i, (category, price) in enumerate(zip(ITEM_CATEGORY, PRICES, strict=True))
    ),
    *(f',"category":"{name}"'.encode() for name in CATEGORIES),
    *(f',"query":"{query}"'.encode() for query in QUERIES),
)
"""Index 0: nothing; then the articles, the categories, the queries."""
CATEGORY_DETAIL: Final = 1 + N_ITEMS
QUERY_DETAIL: Final = CATEGORY_DETAIL + len(CATEGORIES)
