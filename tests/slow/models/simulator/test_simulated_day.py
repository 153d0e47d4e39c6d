"""Simulated shoppers under the shipped bundle and policy: every rung of the policy is met, every document is sound."""

from collections import Counter
from itertools import islice

import jsonschema
import pytest

from decisions import document as decision_document
from decisions import summaries
from decisions.intake import Records
from decisions.policy.vocabulary import GUARDS, ROUTES
from featurestore.session.stages import STAGES
from models.simulator.simulator import SimConfig, simulate
from worker.checks.recompute import Expected, engine_for, expect

SESSIONS = 1_500
SHOP = SimConfig(sessions=SESSIONS, seed=7, mix={"buyer": 4.0})
"""Four times the usual buyers: the guards on offers need some who come back to one."""


@pytest.fixture(scope="module")
def day() -> Expected:
    log = [event for chunk in simulate(SHOP) for event in chunk]
    times = [t for *_, t in log]
    records = Records(0, [value for _, value, _ in log], list(range(len(log))), times)
    return expect(engine_for(None, None, "topic"), {0: records}, max(times) + 3_600_000)


def test_routes_and_guards_appear(day: Expected) -> None:
    """A policy whose guards never speak is one that nobody tested."""
    routes = Counter(d["route"] for d in day.decisions.values())
    guards = Counter(guard for d in day.decisions.values() for guard in d.get("guards", []))
    assert routes.keys() <= set(ROUTES)
    assert guards.keys() <= set(GUARDS)
    assert routes.keys() >= {"act", "fallback", "neutral", "held", "guarded"}
    assert guards.keys() >= {"low_confidence", "urgency_first_visit", "action_session_cap", "cool_down"}
    assert routes["act"] > 0.9 * routes.total()
    assert {d["stage"] for d in day.decisions.values()} == set(STAGES)


def test_every_session_is_summed_up_once(day: Expected) -> None:
    """A session that pauses for half an hour counts as two; its summaries differ in `seq`."""
    assert len({key.session_id for key in day.summaries}) == len({key.session_id for key in day.decisions})
    assert {s["outcome"] for s in day.summaries.values()} == set(summaries.OUTCOMES)
    assert not day.store.decisions, "a decision must not outlive its session"


def test_documents_are_as_the_schemas_say(day: Expected) -> None:
    """One in twenty; the times that `verify` leaves out are put back."""
    times = {"decided_at": 1, "expires_at": 2}
    check = jsonschema.Draft202012Validator(decision_document.json_schema())
    for document in islice(day.decisions.values(), 0, None, 20):
        check.validate(document | times)
    check = jsonschema.Draft202012Validator(summaries.json_schema())
    for document in islice(day.summaries.values(), 0, None, 20):
        check.validate(document | times)
