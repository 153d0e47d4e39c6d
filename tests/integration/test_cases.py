"""The five published cases, played through Kafka and a worker; what the front end reads must be what was published."""

import json
from typing import Any

from featurestore.columns.hashing import hash64
from featurestore.session.codec import unpack
from models.simulator.casestreams import CASE_NAMES, case_events
from tests.integration.shopfloor import Shopfloor, clicks, now_ms

PUBLISHED = {
    "A": ("Explorer", "trending-banner", "act"),
    "B": ("Evaluator", "comparison-panel", "act"),
    "C": ("Intent Buyer", "timed-discount", "act"),
    "D": ("Drop-Off Risk", "exit-intent-reminder", "act"),
    "E": ("Evaluator", "category-banner", "fallback"),
}


def play(name: str, session_id: str, end_ms: int) -> list[dict[str, Any]]:
    """Case ``name``, ending at ``end_ms``."""
    length = case_events(name, session_id, 0)[-1][2]
    return [json.loads(value) for _, value, _ in case_events(name, session_id, end_ms - length)]


def test_the_published_cases_end_in_the_published_actions(floor: Shopfloor) -> None:
    """A banner, B comparison, C a tenth off for 15 minutes, D reminder with free shipping, E its fallback."""
    floor.worker().start()
    end = now_ms()
    sessions = {name: f"{floor.topic}-{name}" for name in CASE_NAMES}
    for name, session_id in sessions.items():
        # Cases outlast the five minutes within which a `ts` is believed, so the records are as old as the clicks.
        floor.send(play(name, session_id, end), recorded=True)

    def current(name: str) -> dict[str, Any]:
        return floor.decision(sessions[name]) or {"event_ts": 0}

    floor.until(lambda: all(current(name)["event_ts"] >= end for name in CASE_NAMES), "every case is played")
    found = {name: current(name) for name in CASE_NAMES}
    assert {name: (d["stage"], d["action"], d["route"]) for name, d in found.items()} == PUBLISHED
    assert {name for name, d in found.items() if d["confidence"] < 0.7} == {"E"}
    assert found["E"]["guards"] == ["low_confidence"]
    offer = found["C"]["expires_at"] - end
    assert 0 < offer <= 15 * 60_000, "the offer began with the second item in the cart and ends 15 minutes later"
    assert all(found[name]["expires_at"] >= end + 29 * 60_000 for name in "ABDE")


def test_withdrawn_consent_leaves_only_the_withdrawal(floor: Shopfloor) -> None:
    """`consent: false` clears state and decision; neither a timer nor an event that is sent again brings them back."""
    floor.worker().start()
    gone, stays = f"{floor.topic}-gone", f"{floor.topic}-stays"
    # Silence of 85 s after clicks every 20 s: 8 s from now both would be idle.
    last = now_ms() - 77_000
    floor.send([*clicks(gone, last), *clicks(stays, last)], recorded=True)
    floor.until(lambda: None not in floor.stages([gone, stays]), "both have a decision")
    assert len(floor.mentions(gone)) >= 3, "state, deadline, decision"
    floor.send([{"session_id": gone, "type": "view_item", "ts": now_ms(), "page": "/x", "consent": False}])
    floor.until(lambda: floor.stages([gone])[0] is None, "the decision is gone")
    floor.send(clicks(gone, last), recorded=True)
    floor.until(lambda: floor.stages([stays]) == ["Drop-Off Risk"], "the deadline of the other has passed")
    floor.until(lambda: not any("outbox" in key for key in floor.mentions(gone)), "the outbox has been delivered")
    assert floor.stages([gone]) == [None]
    [state] = unpack(floor.stored(gone), hash64([gone])).states
    assert state["withdrawn"] != 0
    assert (state["num_clicks"], state["pages"], state["visitor"], state["counts"].sum()) == (0, 0, 0, 0)
