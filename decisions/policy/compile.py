"""A checked policy as one record of flat arrays that the engine's loop reads."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from decisions.experiments.arms import UNIT_SESSION, UNIT_VISITOR, arm_salt, layer_salt
from decisions.policy.conditions import OPERATORS, HeadOutputs, category_code, compared, numbers
from decisions.policy.model import (
    MAX_ACTIONS,
    MAX_ARMS,
    MAX_CONDITION_VALUES,
    MAX_CONDITIONS,
    MAX_EXCLUDED,
    MAX_EXPERIMENTS,
    MAX_RULES,
    NEXT_WORD,
    PolicyFile,
    action_ids,
)
from featurestore.contract.codes import currency_code
from featurestore.session.stages import STAGES

FALLBACK_NEUTRAL: Final = -1
FALLBACK_NEXT: Final = -2
NO_CAP: Final = 1 << 30
NEVER: Final = 1e9


_N_RULES: Final = len(STAGES) * MAX_RULES
_N_ACTIONS: Final = MAX_ACTIONS + 1

TABLES: Final = np.dtype(
    [
        # by stage; rule_from[s]:rule_from[s + 1] are the rules of stage s
        ("threshold", "<f8", (len(STAGES),)),
        ("fallback", "<i8", (len(STAGES),)),
        ("rule_from", "<i8", (len(STAGES) + 1,)),
        # by rule; cond_from[r]:cond_from[r + 1] are the conditions of rule r
        ("rule_action", "<i8", (_N_RULES,)),
        ("cond_from", "<i8", (_N_RULES + 1,)),
        # by condition; value_from[c]:value_from[c + 1] are the values of condition c
        ("cond_variable", "<i8", (MAX_CONDITIONS,)),
        ("cond_operator", "<i8", (MAX_CONDITIONS,)),
        ("value_from", "<i8", (MAX_CONDITIONS + 1,)),
        ("values", "<f8", (MAX_CONDITION_VALUES,)),
        # by action
        ("n_actions", "<i8"),
        ("action_id", "<i8", (_N_ACTIONS,)),
        ("persuasive", "u1", (_N_ACTIONS,)),
        ("urgency", "u1", (_N_ACTIONS,)),
        ("killed", "u1", (_N_ACTIONS,)),
        ("limited", "u1", (_N_ACTIONS,)),
        ("offer_ms", "<i8", (_N_ACTIONS,)),
        ("cool_down_ms", "<i8", (_N_ACTIONS,)),
        ("session_cap", "<i8", (_N_ACTIONS,)),
        ("visitor_cap", "<i8", (_N_ACTIONS,)),
        # of the whole policy
        ("n_excluded", "<i8"),
        ("excluded", "<i8", (MAX_EXCLUDED,)),
        ("margin", "<f8"),
        ("persistence", "<i8"),
        ("neutral", "<i8"),
        ("all_killed", "u1"),
        ("currency", "<i8"),
        ("persuasive_per_session", "<i8"),
        ("persuasive_per_visitor", "<i8"),
        ("urgency_first_visit", "u1"),
        ("urgency_min_confidence", "<f8"),
        # by experiment in file order, then arm
        ("n_experiments", "<i8"),
        ("unit", "<i8", (MAX_EXPERIMENTS,)),  # UNIT_SESSION or UNIT_VISITOR
        ("layer_salt", "<u8", (MAX_EXPERIMENTS,)),
        ("low", "<f8", (MAX_EXPERIMENTS,)),  # the experiment's part of its layer
        ("high", "<f8", (MAX_EXPERIMENTS,)),
        ("salt", "<u8", (MAX_EXPERIMENTS,)),
        ("until", "<f8", (MAX_EXPERIMENTS, MAX_ARMS + 1)),  # upper end of each arm in [0, 1]; 2 beyond the last
        ("holdout", "u1", (MAX_EXPERIMENTS, MAX_ARMS)),
        ("replaced", "<i8", (MAX_EXPERIMENTS, MAX_ARMS, _N_ACTIONS)),  # the action shown in place of each action
    ]
)
"""A policy as one record: compiled code takes it as a pointer, where a tuple of arrays costs a reference count each."""


def compile_policy(policy: PolicyFile, outputs: HeadOutputs = ()) -> NDArray[np.void]:
    """Flatten a policy that `model.load` accepted, with the same ``outputs``, into one row of `TABLES`, shape (1,)."""
    tables = np.zeros(1, TABLES)
    number = {name: i for i, name in enumerate(policy.action_names)}
    _rules(tables[0], policy, number, outputs)
    _actions(tables[0], policy)
    _experiments(tables[0], policy, number)
    margin, persistence = policy.hysteresis.margin, policy.hysteresis.persistence
    at_once = margin is None and persistence is None
    guardrails = policy.guardrails
    excluded = sorted(category_code(c) for c in guardrails.excluded_categories)
    for name, value in (
        ("n_excluded", len(excluded)),
        ("margin", 0.0 if at_once else NEVER if margin is None else margin),
        ("persistence", NO_CAP if persistence is None else persistence),
        ("neutral", 0 if policy.neutral in policy.kill_switches.actions else number[policy.neutral]),
        ("all_killed", policy.kill_switches.all),
        ("currency", currency_code(policy.currency)),
        ("persuasive_per_session", _cap(guardrails.persuasive_per_session)),
        ("persuasive_per_visitor", _cap(guardrails.persuasive_per_visitor)),
        ("urgency_first_visit", guardrails.urgency_for_first_time_visitors),
        ("urgency_min_confidence", guardrails.urgency_min_confidence),
    ):
        tables[name] = value
    tables["excluded"][0, : len(excluded)] = excluded
    tables.setflags(write=False)
    return tables


def _rules(t: np.void, policy: PolicyFile, number: dict[str, int], outputs: HeadOutputs) -> None:
    stages = [policy.stages.get(name) for name in STAGES]
    rules = [rule for stage in stages if stage for rule in stage.rules]
    conditions = [rule.conditions() for rule in rules]
    flat = [c for many in conditions for c in many]
    variables, sides = numbers(outputs), [compared(c, outputs) for c in flat]
    _fill(t["threshold"], [s.threshold if s else 0.0 for s in stages])
    _fill(t["fallback"], [_fallback(s.fallback) if s else FALLBACK_NEUTRAL for s in stages])
    _fill(t["rule_from"], _starts([len(s.rules) if s else 0 for s in stages]))
    _fill(t["rule_action"], [number[r.show] for r in rules])
    _fill(t["cond_from"], _starts([len(many) for many in conditions]))
    _fill(t["cond_variable"], [variables[name] for name, _ in sides])
    _fill(t["cond_operator"], [OPERATORS.index(c.operator) for c in flat])
    _fill(t["value_from"], _starts([len(values) for _, values in sides]))
    _fill(t["values"], [v for _, values in sides for v in values])


def _actions(t: np.void, policy: PolicyFile) -> None:
    t["n_actions"] = len(policy.action_names)
    t["session_cap"] = t["visitor_cap"] = NO_CAP
    _fill(t["action_id"], action_ids(policy))
    for i, (name, action) in enumerate(policy.actions.items(), 1):
        t["persuasive"][i] = action.persuasive
        t["urgency"][i] = action.urgency
        t["killed"][i] = name in policy.kill_switches.actions
        t["limited"][i] = bool(action.session_cap or action.cool_down_seconds or action.max_per_visitor)
        t["offer_ms"][i] = round((action.offer_minutes or 0) * 60_000)
        t["cool_down_ms"][i] = action.cool_down_seconds * 1000
        t["session_cap"][i] = _cap(action.session_cap)
        t["visitor_cap"][i] = _cap(action.max_per_visitor)


def _experiments(t: np.void, policy: PolicyFile, number: dict[str, int]) -> None:
    t["n_experiments"] = len(policy.experiments)
    t["until"] = 2.0
    t["replaced"] = np.arange(_N_ACTIONS)
    taken: dict[str, float] = {}
    for e, (name, experiment) in enumerate(policy.experiments.items()):
        layer = experiment.layer or name
        low = taken.get(layer, 0.0)
        taken[layer] = low + experiment.share
        t["unit"][e] = UNIT_VISITOR if experiment.unit == "visitor" else UNIT_SESSION
        t["layer_salt"][e] = layer_salt(layer)
        t["salt"][e] = arm_salt(name, experiment.salt_version)
        t["low"][e] = low
        t["high"][e] = 2.0 if taken[layer] > 1 - 1e-9 else taken[layer]
        shares = [arm.share for arm in experiment.arms.values()]
        t["until"][e, : len(shares) - 1] = np.cumsum(shares)[:-1]  # the last arm takes what rounding leaves
        for a, arm in enumerate(experiment.arms.values()):
            t["holdout"][e, a] = arm.holdout
            for old, new in arm.replace.items():
                t["replaced"][e, a, number[old]] = number[new]


def _fill(field: NDArray[np.generic], values: Sequence[float]) -> None:
    field[: len(values)] = values


def _starts(lengths: list[int]) -> list[int]:
    return [0, *accumulate(lengths)]


def _cap(value: int | None) -> int:
    return NO_CAP if value is None else value


def _fallback(word: str) -> int:
    if word == NEXT_WORD:
        return FALLBACK_NEXT
    return STAGES.index(word) if word in STAGES else FALLBACK_NEUTRAL
