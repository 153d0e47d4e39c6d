"""What goes wrong with real traffic: an incident changes the events of a stretch of time, and nothing else.

- ``outage``: the events of a type are not sent
- ``double``: the events of a type, or ``all``, are sent twice, the second time under another event id
- ``clock``: the clocks of some sessions are off by so many seconds; their events arrive as before
- ``bots``: further sessions that click without end
- ``scrapers``: further sessions that fetch page after page, fewer than a bot's, without ever filling a cart
"""

import heapq
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from featurestore.columns.hashing import hash_text
from featurestore.contract.event import EVENT_TYPES
from featurestore.errors import SettingsError

Event = tuple[bytes, bytes, int]
"""Key, value, and the time of the Kafka record in epoch ms; as `models.simulator.simulator.SimEvent`."""

KINDS: Final = ("outage", "double", "clock", "bots", "scrapers")
ALL: Final = "all"
BOT_GAP_MS: Final = 400
SCRAPER_GAP_MS: Final = 700
BOT_CLICKS: Final = 1_200
SCRAPER_PAGES: Final = (80, 200)

_TS: Final = re.compile(rb'"ts":(\d+)')
_ID: Final = b'"event_id":"'


@dataclass(frozen=True)
class Incident:
    """One incident.

    Attributes:
        kind: one of `KINDS`.
        what: the event type of an outage or a doubled tag; seconds that clocks are off, fast above 0; sessions that
            begin per second in a wave.
        begin_s: seconds after the simulation's start.
        length_s: how long it lasts.
        share: of the events or the sessions that it meets.
    """

    kind: str
    what: str
    begin_s: float = 0.0
    length_s: float = float("inf")
    share: float = 1.0

    def holds(self, start_ms: int, t: int) -> bool:
        """Whether it is going on at ``t``, epoch ms."""
        return self.begin_s * 1000 <= t - start_ms < (self.begin_s + self.length_s) * 1000


def parse(text: str) -> Incident:
    """``KIND=WHAT[@BEGIN[+LENGTH]][*SHARE]``: ``outage=add_to_cart@3600+1800``, ``clock=-240@3600*0.3``.

    Raises:
        SettingsError: with what to write instead.
    """
    match = re.fullmatch(r"(\w+)=([\w.-]+)(?:@([\d.]+)(?:\+([\d.]+))?)?(?:\*([\d.]+))?", text.strip())
    if match is None or match[1] not in KINDS:
        raise SettingsError(
            f"--incident {text!r}: write KIND=WHAT@BEGIN+LENGTH*SHARE in seconds, like outage=add_to_cart@3600+1800; "
            f"kinds are {', '.join(KINDS)}"
        )
    kind, what = match[1], match[2]
    begin, length, share = float(match[3] or 0), float(match[4] or "inf"), float(match[5] or 1)
    if kind in {"outage", "double"} and what not in EVENT_TYPES and not (kind == "double" and what == ALL):
        raise SettingsError(f"--incident {text!r}: {what!r} is no event type; types are {', '.join(EVENT_TYPES)}")
    if kind not in {"outage", "double"} and not _is_number(what):
        unit = "seconds that clocks are off" if kind == "clock" else "sessions that begin per second"
        raise SettingsError(f"--incident {text!r}: {what!r} is no number; give the {unit}")
    if not 0 < share <= 1:
        raise SettingsError(f"--incident {text!r}: the share is more than 0 and at most 1")
    return Incident(kind, what, begin, length, share)


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < 1e6
    except ValueError:
        return False


def happen(chunks: Iterator[list[Event]], incident: Incident, start_ms: int, seed: int) -> Iterator[list[Event]]:
    """The same events in the order of their arrival, with the incident in them."""
    if incident.kind in {"bots", "scrapers"}:
        return _merged(chunks, _wave(incident, start_ms, seed))
    change = {"outage": _outage, "double": _double, "clock": _clock}[incident.kind](incident)
    return (_changed(chunk, incident, start_ms, change) for chunk in chunks)


def _changed(
    chunk: list[Event], incident: Incident, start_ms: int, change: Callable[[Event], list[Event]]
) -> list[Event]:
    out: list[Event] = []
    for event in chunk:
        out += change(event) if incident.holds(start_ms, event[2]) else [event]
    return out


def _chosen(name: bytes, share: float) -> bool:
    return share >= 1 or hash_text(name.decode()) % 10_000 < share * 10_000


def _outage(incident: Incident) -> Callable[[Event], list[Event]]:
    mark = b'"type":"%b"' % incident.what.encode()
    return lambda event: [] if mark in event[1] and _chosen(event[0], incident.share) else [event]


def _double(incident: Incident) -> Callable[[Event], list[Event]]:
    mark = b"" if incident.what == ALL else b'"type":"%b"' % incident.what.encode()

    def twice(event: Event) -> list[Event]:
        key, value, at = event
        if mark not in value or not _chosen(key, incident.share):
            return [event]
        return [event, (key, value.replace(_ID, _ID + b"again.", 1), at)]

    return twice


def _clock(incident: Incident) -> Callable[[Event], list[Event]]:
    off_ms = round(float(incident.what) * 1000)

    def shifted(event: Event) -> list[Event]:
        key, value, at = event
        if not _chosen(key, incident.share):
            return [event]
        return [(key, _TS.sub(lambda m: b'"ts":%d' % (int(m[1]) + off_ms), value, count=1), at)]

    return shifted


def _wave(incident: Incident, start_ms: int, seed: int) -> Iterator[Event]:
    """The events of the wave's sessions, in order; a wave without end begins sessions for an hour."""
    rng = np.random.default_rng([seed, KINDS.index(incident.kind)])
    rate, length = float(incident.what), min(incident.length_s, 3_600.0)
    begin = start_ms + round(incident.begin_s * 1000)
    starts = np.sort(rng.random(max(1, round(rate * length)))) * length * 1000
    bots = incident.kind == "bots"
    gap = BOT_GAP_MS if bots else SCRAPER_GAP_MS
    sessions = (
        _robot(f"{incident.kind}{seed:x}-{i}", begin + int(at), gap, _length(bots, rng), bots=bots)
        for i, at in enumerate(starts)
    )
    yield from heapq.merge(*sessions, key=lambda event: event[2])


def _length(bots: bool, rng: np.random.Generator) -> int:
    return BOT_CLICKS if bots else int(rng.integers(*SCRAPER_PAGES))


def _robot(name: str, begin: int, gap_ms: int, n: int, *, bots: bool) -> Iterator[Event]:
    """A robot's events: a bot clicks on one page, a scraper fetches lists and articles."""
    for i in range(n):
        t = begin + i * gap_ms
        kind = "click" if bots else ("view_item_list" if i % 10 == 0 else "view_item")
        page = "/" if bots else f"/p/{100 + i}"
        value = {
            "session_id": name,
            "type": kind,
            "ts": t,
            "event_id": f"{name}.{i}",
            "page": page,
            "device": "desktop",
        }
        yield name.encode(), json.dumps(value, separators=(",", ":")).encode(), t


def _merged(chunks: Iterator[list[Event]], wave: Iterator[Event]) -> Iterator[list[Event]]:
    """Both in the order of arrival, in the chunks of the first."""
    coming = next(wave, None)
    for chunk in chunks:
        until = chunk[-1][2] if chunk else 0
        more: list[Event] = []
        while coming is not None and coming[2] <= until:
            more.append(coming)
            coming = next(wave, None)
        yield list(heapq.merge(chunk, more, key=lambda event: event[2])) if more else chunk
    rest = [coming, *wave] if coming is not None else []
    if rest:
        yield rest
