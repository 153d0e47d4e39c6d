"""Makes a log whose results depend on nothing but the log.

Clickstage promises the same rows for any cut of a log into batches, with the exceptions that docs/guarantees.md names.
Both exceptions are kept out here, since two runs never cut a log alike:

- An event that is older than its record, and whose record comes after the session's next deadline, may find its silence
  decided or not. It is given the time of its record; a repeated one is left out.
- What a session knows of its visitor's earlier visits depends on which of them have been written. A visitor keeps only
  visits that a drain of the worker separates from the one before; other sessions lose their visitor.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.identity.shoppers import MINUTE_MS, Draft

PASSIVE: Final = ("session_start", "scroll", "view_promotion")
"""Types that move no deadline."""
SILENCE_MS: Final = 30_000
"""No session is silent sooner after its last interaction."""
BELIEVED_MS: Final = 300_000
"""An event's own time counts while it lies this close to the time of its record."""
ENDED_MS: Final = 35 * MINUTE_MS
"""A session whose last event is so old has ended and is written, some minutes to spare."""
ONE_VISIT_MS: Final = 28 * MINUTE_MS
"""A pause below this is no end of a session."""


def steady(drafts: Iterable[Draft], drains: Sequence[int]) -> list[Draft]:
    """The records in the order of their times, changed where a result would depend on the batches.

    Args:
        drafts: in any order; their events are changed in place.
        drains: times at which all records before are applied before any later one is sent, epoch ms.
    """
    ordered = _in_time(sorted(drafts, key=lambda draft: draft.at))
    _separate_visits(ordered, drains)
    return ordered


def effective_ms(draft: Draft) -> int:
    """The time that the event counts at."""
    assert draft.event is not None
    ts: int = draft.event["ts"]
    return ts if abs(ts - draft.at) <= BELIEVED_MS else draft.at


def _in_time(drafts: Iterable[Draft]) -> list[Draft]:
    kept = []
    last: dict[str, int] = {}
    seen: dict[str, set[str]] = defaultdict(set)
    for draft in drafts:
        event = draft.event
        if event is not None:
            name = event["session_id"]
            t = effective_ms(draft)
            if t < draft.at and draft.at >= last.get(name, draft.at) + SILENCE_MS:
                if event.get("event_id") in seen[name]:
                    continue
                event["ts"] = t = draft.at
                draft.raw = None
            if event.get("event_id") is not None:
                seen[name].add(event["event_id"])
            if event.get("consent") is False:
                last.pop(name, None)
            elif event["type"] in PASSIVE:
                last.setdefault(name, t)
            else:
                last[name] = max(last.get(name, t), t)
        kept.append(draft)
    return kept


@dataclass(slots=True)
class Visit:
    """The records of one session id.

    Attributes:
        visitors: all that they name.
        plain: whether it is one visit: no pause long enough to end it, nothing after a withdrawal.
        first: earliest time of a record or an event.
        last: latest one.
    """

    drafts: list[Draft] = field(default_factory=list)
    visitors: set[str] = field(default_factory=set)
    plain: bool = True
    first: int = 2**63
    last: int = 0

    def add(self, draft: Draft) -> None:
        """Take the session's next record."""
        assert draft.event is not None
        before = self.drafts[-1] if self.drafts else draft
        withdrawn = before is not draft and before.event is not None and before.event.get("consent") is False
        if draft.at - before.at > ONE_VISIT_MS or withdrawn:
            self.plain = False
        self.drafts.append(draft)
        t = effective_ms(draft)
        self.first, self.last = min(self.first, draft.at, t), max(self.last, draft.at, t)
        if draft.event.get("visitor_id") is not None:
            self.visitors.add(draft.event["visitor_id"])


def visits_of(drafts: Iterable[Draft]) -> dict[str, Visit]:
    """The sessions of a log, by id."""
    visits: dict[str, Visit] = defaultdict(Visit)
    for draft in drafts:
        if draft.event is not None:
            visits[draft.event["session_id"]].add(draft)
    return visits


def _separate_visits(drafts: Sequence[Draft], drains: Sequence[int]) -> None:
    free: dict[str, int] = {}  # visitor -> from when their next visit may begin
    known = [visit for visit in visits_of(drafts).values() if visit.visitors]
    for visit in sorted(known, key=lambda visit: visit.first):
        if visit.plain and all(free.get(visitor, 0) <= visit.first for visitor in visit.visitors):
            after = next((drain for drain in drains if drain >= visit.last + ENDED_MS), 2**63)
            free |= dict.fromkeys(visit.visitors, after)
            continue
        for draft in visit.drafts:
            if draft.event is not None and draft.event.pop("visitor_id", None) is not None:
                draft.raw = None
