"""The nine features one event at a time, in plain Python, on a dictionary; shared by the peers, without our code.

The peers see anonymous, punctual shoppers only, so that a bounce rate (unknown: the training median), duplicates and
session ends need no code: less work for them than for the worker.
"""

import json
import os
from typing import Any

STAGES = ("Explorer", "Evaluator", "Intent Buyer", "Drop-Off Risk")
PASSIVE = frozenset({"session_start", "scroll", "view_promotion"})
GAP_CAP_MS = 600_000


def empty(t: int) -> dict[str, Any]:
    """The state of a session that begins at ``t``, epoch ms."""
    return {
        "t_min": t,
        "t_max": t,
        "last": t,
        "clicks": 0,
        "pages": [],
        "cart": 0,
        "gap_sum": 0,
        "gap_n": 0,
        "gaps": [],
        "events": 0,
    }


def apply(state: dict[str, Any], event: dict[str, Any]) -> None:
    """Count one event in."""
    t = event["ts"]
    state["events"] += 1
    state["t_min"] = min(state["t_min"], t)
    state["t_max"] = max(state["t_max"], t)
    if event["type"] not in PASSIVE:
        if state["clicks"]:
            gap = min(max(t - state["last"], 0), GAP_CAP_MS)
            state["gap_sum"] += gap
            state["gap_n"] += 1
            state["gaps"] = [*state["gaps"][-4:], gap]
        state["clicks"] += 1
        state["last"] = max(state["last"], t)
    page = event.get("page")
    if page is not None and page not in state["pages"]:
        state["pages"].append(page)
    if event["type"] == "add_to_cart":
        state["cart"] += event.get("quantity", 1)


def features(state: dict[str, Any], bounce_rate: float) -> list[float]:
    """In the order of the model's columns."""
    duration = (state["t_max"] - state["t_min"]) / 1000.0
    clicks, pages, cart, gaps = state["clicks"], len(state["pages"]), state["cart"], state["gaps"]
    return [
        duration,
        float(clicks),
        float(pages),
        float(cart),
        state["gap_sum"] / 1000.0 / state["gap_n"] if state["gap_n"] else 0.0,
        bounce_rate,
        clicks / max(duration, 1.0),
        cart / max(pages, 1),
        sum(gaps) / 1000.0 / len(gaps) if gaps else 0.0,
    ]


def decision(session: str, probabilities: list[float], events: int) -> str:
    """The document that the peers write."""
    best = max(range(4), key=probabilities.__getitem__)
    return json.dumps(
        {
            "session_id": session,
            "stage": STAGES[best],
            "confidence": probabilities[best],
            "probabilities": probabilities,
            "events": events,
        }
    )


class Progress:
    """A count in a file, for whoever measures; written every few events."""

    def __init__(self, path: str, every: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT)
        self._every = every
        self.count = 0

    def add(self) -> None:
        """One more event is done."""
        self.count += 1
        if self.count % self._every == 0:
            os.pwrite(self._file, b"%020d" % self.count, 0)
