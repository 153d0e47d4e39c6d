"""An incident changes what it names, while it lasts, and leaves all else as it was to the byte."""

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from featurestore.errors import SettingsError
from models.simulator.incidents import Incident, parse
from models.simulator.simulator import SimConfig, SimEvent, simulate

BASE = SimConfig(sessions=400, seed=3, sessions_per_s=1.0)
BEGIN, LENGTH = 100.0, 150.0


def events(*incidents: str) -> list[SimEvent]:
    found = BASE.model_copy(update={"incidents": tuple(parse(text) for text in incidents)})
    return [event for chunk in simulate(found) for event in chunk]


def split(log: list[SimEvent]) -> tuple[list[SimEvent], list[SimEvent]]:
    """What arrived outside and inside the stretch of time."""
    ends = BASE.start_ms + BEGIN * 1000, BASE.start_ms + (BEGIN + LENGTH) * 1000
    inside = [event for event in log if ends[0] <= event[2] < ends[1]]
    return [event for event in log if not ends[0] <= event[2] < ends[1]], inside


def types(log: list[SimEvent]) -> Counter[str]:
    return Counter(json.loads(value)["type"] for _, value, _ in log)


AT = f"@{BEGIN:g}+{LENGTH:g}"
PLAIN = split(events())
WAVES = ("bots=0.1", "scrapers=0.2")


@pytest.mark.parametrize(
    "text", [f"outage=page_view{AT}", f"double=page_view{AT}", f"double=all{AT}", f"clock=-240{AT}*0.3"]
)
def test_outside_its_time_nothing_changes(text: str) -> None:
    log = events(text)
    assert split(log)[0] == PLAIN[0]
    assert log != PLAIN[0] + PLAIN[1]
    assert all(a[2] <= b[2] for a, b in pairwise(log)), "in the order of arrival"


@pytest.mark.issue(20, line=21)
def test_an_outage_takes_the_events_of_one_type() -> None:
    found = types(split(events(f"outage=page_view{AT}"))[1])
    assert found == types(PLAIN[1]) - Counter(page_view=10**9)


@pytest.mark.parametrize("what", ["view_item", "all"])
def test_a_doubled_tag_sends_the_same_event_under_another_id(what: str) -> None:
    log = split(events(f"double={what}{AT}"))[1]
    plain = types(PLAIN[1])
    assert types(log) == Counter({name: n * (2 if what in {name, "all"} else 1) for name, n in plain.items()})
    ids = Counter((key, json.loads(value)["event_id"]) for key, value, _ in log)
    assert max(ids.values()) <= max(Counter((k, json.loads(v)["event_id"]) for k, v, _ in PLAIN[1]).values())


def test_a_fleet_of_wrong_clocks_moves_times_and_not_arrivals() -> None:
    log = split(events(f"clock=-240{AT}*0.3"))[1]
    off: dict[bytes, set[int]] = {}
    for (key, value, at), (_, before, as_before) in zip(log, PLAIN[1], strict=True):
        assert at == as_before
        off.setdefault(key, set()).add(json.loads(value)["ts"] - json.loads(before)["ts"])
    assert all(len(shifts) == 1 for shifts in off.values()), "a clock is off for all of a session"
    wrong = [key for key, shifts in off.items() if shifts == {-240_000}]
    assert 0.2 < len(wrong) / len(off) < 0.4


@pytest.mark.parametrize("text", WAVES)
def test_a_wave_adds_sessions_and_changes_none(text: str) -> None:
    log = events(text + AT)
    ours = [event for event in log if event[0].startswith(text.split("=", maxsplit=1)[0].encode())]
    mine = {event[0] for event in ours}
    assert [event for event in log if event[0] not in mine] == events()
    names = Counter(key for key, _, _ in ours)
    assert len(names) == round(float(text.split("=")[1]) * LENGTH)
    longest = max(names.values())
    assert longest > 250 if "bots" in text else longest <= 200, "a scraper stays below a bot's clicks"
    assert all(a[2] <= b[2] for a, b in pairwise(log)), "in the order of arrival"
    assert min(t for _, _, t in ours) >= BASE.start_ms + BEGIN * 1000


def test_the_notation_is_read() -> None:
    assert parse("clock=-240@3600+60.5*0.3") == Incident("clock", "-240", 3600.0, 60.5, 0.3)
    assert parse("double=all") == Incident("double", "all")


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("fire=all", "kinds are outage, double, clock, bots, scrapers"),
        ("outage", "like outage=add_to_cart@3600"),
        ("outage=add_to_basket", "is no event type"),
        ("outage=all", "is no event type"),
        ("clock=slow", "give the seconds that clocks are off"),
        ("bots=many", "give the sessions that begin per second"),
        ("double=all*7", "at most 1"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, remedy: str) -> None:
    with pytest.raises(SettingsError, match=remedy):
        parse(text)


@pytest.mark.issue(20, line=21, sibling=True)
def test_a_simulation_with_incidents_is_the_same_each_time() -> None:
    texts: list[Any] = [f"{wave}{AT}" for wave in WAVES]
    assert events(*texts) == events(*texts)
