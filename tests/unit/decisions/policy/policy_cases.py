"""Observations and random policies for the tests of the policy."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from decisions.policy import GUARDS, ROUTES, Policy
from decisions.policy.conditions import category_code
from featurestore.contract.codes import currency_code
from featurestore.session.features import N_FEATURES
from featurestore.session.layout import MEMORY, STATE
from featurestore.session.observation import (
    BOT,
    CLEAR,
    CONTEXT,
    END,
    EVENT_ROW,
    OBSERVATION,
    SILENCE,
    UPLOAD,
    Observations,
)
from featurestore.session.stages import STAGES
from featurestore.session.visitors import NOBODY
from tests.unit.decisions.policy.policy_twin import Answer, Row

START = 1_700_000_000_000
ACTIONS = [f"action-{i}" for i in range(12)]
CATEGORIES = ["shoes", "health", "garden"]
QUIET = (0.0,) * N_FEATURES


def observed(rows: Sequence[Row]) -> tuple[Observations, NDArray[np.float64]]:
    """The rows as a fold would hand them over, and their probabilities."""
    obs = np.zeros(len(rows), OBSERVATION)
    context = np.zeros(len(rows), CONTEXT)
    for i, row in enumerate(rows):
        obs[i]["session_index"], obs[i]["kind"], obs[i]["t"] = row.session_index, row.kind, row.t
        for name in CONTEXT.names or ():
            context[i][name] = getattr(row, name)
    features = np.array([row.features for row in rows], np.float64).reshape(-1, N_FEATURES)
    ended = np.zeros(int((obs["kind"] == END).sum()), STATE)
    probabilities = np.array([row.probabilities for row in rows], np.float64).reshape(-1, 4)
    return Observations(obs, features, context, ended, 0, 0), probabilities


def run(policy: Policy, rows: Sequence[Row], memory: NDArray[np.void]) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Decide; no other heads, no profiles."""
    seen, probabilities = observed(rows)
    return policy.decide(seen, probabilities, np.empty((len(rows), 0)), np.zeros(memory.size, STATE), memory, NOBODY)


def decided(policy: Policy, rows: Sequence[Row], memory: NDArray[np.void]) -> list[Answer]:
    """The engine's decisions in the twin's words."""
    decisions, _ = run(policy, rows, memory)
    return [
        Answer(
            ROUTES[d["route"]],
            STAGES[d["stage"]],
            policy.action_names[d["action"]],
            frozenset(name for i, name in enumerate(GUARDS) if d["guards"] >> i & 1),
            int(d["offer_until"]),
            tuple(policy.arms[int(d["arms"])].items()),
            bool(d["changed"] & 1),
            bool(d["changed"] & 2),
        )
        for d in decisions
    ]


def memories(n: int) -> NDArray[np.void]:
    return np.zeros(n, MEMORY)


def sure(stage: str, confidence: float = 0.95) -> tuple[float, ...]:
    """Probabilities with ``confidence`` for a stage, the rest shared."""
    return tuple(confidence if s == stage else (1 - confidence) / 3 for s in STAGES)


def policy_text(**parts: Any) -> str:
    """A small valid policy with some parts replaced."""
    base: dict[str, Any] = {
        "version": "t",
        "actions": {"banner": {"label": "Banner"}, "panel": {"label": "Panel"}},
        "stages": {
            "Explorer": {"rules": [{"show": "banner"}]},
            "Evaluator": {"rules": [{"show": "panel"}], "fallback": "Explorer"},
        },
    }
    return json.dumps(base | parts, indent=1)  # JSON is YAML, and has no aliases


@st.composite
def conditions(draw: st.DrawFn) -> str:
    return draw(
        st.sampled_from(
            [
                "pages_viewed >= 3",
                "pages_viewed < 3 and idle_time > 10",
                "bounce_rate <= 0.5",
                "device == mobile",
                "source in [paid, social]",
                "country in [DE, unknown]",
                "first_time_visitor == true",
                "first_time_visitor == false",
                "cart_value >= 12.5",
                "cart_items > 1",
                "category in [shoes, health]",
                "purchases == 0",
                "earlier_segment == buyers",
                'earlier_segment in ["cart leavers", comparers]',
            ]
        )
    )


@st.composite
def actions(draw: st.DrawFn) -> dict[str, Any]:
    persuasive = draw(st.booleans())
    action: dict[str, Any] = {"label": "x", "persuasive": persuasive}
    if persuasive:
        action["urgency"] = draw(st.booleans())
        if draw(st.booleans()):
            action["offer_minutes"] = draw(st.sampled_from([0.5, 3]))
        if draw(st.booleans()):
            action["max_per_visitor"] = draw(st.integers(1, 3))
    action["cool_down_seconds"] = draw(st.sampled_from([0, 0, 30, 200]))
    cap = draw(st.sampled_from([None, None, 1, 2]))
    if cap is not None and (cap == 1 or action["cool_down_seconds"] >= action.get("offer_minutes", 0) * 60):
        action["max_per_session"] = cap
    return action


@st.composite
def experiments(draw: st.DrawFn) -> dict[str, Any]:
    found = {}
    for i in range(draw(st.integers(0, 3))):
        share = draw(st.sampled_from([0.25, 0.5]))
        arms: dict[str, Any] = {"control": {"share": 0.5}, "other": {"share": 0.25}, "last": {"share": 0.25}}
        if draw(st.booleans()):
            arms["other"]["holdout"] = True
        else:
            target = draw(st.sampled_from([*ACTIONS[:4], "none"]))
            arms["other"]["replace"] = {draw(st.sampled_from(ACTIONS[:4])): target}
        unit = draw(st.sampled_from(["session", "visitor"]))
        found[f"x{i}"] = {"unit": unit, "share": share, "arms": arms}
        if i < 2:
            found[f"x{i}"]["layer"] = "shared"
    return found


@st.composite
def policies(draw: st.DrawFn) -> str:
    """The text of a random valid policy."""
    table = {name: draw(actions()) for name in ACTIONS}
    table[ACTIONS[11]] = {"label": "neutral"}
    order = draw(st.permutations(STAGES))
    stages = {}
    for i, name in enumerate(order[: draw(st.integers(2, 4))]):
        few = st.sampled_from(ACTIONS[:4])  # stages share a few actions, so that they come and go
        shown = draw(st.lists(st.one_of(few, few, st.sampled_from([*ACTIONS, "none"])), max_size=4))
        rules = [{"show": a, "when": draw(st.one_of(st.just([]), st.lists(conditions(), max_size=2)))} for a in shown]
        choices = ["neutral", "next", *order[:i]]  # only to stages before it: no circle
        stages[name] = {
            "rules": rules,
            "threshold": draw(st.sampled_from([0.0, 0.5, 0.7])),
            "fallback": draw(st.sampled_from(choices)),
        }
    hysteresis = {}
    if draw(st.booleans()):
        hysteresis["margin"] = draw(st.sampled_from([0.1, 0.4]))
    if draw(st.booleans()):
        hysteresis["persistence"] = draw(st.integers(1, 4))
    return policy_text(
        actions=table,
        stages=stages,
        neutral=draw(st.sampled_from(["none", ACTIONS[11]])),
        currency=draw(st.sampled_from(["", "", "EUR"])),
        hysteresis=hysteresis,
        guardrails={
            "persuasive_per_session": draw(st.sampled_from([None, None, 4, 2, 1, 0])),
            "persuasive_per_visitor": draw(st.sampled_from([None, 2, 4])),
            "urgency_for_first_time_visitors": draw(st.booleans()),
            "urgency_min_confidence": draw(st.sampled_from([0.0, 0.6, 0.9])),
            "excluded_categories": draw(st.sampled_from([[], ["health"]])),
        },
        kill_switches={
            "all": draw(st.integers(0, 19)) == 19,
            "actions": draw(st.lists(st.sampled_from(ACTIONS), max_size=2, unique=True)),
        },
        experiments=draw(experiments()),
    )


@st.composite
def row_lists(draw: st.DrawFn, n_sessions: int = 2, size: int = 60) -> list[Row]:
    """Random observations of a few sessions, time running forward but for late events."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, size))
    alpha = draw(st.sampled_from([0.05, 0.3, 1.0]))
    rows = []
    t = START
    kinds = [EVENT_ROW] * 40 + [SILENCE] * 6 + [END, CLEAR, BOT, UPLOAD, UPLOAD]
    for _ in range(n):
        t += int(rng.choice([500, 5_000, 20_000, 70_000, -3_000]))
        session_index = int(rng.integers(n_sessions))
        features = [float(x) for x in rng.choice([0.0, 0.5, 1.0, 3.0, 12.0], N_FEATURES)]
        if rng.random() < 0.3:
            features[5] = float("nan")
        rows.append(
            Row(
                session_index=session_index,
                kind=int(rng.choice(kinds)),
                t=t,
                features=features,
                probabilities=[float(x) for x in rng.dirichlet([alpha] * 4)],
                session=session_index * 7919 + 1,
                visitor=int(rng.choice([0, 5, 77])),
                category=category_code(str(rng.choice(CATEGORIES))),
                cart_value=float(rng.choice([0.0, 12.5, 80.0])),
                cart_items=int(rng.integers(3)),
                visitor_sessions=int(rng.integers(4)),
                visitor_actions=int(rng.choice([0, 0, 1, 3])),
                country=int(rng.choice([0, 0x4445, 0x4652])),
                device=int(rng.integers(5)),
                source=int(rng.integers(8)),
                purchases=int(rng.integers(2)),
                visitor_segment=int(rng.integers(7)),
                currency=int(rng.choice([0, currency_code("EUR"), currency_code("USD")])),
            )
        )
    return rows
