"""The log that both sides read: four phases of two and a half hours, and what happens between them.

| phase | policy | before it |
|---|---|---|
| 0 | A | |
| 1 | A | sessions and visitors are erased |
| 2 | B | the policy file changes under the running worker |
| 3 | B | sessions and visitors are erased, and the worker is started anew |

Between two phases the worker is drained. Times are event times of a fixed day, so the log is the same at each run.
"""

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from tests.identity.shoppers import MINUTE_MS, TYPES, Draft, Event, Shoppers, no_event
from tests.identity.steady import Visit, effective_ms, steady, visits_of

START_MS: Final = 1_793_520_000_000
"""2026-11-01 08:00 UTC."""
PHASES: Final = 4
PHASE_MS: Final = 150 * MINUTE_MS
DRAINS: Final = tuple(START_MS + number * PHASE_MS for number in range(1, PHASES))
PAUSE_MS: Final = 1_000
"""No record follows a drain sooner; erasures happen in this second."""
SESSION_MS: Final = 30 * MINUTE_MS
"""A session ends so long after its last event."""
UNSURE_MS: Final = 30_000
"""Longer than any partition has no record."""
SIMULATED_SHARE: Final = 0.8
EVENTS_PER_SESSION: Final = 9.7
ERASED_BEFORE: Final = (1, 3)
"""Phases before which sessions and visitors are erased."""


class Record(NamedTuple):
    """A record as it is produced; ``at`` is its timestamp, epoch ms."""

    at: int
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Erasure(NamedTuple):
    """One ``clickstage erase``: ``who`` is "session" or "visitor", ``at`` the moment, epoch ms."""

    who: str
    name: str
    at: int


@dataclass(frozen=True)
class Log:
    """What to run.

    Attributes:
        phases: the records of each phase.
        erasures: what is erased before a phase, by its number.
        ending: sessions that may end or not end just before the drain after a phase, by its number.
        counts: of what is in the log, for people.
    """

    phases: list[list[Record]]
    erasures: dict[int, list[Erasure]]
    ending: dict[int, frozenset[str]]
    counts: dict[str, int]


def simulated_sessions(events: int) -> int:
    """How many sessions ``clickstage simulate`` shall make for a log of ``events``."""
    return round(events * SIMULATED_SHARE / EVENTS_PER_SESSION)


def simulated_rate(events: int) -> float:
    """Sessions a second, so that they fill all phases but the last minutes."""
    return simulated_sessions(events) / ((PHASES * PHASE_MS - 10 * MINUTE_MS) / 1_000)


def make_log(lines: Iterable[bytes], events: int, seed: int) -> Log:
    """The log.

    Args:
        lines: what ``clickstage simulate`` writes: one event a line, in the order of arrival.
        events: at least how many there shall be in all.
        seed: of everything else.
    """
    rng = random.Random(seed)
    drafts = _simulated(lines)
    drafts += _own(rng, events - len(drafts) + events // 100)  # `steady` leaves some out
    drafts += [
        no_event(rng, START_MS + rng.randrange(PHASES * PHASE_MS), number) for number in range(max(42, events // 250))
    ]
    drafts += [draft for phase in ERASED_BEFORE for draft in _comes_back(START_MS + phase * PHASE_MS, phase)]
    for draft in drafts:
        if any(drain <= draft.at < drain + PAUSE_MS for drain in DRAINS):
            draft.at += PAUSE_MS
    ordered = steady(drafts, DRAINS) + _time_goes_on()
    phases: list[list[Record]] = [[] for _ in range(PHASES)]
    for draft in ordered:
        record = Record(draft.at, draft.key.encode(), draft.value(), tuple(draft.headers))
        phases[bisect_right(DRAINS, draft.at)].append(record)
    visits = visits_of(ordered)
    erasures = {phase: _erasures(visits, START_MS + phase * PHASE_MS, phase) for phase in ERASED_BEFORE}
    ending = {number: _ending(visits, drain) for number, drain in enumerate(DRAINS)}
    return Log(phases, erasures, ending, _counts(ordered, erasures))


def _simulated(lines: Iterable[bytes]) -> list[Draft]:
    """The simulator tells no arrival times: an event arrives with the newest one before it."""
    drafts = []
    at = START_MS
    for line in lines:
        event: Event = msgspec.json.decode(line)
        at = max(at, event["ts"])
        drafts.append(Draft(at, event["session_id"], event, line.rstrip(b"\n")))
    return drafts


def _own(rng: random.Random, events: int) -> list[Draft]:
    shoppers = Shoppers(rng, max(20, events // 80))
    drafts: list[Draft] = []
    while len(drafts) < events:
        drafts += shoppers.session(START_MS + rng.randrange(PHASES * PHASE_MS - 10 * MINUTE_MS))
    return [draft for draft in drafts if draft.at < START_MS + PHASES * PHASE_MS]


def _comes_back(drain: int, phase: int) -> list[Draft]:
    """A session that is erased at the drain; then a click of before the erasure arrives, and one of after it."""
    name = f"back-{phase}"
    times = [(drain - 9_000, 0), (drain - 5_000, 0), (drain + 2_000, 5_000), (drain + 4_000, 0), (drain + 9_000, 0)]
    event = {"session_id": name, "type": "view_item", "page": "/p"}
    return [Draft(at, name, event | {"ts": at - age}) for at, age in times]


def _time_goes_on() -> list[Draft]:
    """Records of two hours later on every partition, so that every session ends: forty keys miss none of four."""
    at = START_MS + PHASES * PHASE_MS + 120 * MINUTE_MS
    return [Draft(at, f"late-{n}", {"session_id": f"late-{n}", "type": "page_view", "ts": at}) for n in range(40)]


def _erasures(visits: dict[str, Visit], drain: int, phase: int) -> list[Erasure]:
    """Sessions that live, rest, have ended, or never were; visitors with a live session and with a profile only."""
    live = [name for name, visit in visits.items() if visit.first < drain - 60_000 and _clicks(visit, drain)]
    rest = [name for name, visit in visits.items() if drain - 20 * MINUTE_MS < visit.last < drain - 10 * MINUTE_MS]
    gone = [name for name, visit in visits.items() if visit.last < drain - 120 * MINUTE_MS]
    here = [visits[name] for name in live[1:] if visits[name].visitors]
    been = [visits[name] for name in gone if visits[name].visitors]
    sessions = [f"back-{phase}", *live[:1], *rest[:1], *gone[phase : phase + 1], "nobody"]
    visitors = [min(visit.visitors) for visit in (*here[:1], *been[phase : phase + 1])]
    whom = [("session", name) for name in sessions] + [("visitor", name) for name in visitors]
    return [Erasure(who, name, drain + number) for number, (who, name) in enumerate(whom)]


def _ending(visits: dict[str, Visit], drain: int) -> frozenset[str]:
    """Sessions with an end due shortly before a drain: ends are noticed two seconds late, by their partition's time."""
    due = range(drain - SESSION_MS - UNSURE_MS, drain - SESSION_MS)
    times = {name: (effective_ms(draft) for draft in visit.drafts) for name, visit in visits.items()}
    return frozenset(name for name, all_times in times.items() if any(t in due for t in all_times))


def _clicks(visit: Visit, drain: int) -> bool:
    """Whether a session clicks shortly before the drain and again after it."""
    times = [draft.at for draft in visit.drafts]
    return any(drain - 5 * MINUTE_MS < at < drain for at in times) and any(at > drain for at in times)


def _counts(drafts: Sequence[Draft], erasures: dict[int, list[Erasure]]) -> dict[str, int]:
    events = [draft.event for draft in drafts if draft.event is not None]
    types = Counter(event["type"] if event["type"] in TYPES else "(unknown type)" for event in events)
    counts = {"records": len(drafts), "events": len(events), "no events": len(drafts) - len(events)}
    counts |= {f"event {name}": types[name] for name in (*TYPES, "(unknown type)")}
    counts["withdrawals of consent"] = sum(event.get("consent") is False for event in events)
    counts["late"] = sum(draft.event is not None and draft.event["ts"] < draft.at for draft in drafts)
    counts["events with a visitor"] = sum(event.get("visitor_id") is not None for event in events)
    counts["erasures"] = sum(map(len, erasures.values()))
    return counts
