"""What the shop gains, counted from finished sessions: conversion, order value, actions shown, recovered drop-offs.

A session counts once, when its END row is applied; bots do not count. The stage is the last one shown.

Recovery. Nearly every session ends in silence, and silence is Drop-Off Risk, so the last stage alone says nothing. What
does is whether an event came after the shopper had been at Drop-Off Risk: time spent in the stage apart from the final
silence, which the policy's stage clock counts as exactly its cap. Of the sessions that were at risk:

- ``bought``: the shopper came back and the session holds a purchase;
- ``returned``: the shopper came back, without a purchase;
- ``lost``: the shopper did not come back and had bought nothing.

A shopper who buys and then leaves was not lost, and is in none of the three.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from decisions.experiments.arms import BITS_PER_EXPERIMENT
from decisions.policy.engine import MAX_GAP_MS
from featurestore.session.stages import DROP_OFF_RISK
from featurestore.session.state import IS_BOT
from worker.metrics.labels import RECOVERY_OUTCOMES, SESSION_OUTCOMES, STAGES_OR_NONE
from worker.metrics.metrics import Metrics

MAX_ARMS: Final = 2**BITS_PER_EXPERIMENT - 1
MAX_EXPERIMENTS: Final = 32 // BITS_PER_EXPERIMENT

_NO_STAGE: Final = STAGES_OR_NONE.index("none")


class Names(Protocol):
    """What is needed of a policy."""

    @property
    def action_of(self) -> Mapping[int, str]:
        """Action by its id."""
        ...

    def arms_of(self, bits: int) -> Mapping[str, str]:
        """Experiment to arm, of packed arms; KeyError for a combination that the policy cannot have drawn."""
        ...


class Kpis:
    """Counts finished sessions into ``metrics``."""

    def __init__(self, metrics: Metrics, policy: Names) -> None:
        self._metrics = metrics
        self.use_policy(policy)

    def use_policy(self, policy: Names) -> None:
        """Name actions and arms by another policy from now on; what both know keeps its counts."""
        self._policy = policy
        self._metrics.actions_shown.use_axes({"action": sorted(set(policy.action_of.values()))})
        single = (arm << BITS_PER_EXPERIMENT * e for e in range(MAX_EXPERIMENTS) for arm in range(1, MAX_ARMS + 1))
        self._metrics.use_arms(self._arms_of(code) for code in single)

    def observe(self, states: NDArray[np.void], memory: NDArray[np.void], arms: NDArray[np.uint32]) -> None:
        """Count sessions that ended: rows of `STATE` and `MEMORY` as at their END rows, and their arms; shape (n,)."""
        people = states["flags"] & IS_BOT == 0
        if not people.all():
            states, memory, arms = states[people], memory[people], arms[people]
        if states.size == 0:
            return
        stage = np.where(memory["shown"] > 0, memory["shown"].astype(np.int64) - 1, _NO_STAGE)
        outcome = np.where(states["purchases"] > 0, 0, np.where(states["cart_items"] > 0, 1, 2))
        value = np.where(np.isfinite(states["purchase_value"]), states["purchase_value"], 0.0).astype(np.float64)
        n_stages, n_outcomes = len(STAGES_OR_NONE), len(SESSION_OUTCOMES)
        cells = np.bincount(stage * n_outcomes + outcome, minlength=n_stages * n_outcomes)
        self._metrics.sessions_finished.add(cells.reshape(n_stages, n_outcomes))
        self._count_money(stage, states, value)
        self._metrics.dropoff_sessions.add(_recovery(states, memory))
        self._count_actions(memory)
        self._count_arms(arms, outcome, states["currency"], value)

    def _count_actions(self, memory: NDArray[np.void]) -> None:
        used = np.arange(memory["action_id"].shape[1]) < memory["n_actions"][:, None]
        ids, times = memory["action_id"][used], memory["action_count"][used]
        for action_id in np.unique(ids).tolist():
            name = self._policy.action_of.get(action_id)
            if name is not None:  # else of a policy before this one, whose names are gone
                self._metrics.actions_shown.inc(name, by=float(times[ids == action_id].sum()))

    def _count_money(self, stage: NDArray[np.int64], states: NDArray[np.void], value: NDArray[np.float64]) -> None:
        """Orders by stage and currency: amounts of two currencies have no sum."""
        bought = states["purchases"] > 0
        for code in np.unique(states["currency"][bought]).tolist():
            mine = bought & (states["currency"] == code)
            currency = self._metrics.currency(code)
            for at in np.unique(stage[mine]).tolist():
                here = mine & (stage == at)
                self._metrics.order_value.inc(at, currency, by=float(value[here].sum()))
                self._metrics.paying_sessions.inc(at, currency, by=float(np.count_nonzero(here)))

    def _count_arms(
        self,
        arms: NDArray[np.uint32],
        outcome: NDArray[np.int64],
        currencies: NDArray[np.uint16],
        value: NDArray[np.float64],
    ) -> None:
        for code in np.unique(arms).tolist():
            mine = arms == code
            counts = np.bincount(outcome[mine], minlength=len(SESSION_OUTCOMES)).tolist()
            for experiment, arm in self._arms_of(code).items():
                for name, n in zip(SESSION_OUTCOMES, counts, strict=True):
                    self._metrics.arm_sessions.inc(experiment, arm, name, by=n)
                for currency, total in self._by_currency(currencies[mine], value[mine]):
                    self._metrics.arm_order_value.inc(experiment, arm, currency, by=total)

    def _by_currency(self, currencies: NDArray[np.uint16], value: NDArray[np.float64]) -> Iterator[tuple[str, float]]:
        for code in np.unique(currencies[value > 0]).tolist():
            yield self._metrics.currency(code), float(value[currencies == code].sum())

    def _arms_of(self, code: int) -> Mapping[str, str]:
        try:
            return self._policy.arms_of(code)
        except KeyError:  # drawn by a policy before this one
            return {}


def _recovery(states: NDArray[np.void], memory: NDArray[np.void]) -> NDArray[np.int64]:
    ended_at_risk = memory["shown"] == DROP_OFF_RISK + 1
    at_risk_ms = memory["stage_ms"][:, DROP_OFF_RISK].astype(np.int64)
    came_back = at_risk_ms > np.where(ended_at_risk, MAX_GAP_MS, 0)
    bought = states["purchases"] > 0
    lost = ended_at_risk & ~came_back & ~bought
    counts = {"bought": came_back & bought, "returned": came_back & ~bought, "lost": lost}
    return np.array([np.count_nonzero(counts[name]) for name in RECOVERY_OUTCOMES])
