"""The fold, one event at a time, in plain Python: what `featurestore.session.fold.fold` must agree with.

Written from the definitions of the contract, not from the compiled code: strings instead of hashes, sets and lists
instead of fixed-width fields. Slow and easy to read.
"""

import math
import struct
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from featurestore.contract.event import EVENT_TYPES, PASSIVE, Event, Item
from featurestore.session.features import N_FEATURES
from featurestore.session.fold import FoldConfig
from featurestore.session.observation import BOT, CLEAR, END, EVENT_ROW, SILENCE, UPLOAD

DAY_MS = 86_400_000
JITTER_MS = 10_000
BURST_MS = 2_000
OLDEST_UPLOAD_MS = 7 * DAY_MS
CHECKOUT_STEPS = {"begin_checkout": 1, "add_shipping_info": 2, "add_payment_info": 3, "purchase": 4}


class Row(NamedTuple):
    """One observation."""

    kind: int
    t: int
    seq: int
    late: bool
    features: tuple[float, ...]


@dataclass
class Kept:
    """What is remembered of a session beyond its end."""

    orders: deque[str] = field(default_factory=lambda: deque(maxlen=8))
    withdrawn: int | None = None
    until: int = 0


@dataclass
class Visit:
    """One session while it lives: times of events by the sender's corrected clock, and of arrival by the log's."""

    newest: int
    last_interaction: int
    oldest: int
    arrival: int
    interaction_arrival: int
    skew: int
    other_skew: int = 0
    uploaded: bool = False
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
    refund_value: float = 0.0
    currency: str | None = None
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
        self.kept: dict[str, Kept] = {}
        self.duplicates = 0
        self.withdrawn = 0
        self.foreign_money = 0

    def tick(self, session_id: str, now: int) -> list[Row]:
        """Time passes: what silence owes by ``now``."""
        visit = self.visits.get(session_id)
        rows = []
        if visit is not None:
            end = visit.arrival + self.config.session_gap_ms
            idle = self.idle_at(visit)
            if not (visit.silent or visit.bot or visit.uploaded) and idle <= now and idle < end:
                visit.silent = True
                visit.silences += 1
                open_gap = min(idle - visit.interaction_arrival, self.config.gap_cap_ms)
                rows.append(Row(SILENCE, idle, visit.offset * 256 + visit.silences, False, features(visit, open_gap)))
            if end <= now:
                rows.append(self.end(session_id, visit, end))
        if session_id not in self.visits and session_id in self.kept and self.kept[session_id].until <= now:
            del self.kept[session_id]
        return rows

    def end(self, session_id: str, visit: Visit, t: int) -> Row:
        """The session is over."""
        if visit.visitor is not None:
            bounced = len(visit.pages) == 1 and visit.clicks <= 1 and not visit.purchases
            self.bounces.setdefault(session_id, []).append(bounced)
            self.finished[session_id] = self.finished.get(session_id, 0) + 1
        self.ended.append((session_id, visit))
        del self.visits[session_id]
        if session_id in self.kept:
            self.kept[session_id].until = visit.arrival + DAY_MS
        return Row(END, t, visit.offset * 256 + 255, False, features(visit, None))

    def apply(self, event: Event, arrival: int, offset: int) -> list[Row]:
        """One event of the log."""
        session_id = event.session_id
        now = arrival
        rows = self.tick(session_id, now)
        kept = self.kept.get(session_id, Kept())
        if kept.withdrawn is not None and event.ts <= kept.withdrawn:
            self.withdrawn += 1
            return rows
        if event.consent is False:
            self.visits.pop(session_id, None)
            self.kept[session_id] = Kept(withdrawn=event.ts, until=now + DAY_MS)
            return [*rows, Row(CLEAR, now, offset * 256, False, (0.0,) * N_FEATURES)]
        visit = self.visits.get(session_id)
        if self.seen(visit, kept, event):
            self.duplicates += 1
            return rows
        base = event.sent_ts or event.ts
        upload = self.is_upload(visit, event, arrival)
        t = now
        if visit is not None:
            t = self.happened(visit, event, arrival)
            if t < visit.oldest - self.config.session_gap_ms:
                t = visit.oldest
            elif visit.uploaded and not upload and t >= visit.newest + self.config.session_gap_ms:
                rows.append(self.end(session_id, visit, now))
                visit = None
        if visit is None:
            t = min(event.ts + now - base, now)
            visit = self.visits[session_id] = Visit(t, t, t, now, now, now - base, uploaded=upload)
        late = t < visit.newest
        visit.late += late
        self._count(visit, event, t, now)
        if event.type == "purchase" and (order := event.transaction_id or event.event_id):
            self.kept.setdefault(session_id, Kept()).orders.append(order)
        visit.offset = offset
        visit.silences = 0
        visit.uploaded &= upload
        if event.visitor_id and visit.visitor is None:
            visit.visitor = event.visitor_id
            known = self.bounces.get(session_id, [])[-10:]
            visit.bounce_rate = _single(sum(known) / len(known)) if known else math.nan
            visit.visitor_sessions = self.finished.get(session_id, 0)
        if visit.clicks > self.config.bot_clicks:
            visit.bot = True
        kind = BOT if visit.bot else UPLOAD if upload else EVENT_ROW
        open_gap = None
        if visit.silent:
            open_gap = min(max(now, self.idle_at(visit)) - visit.interaction_arrival, self.config.gap_cap_ms)
        rows.append(Row(kind, now, offset * 256, late, features(visit, open_gap)))
        return rows

    @staticmethod
    def seen(visit: Visit | None, kept: Kept, event: Event) -> bool:
        """Whether the event came before, or the order of a purchase."""
        if visit is not None and event.event_id and event.event_id in visit.ids:
            return True
        names = {event.transaction_id, event.event_id} - {None}
        return event.type == "purchase" and bool(names & set(kept.orders))

    def is_upload(self, visit: Visit | None, event: Event, arrival: int) -> bool:
        """Whether the event was older than a session may be silent when it was received."""
        gap = self.config.session_gap_ms
        if event.sent_ts:
            return event.sent_ts - event.ts > gap
        delay = arrival - event.ts
        kept_on_a_phone = gap < delay <= OLDEST_UPLOAD_MS
        if visit is None:
            return kept_on_a_phone
        rest = delay - visit.skew
        at_once = abs(arrival - visit.arrival) <= BURST_MS
        if visit.uploaded:
            return rest > gap or (kept_on_a_phone and (at_once or abs(rest) > JITTER_MS))
        return rest > gap or (at_once and rest < -BURST_MS and delay > gap)

    @staticmethod
    def happened(visit: Visit, event: Event, arrival: int) -> int:
        """When an event of the session happened; the session's times move where a better sample of its clock comes."""
        skew = arrival - (event.sent_ts or event.ts)
        rest = skew - visit.skew
        of_a_batch = not event.sent_ts and abs(arrival - visit.arrival) <= BURST_MS
        earliest = -math.inf
        agrees = moves = False
        again = visit.other_skew != 0 and abs(skew - visit.other_skew) <= JITTER_MS
        if rest < -JITTER_MS and not of_a_batch:
            if arrival < visit.arrival - JITTER_MS and visit.clicks > 1 and not again:
                visit.other_skew, earliest = skew or 1, visit.oldest
            else:
                moves = arrival < visit.arrival - JITTER_MS
                visit.skew, agrees = skew, True
        elif rest < 0:
            visit.skew, moves = skew, True
        elif rest > JITTER_MS:
            if again and arrival - visit.arrival > BURST_MS:
                visit.skew, visit.other_skew = skew, 0
            else:
                visit.other_skew, earliest = skew or 1, visit.oldest
        if visit.other_skew and abs(rest) <= JITTER_MS:
            visit.other_skew, agrees = 0, True
        if moves:
            visit.oldest += rest
            visit.newest += rest
            visit.last_interaction += rest
        if agrees and arrival < visit.arrival:
            visit.arrival = arrival
            visit.interaction_arrival = min(visit.interaction_arrival, arrival)
        return int(max(min(event.ts + visit.skew, arrival), earliest))

    def idle_at(self, visit: Visit) -> int:
        """When silence is looked at: the mean of the last five gaps, the open one included, reaches the limit."""
        latest = visit.gaps[-4:]
        needed = (len(latest) + 1) * self.config.idle_mean_ms - sum(latest)
        return visit.interaction_arrival + max(self.config.idle_after_ms, needed)

    def deadline(self, session_id: str) -> int:
        """Epoch ms of the next deadline, 0 without a session."""
        visit = self.visits.get(session_id)
        if visit is None:
            return self.kept[session_id].until if session_id in self.kept else 0
        end = visit.arrival + self.config.session_gap_ms
        return end if visit.silent or visit.bot or visit.uploaded else min(end, self.idle_at(visit))

    def _count(self, visit: Visit, event: Event, t: int, now: int) -> None:
        kind = event.type if event.type in EVENT_TYPES else "click"
        visit.counts[kind] = visit.counts.get(kind, 0) + 1
        if kind not in PASSIVE:
            gap = min(max(t - visit.last_interaction, 0), self.config.gap_cap_ms) if visit.clicks else 0
            if visit.clicks:
                visit.gaps.append(gap)
            visit.last_interaction = max(visit.last_interaction, t) if visit.clicks else t
            visit.interaction_arrival = max(visit.interaction_arrival, now)
            visit.clicks += 1
            visit.silent = False
            visit.recent.append((kind, gap // 100))
        visit.arrival = max(visit.arrival, now)
        visit.oldest = min(visit.oldest, t)
        visit.newest = max(visit.newest, t)
        if event.page and event.page not in visit.pages and len(visit.pages) < 64:
            visit.pages.append(event.page)
        self._money(visit, event, kind)
        visit.checkout = max(visit.checkout, event.checkout_step or 0, CHECKOUT_STEPS.get(kind, 0))
        visit.scroll = max(visit.scroll, int(event.scroll_depth or 0))
        if event.category:
            visit.category = event.category
        if event.event_id:
            visit.ids.append(event.event_id)

    def _money(self, visit: Visit, event: Event, kind: str) -> None:
        units, price, amount = basket(event)
        value = event.value
        if event.currency and not (price is None and value is None and amount is None):
            if visit.currency is None:
                visit.currency = event.currency
            elif visit.currency != event.currency:
                self.foreign_money += 1
                price = value = amount = None
        if price is not None and kind != "refund":
            visit.prices.append(price)
        worth = amount if amount is not None else (price or 0.0) * units
        if kind == "add_to_cart":
            visit.cart_additions += units
            visit.cart_items += units
            visit.cart_value += worth
        elif kind == "remove_from_cart":
            visit.cart_items -= min(visit.cart_items, units)
            visit.cart_value = max(visit.cart_value - worth, 0.0) if visit.cart_items else 0.0
        elif kind == "purchase":
            visit.purchases += 1
            named = value is not None or amount is not None or not self._is_foreign(event, visit)
            if named:
                visit.purchase_value += next(x for x in (value, amount, visit.cart_value) if x is not None)
            visit.cart_items = 0
            visit.cart_value = 0.0
        elif kind == "refund":
            visit.refund_value += next((x for x in (value, amount) if x is not None), 0.0)

    @staticmethod
    def _is_foreign(event: Event, visit: Visit) -> bool:
        """Whether the event's money was left out."""
        speaks = event.value is not None or event.price is not None or event.items
        return bool(speaks and event.currency and visit.currency != event.currency)


def basket(event: Event) -> tuple[int, float | None, float | None]:
    """Units, price of one, and what a list of items costs."""
    if not event.items:
        return (1 if event.quantity is None else event.quantity), event.price, None
    lines: list[Item] = event.items
    units = [1 if line.quantity is None else line.quantity for line in lines]
    priced = [(line.price, n) for line, n in zip(lines, units, strict=True) if line.price is not None]
    if not priced:
        return sum(units), event.price, None
    amount = sum(price * n for price, n in priced)
    some = sum(n for _, n in priced)
    return sum(units), amount / some if some else priced[0][0], amount


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
