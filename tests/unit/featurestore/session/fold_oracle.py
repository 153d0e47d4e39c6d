"""The fold, one event at a time, in plain Python: what `featurestore.session.fold.fold` must agree with.

Written from the definitions of the contract, not from the compiled code: strings instead of hashes, sets and lists
instead of fixed-width fields. Slow and easy to read.
"""

import math
import struct
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from featurestore.contract.event import EVENT_TYPES, PASSIVE, Event
from featurestore.session.features import N_FEATURES
from featurestore.session.fold import BOT, CLEAR, END, EVENT_ROW, SILENCE, FoldConfig

CHECKOUT_STEPS = {"begin_checkout": 1, "add_shipping_info": 2, "add_payment_info": 3, "purchase": 4}


class Row(NamedTuple):
    """One observation."""

    kind: int
    t: int
    seq: int
    late: bool
    features: tuple[float, ...]


@dataclass
class Visit:
    """One session while it lives."""

    began: int
    newest: int
    last_interaction: int
    oldest: int
    offset: int = -1
    silences: int = 0
    silent: bool = False
    bot: bool = False
    clicks: int = 0
    gaps: list[int] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    cart_additions: int = 0
    cart_items: int = 0
    cart_value: float = 0.0
    purchases: int = 0
    purchase_value: float = 0.0
    prices: list[float] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    recent: deque[tuple[str, int]] = field(default_factory=lambda: deque(maxlen=16))
    ids: deque[str] = field(default_factory=lambda: deque(maxlen=64))
    visitor: str | None = None
    bounce_rate: float = math.nan
    visitor_sessions: int = 0
    late: int = 0
    checkout: int = 0
    scroll: int = 0
    category: str | None = None


class Oracle:
    """The sessions of one log.

    Each session id belongs to one visitor here; a visitor's history is kept per session id.
    """

    def __init__(self, config: FoldConfig) -> None:
        self.config = config
        self.visits: dict[str, Visit] = {}
        self.bounces: dict[str, list[bool]] = {}
        self.finished: dict[str, int] = {}
        self.ended: list[tuple[str, Visit]] = []
        self.duplicates = 0

    def tick(self, session_id: str, t: int) -> list[Row]:
        """Time passes: what silence owes by ``t``."""
        visit = self.visits.get(session_id)
        if visit is None:
            return []
        rows = []
        end = visit.newest + self.config.session_gap_ms
        idle = self.idle_at(visit)
        if not visit.silent and not visit.bot and idle <= t and idle < end:
            visit.silent = True
            visit.silences += 1
            open_gap = min(idle - visit.last_interaction, self.config.gap_cap_ms)
            rows.append(Row(SILENCE, idle, visit.offset * 256 + visit.silences, False, features(visit, open_gap)))
        if end <= t:
            rows.append(Row(END, end, visit.offset * 256 + 255, False, features(visit, None)))
            if visit.visitor is not None:
                self.bounces.setdefault(session_id, []).append(len(visit.pages) <= 1)
                self.finished[session_id] = self.finished.get(session_id, 0) + 1
            self.ended.append((session_id, visit))
            del self.visits[session_id]
        return rows

    def apply(self, event: Event, t: int, offset: int) -> list[Row]:
        """One event of the log."""
        rows = self.tick(event.session_id, t)
        if event.consent is False:
            self.visits.pop(event.session_id, None)
            return [*rows, Row(CLEAR, t, offset * 256, False, (0.0,) * N_FEATURES)]
        visit = self.visits.get(event.session_id)
        if visit is not None and event.event_id and event.event_id in visit.ids:
            self.duplicates += 1
            return rows
        if visit is None:
            visit = self.visits[event.session_id] = Visit(t, t, t, t)
        late = t < visit.newest
        visit.late += late
        self._count(visit, event, t)
        visit.offset = offset
        visit.silences = 0
        if event.visitor_id and visit.visitor is None:
            visit.visitor = event.visitor_id
            known = self.bounces.get(event.session_id, [])[-10:]
            visit.bounce_rate = _single(sum(known) / len(known)) if known else math.nan
            visit.visitor_sessions = self.finished.get(event.session_id, 0)
        if visit.clicks > self.config.bot_clicks:
            visit.bot = True
        rows.append(Row(BOT if visit.bot else EVENT_ROW, t, offset * 256, late, features(visit, None)))
        return rows

    def idle_at(self, visit: Visit) -> int:
        """When silence is looked at: the mean of the last five gaps, the open one included, reaches the limit."""
        latest = visit.gaps[-4:]
        needed = (len(latest) + 1) * self.config.idle_mean_ms - sum(latest)
        return visit.last_interaction + max(self.config.idle_after_ms, needed)

    def deadline(self, session_id: str) -> int:
        """Epoch ms of the next deadline, 0 without a session."""
        visit = self.visits.get(session_id)
        if visit is None:
            return 0
        end = visit.newest + self.config.session_gap_ms
        return end if visit.silent or visit.bot else min(end, self.idle_at(visit))

    def _count(self, visit: Visit, event: Event, t: int) -> None:
        kind = event.type if event.type in EVENT_TYPES else "click"
        visit.counts[kind] = visit.counts.get(kind, 0) + 1
        if kind not in PASSIVE:
            gap = min(max(t - visit.last_interaction, 0), self.config.gap_cap_ms)
            if visit.clicks:
                visit.gaps.append(gap)
            visit.clicks += 1
            visit.last_interaction = max(visit.last_interaction, t)
            visit.silent = False
            visit.recent.append((kind, gap // 100))
        visit.oldest = min(visit.oldest, t)
        visit.newest = max(visit.newest, t)
        if event.page and event.page not in visit.pages and len(visit.pages) < 64:
            visit.pages.append(event.page)
        if event.price is not None:
            visit.prices.append(event.price)
        self._cart(visit, event, kind)
        visit.checkout = max(visit.checkout, event.checkout_step or 0, CHECKOUT_STEPS.get(kind, 0))
        visit.scroll = max(visit.scroll, int(event.scroll_depth or 0))
        if event.category:
            visit.category = event.category
        if event.event_id:
            visit.ids.append(event.event_id)

    @staticmethod
    def _cart(visit: Visit, event: Event, kind: str) -> None:
        quantity = 1 if event.quantity is None else event.quantity
        if kind == "add_to_cart":
            visit.cart_additions += quantity
            visit.cart_items += quantity
            visit.cart_value += (event.price or 0.0) * quantity
        elif kind == "remove_from_cart":
            visit.cart_items -= min(visit.cart_items, quantity)
            visit.cart_value = max(visit.cart_value - (event.price or 0.0) * quantity, 0.0) if visit.cart_items else 0.0
        elif kind == "purchase":
            visit.purchases += 1
            visit.purchase_value += visit.cart_value if event.value is None else event.value
            visit.cart_items = 0
            visit.cart_value = 0.0


def _single(value: float) -> float:
    """Rounded to 32 bits, as a state keeps it."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def features(visit: Visit, open_gap: int | None) -> tuple[float, ...]:
    """The nine features by their definitions; ``open_gap`` (ms) counts as the latest gap."""
    duration = (visit.newest - visit.oldest) / 1000
    gaps = visit.gaps
    latest = (gaps if open_gap is None else [*gaps, open_gap])[-5:]
    return (
        duration,
        float(visit.clicks),
        float(len(visit.pages)),
        float(visit.cart_additions),
        sum(gaps) / 1000 / len(gaps) if gaps else 0.0,
        visit.bounce_rate,
        visit.clicks / max(duration, 1.0),
        visit.cart_additions / max(len(visit.pages), 1),
        sum(latest) / 1000 / len(latest) if latest else 0.0,
    )
