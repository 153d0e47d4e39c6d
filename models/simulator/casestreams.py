"""The five published cases (P, A to E) as event streams, for tests that play them through the whole system.

Played from the start, each stream ends in the features that P gives; what P leaves open is filled as in
`models.study.cases`. The bounce rate is not played: it would need the visitor's earlier sessions.
"""

import json
from typing import Final, NamedTuple

from models.simulator.simulator import SimEvent


class _Case(NamedTuple):
    times_s: tuple[float, ...]  # of the interactions
    pages: int
    adds: tuple[int, ...]  # which interactions add an item to the cart


def _steady(duration_s: float, clicks: int, gap_s: float) -> tuple[float, ...]:
    """``clicks`` at equal gaps, the last at the end; the session began by itself before the first."""
    return tuple(duration_s - gap_s * (clicks - 1 - i) for i in range(clicks))


_CASES: Final = {
    "A": _Case(_steady(90, 5, 11.4), 3, ()),
    "B": _Case(_steady(384, 31, 12.1), 18, ()),
    "C": _Case(_steady(258, 24, 7.6), 10, (8, 13, 20)),
    "D": _Case((*(180 / 11 * i for i in range(12)), 300, 420), 9, (9,)),
    "E": _Case(_steady(290, 22, 13.1), 14, ()),
}
CASE_NAMES: Final = tuple(_CASES)


def case_events(name: str, session_id: str, start_ms: int) -> list[SimEvent]:
    """The events of case ``name``, from ``start_ms`` on; the last is the one after which P judges."""
    case = _CASES[name]
    events = [_event(session_id, start_ms, {"type": "session_start"})]
    for i, seconds in enumerate(case.times_s):
        page = f"/p/{min(i, case.pages - 1)}"
        fields: dict[str, object] = {"type": "view_item", "page": page}
        if i in case.adds:
            fields = {"type": "add_to_cart", "page": page, "item_id": str(i), "price": 39.95, "currency": "EUR"}
        events.append(_event(session_id, start_ms + round(1000 * seconds), fields))
    return events


def _event(session_id: str, ts: int, fields: dict[str, object]) -> SimEvent:
    value = {"session_id": session_id, "ts": ts, "device": "desktop", "source": "organic", "country": "DE", **fields}
    return session_id.encode(), json.dumps(value).encode(), ts
