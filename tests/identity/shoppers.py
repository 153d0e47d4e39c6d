"""Shoppers of every kind that the event contract allows, beside the plausible ones of ``clickstage simulate``.

They use every event type, unknown ones, every optional field at its limits, withdrawn consent, more clicks than a
person makes, repeated event ids, wrong clocks, and records that are no events.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

Event = dict[str, Any]

TYPES: Final = (
    *("session_start", "page_view", "view_item_list", "view_item", "select_item", "search", "view_promotion"),
    *("select_promotion", "add_to_wishlist", "add_to_cart", "remove_from_cart", "view_cart", "begin_checkout"),
    *("add_shipping_info", "add_payment_info", "purchase", "login", "share", "contact", "ask_question", "view_policy"),
    *("compare", "view_reviews", "scroll", "click"),
)
"""Every type that c8d4f88 knows: a later one would be a click there."""

UNKNOWN_TYPES: Final = ("zoom", "Ansicht geöffnet", "PAGE_VIEW", "x" * 64)
MINUTE_MS: Final = 60_000
BOT_CLICKS: Final = 250


@dataclass(slots=True)
class Draft:
    """A record of the log, before its bytes.

    Attributes:
        at: time of the Kafka record, epoch ms.
        key: of the record.
        event: what the value says; None where ``raw`` is no event.
        raw: the value's bytes where they are known already; None with ``event`` None is a record without a value.
        headers: of the record.
    """

    at: int
    key: str
    event: Event | None = None
    raw: bytes | None = None
    headers: list[tuple[str, bytes]] = field(default_factory=list)

    def value(self) -> bytes | None:
        """The bytes of the record's value."""
        if self.raw is None and self.event is not None:
            return msgspec.json.encode(self.event)
        return self.raw


class Shoppers:
    """Makes sessions one after the other.

    Args:
        rng: everything random.
        visitors: how many people share the sessions that name a visitor.
    """

    def __init__(self, rng: random.Random, visitors: int) -> None:
        self._rng = rng
        self._visitors = visitors
        self._born = 0

    def session(self, start: int) -> list[Draft]:
        """One session that begins at ``start``, epoch ms; its events in the order of their records."""
        rng = self._rng
        self._born += 1
        name = self._name()
        key = f"other key of {name}" if self._born % 97 == 0 else name
        bot = self._born % 150 == 0
        fixed = self._context()
        drafts: list[Draft] = []
        at = start
        for number in range(rng.randint(BOT_CLICKS + 10, BOT_CLICKS + 120) if bot else rng.randint(2, 28)):
            at += rng.randint(100, 1_500) if bot else self._gap()
            event = {"session_id": name, "type": self._type(bot=bot), "ts": self._ts(at)}
            event |= self._details(name, number) | (fixed if number % 3 == 0 else {})
            drafts.append(Draft(at, key, event))
            if rng.random() < 0.03 and "event_id" in event:
                drafts += self._again(drafts)
        if self._born % 12 == 0:
            drafts += self._withdrawal(at, key, name)
        return drafts

    def _name(self) -> str:
        if self._born % 50 == 0:
            return f"sitzung-größe-{self._born}-😀"
        return f"odd-{self._born}".ljust(128 if self._born % 53 == 0 else 1, "z")

    def _context(self) -> Event:
        rng = self._rng
        context: Event = {}
        if rng.random() < 0.8:
            context["device"] = rng.choice(["desktop", "mobile", "tablet", "Desktop", "fridge", None])
        if rng.random() < 0.8:
            context["source"] = rng.choice(
                ["direct", "organic", "paid", "email", "social", "referral", "carrier pigeon"]
            )
        if rng.random() < 0.8:
            context["country"] = rng.choice(["DE", "us", "FR", "Germany", "", "ÄÖ", None])
        if rng.random() < 0.5:
            context["visitor_id"] = f"person-{rng.randrange(self._visitors)}"
        if rng.random() < 0.1:
            context["v"] = rng.choice([1, 2, 7])
        return context

    def _gap(self) -> int:
        """Time to the next event, ms: clicks, pauses that may be silences, and now and then a new visit."""
        rng = self._rng
        dice = rng.random()
        if dice < 0.70:
            return rng.randint(300, 15_000)
        if dice < 0.90:
            return rng.randint(15_000, 55_000)
        if dice < 0.985:
            return rng.randint(55_000, 12 * MINUTE_MS)
        return rng.randint(28 * MINUTE_MS, 50 * MINUTE_MS)

    def _type(self, *, bot: bool) -> str:
        if bot:
            return self._rng.choice(["view_item", "page_view", "click"])
        return self._rng.choice(UNKNOWN_TYPES) if self._rng.random() < 0.03 else self._rng.choice(TYPES)

    def _ts(self, at: int) -> int:
        """The event's own time: mostly that of its record; late, ahead, or past belief."""
        rng = self._rng
        dice = rng.random()
        if dice < 0.93:
            return at
        if dice < 0.97:
            return at - rng.randint(1, 25_000)
        if dice < 0.99:
            return at + rng.randint(1, 240_000)
        return rng.choice([0, at - 86_400_000, at + 86_400_000, 9_007_199_254_740_991])

    def _details(self, name: str, number: int) -> Event:
        rng = self._rng
        some: dict[str, list[Any]] = {
            "page": [f"/p/{rng.randrange(90)}", f"/c/schuhe?größe={number}", "", "p" * 512, None],
            "item_id": [f"{rng.randrange(300)}", "", None],
            "category": ["shoes", "health", "bed and bath", "Möbel", "gambling", "c" * 512, None],
            "price": [rng.randrange(1, 20_000) / 100, 0, 19.99, 1e9, 3, None],
            "currency": ["EUR", "USD", None],
            "quantity": [1, 2, 3, 0, 10_000, None],
            "query": ["red shoes", "größe 42", "", None],
            "value": [rng.randrange(100, 90_000) / 100, 0, None],
            "scroll_depth": [rng.randrange(101), 99.5, 0, None],
            "checkout_step": [0, 1, 2, 3, 50, None],
            "consent": [True, None],
            "colour": ["unknown fields are ignored", {"of": ["any", "kind"]}],
        }
        event = {k: rng.choice(values[: rng.choice((1, 1, 7))]) for k, values in some.items() if rng.random() < 0.45}
        if rng.random() < 0.6:
            event["event_id"] = f"{name[:20]}/{number}"
        return event

    def _again(self, drafts: list[Draft]) -> Iterator[Draft]:
        """The last event once more: at once, or with other content under the same id."""
        last = drafts[-1]
        assert last.event is not None
        changed = self._rng.random() < 0.3
        yield Draft(last.at + self._rng.choice([0, 5, 90]), last.key, last.event | ({"page": "/x"} if changed else {}))

    def _withdrawal(self, at: int, key: str, name: str) -> Iterator[Draft]:
        """``consent: false``, and every other time the session goes on."""
        at += self._rng.randint(500, 60_000)
        yield Draft(at, key, {"session_id": name, "type": "click", "ts": at, "consent": False})
        if self._rng.random() < 0.5:
            for _ in range(3):
                at += self._rng.randint(500, 20_000)
                yield Draft(at, key, {"session_id": name, "type": "view_item", "ts": at, "page": "/again"})


def no_event(rng: random.Random, at: int, number: int) -> Draft:
    """A record that is no event; each kind in turn."""
    key = f"bad-{number}"
    good = {"session_id": key, "type": "click", "ts": at}
    values: list[bytes | None] = [
        b"",
        None,
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b'{"session_id":"s"}',
        json.dumps(good | {"session_id": ""}).encode(),
        json.dumps(good | {"session_id": "s" * 129}).encode(),
        json.dumps(good | {"type": "t" * 65}).encode(),
        json.dumps(good | {"ts": -1}).encode(),
        json.dumps(good | {"ts": "now"}).encode(),
        json.dumps(good | {"ts": 1.5}).encode(),
        json.dumps(good | {"price": -0.01}).encode(),
        json.dumps(good | {"quantity": 10_001}).encode(),
        json.dumps(good | {"scroll_depth": 100.5}).encode(),
        json.dumps(good | {"consent": "no"}).encode(),
        json.dumps(good | {"v": 0}).encode(),
        json.dumps(good | {"fill": "x" * 65_536}).encode(),
        json.dumps(good).encode() + b" {}",
        b"[" * 20_000,
    ]
    headers = [("trace", b"%d" % rng.randrange(1_000))] if number % 2 else []
    return Draft(at, key, None, values[number % len(values)], headers)
