"""Business figures from finished sessions."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from decisions.policy.engine import MAX_GAP_MS
from featurestore.contract.codes import currency_code
from featurestore.session.layout import MEMORY, STATE
from featurestore.session.stages import DROP_OFF_RISK, EVALUATOR, INTENT_BUYER
from featurestore.session.state import IS_BOT, LIVE
from worker.metrics.catalogue import PREFIX
from worker.metrics.kpis import Kpis
from worker.metrics.metrics import Metrics


@dataclass
class Names:
    action_of: Mapping[int, str] = field(default_factory=lambda: {7: "banner", 9: "coupon"})
    known: Mapping[int, Mapping[str, str]] = field(
        default_factory=lambda: {
            1: {"price": "control"},
            2: {"price": "treated"},
            16: {"ui": "b"},
            18: {"price": "treated", "ui": "b"},
        }
    )

    def arms_of(self, bits: int) -> Mapping[str, str]:
        return self.known[bits]


class Shop:
    """Feeds sessions and reads figures."""

    def __init__(self, policy: Names | None = None) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.kpis = Kpis(self.metrics, policy or Names())

    def read(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(PREFIX + name, labels)

    def finish(self, states: NDArray[np.void], memory: NDArray[np.void], arms: list[int] | None = None) -> None:
        self.kpis.observe(states, memory, np.array(arms or [0] * states.size, np.uint32))


def sessions(n: int) -> tuple[NDArray[np.void], NDArray[np.void]]:
    states, memory = np.zeros(n, STATE), np.zeros(n, MEMORY)
    states["flags"] = LIVE
    return states, memory


def test_sessions_count_by_last_stage_and_outcome() -> None:
    shop = Shop()
    states, memory = sessions(4)
    memory["shown"] = [INTENT_BUYER + 1, INTENT_BUYER + 1, EVALUATOR + 1, 0]
    states["purchases"] = [1, 0, 0, 0]
    states["cart_items"] = [2, 1, 0, 0]
    states["purchase_value"] = [99.5, 0, 0, np.nan]
    shop.finish(states, memory)
    assert shop.read("sessions_finished_total", stage="Intent Buyer", outcome="bought") == 1
    assert shop.read("sessions_finished_total", stage="Intent Buyer", outcome="abandoned_cart") == 1
    assert shop.read("sessions_finished_total", stage="Evaluator", outcome="browsed") == 1
    assert shop.read("sessions_finished_total", stage="none", outcome="browsed") == 1
    assert shop.read("order_value_total", stage="Intent Buyer", currency="none") == 99.5
    assert shop.read("order_value_total", stage="none", currency="none") == 0


@pytest.mark.issue(20, line=14)
def test_money_is_counted_by_currency_and_unknown_codes_together() -> None:
    """Amounts of two currencies have no sum; only codes of ISO 4217 become labels, whatever events name."""
    shop = Shop()
    states, memory = sessions(6)
    memory["shown"] = INTENT_BUYER + 1
    states["purchases"] = [1, 1, 1, 1, 0, 1]
    states["purchase_value"] = [10.0, 20.0, 9_000.0, 5.0, 0.0, 7.0]
    states["currency"] = [currency_code(c) for c in ("EUR", "EUR", "JPY", "QQQ", "CHF", "ZZZ")]
    shop.finish(states, memory, [1] * 6)
    found = {
        (sample.labels["currency"]): sample.value
        for family in shop.registry.collect()
        for sample in family.samples
        if sample.name == PREFIX + "order_value_total" and sample.labels["stage"] == "Intent Buyer"
    }
    assert found == {"none": 0.0, "other": 12.0, "EUR": 30.0, "JPY": 9_000.0}
    assert shop.read("paying_sessions_total", stage="Intent Buyer", currency="EUR") == 2
    assert shop.read("arm_order_value_total", experiment="price", arm="control", currency="JPY") == 9_000.0
    shop.kpis.use_policy(Names())
    assert shop.read("arm_order_value_total", experiment="price", arm="control", currency="JPY") == 9_000.0
    assert shop.read("arm_order_value_total", experiment="ui", arm="control", currency="JPY") is None


def test_a_shopper_who_came_back_after_drop_off_risk_is_recovered() -> None:
    shop = Shop()
    states, memory = sessions(6)
    at_risk = DROP_OFF_RISK + 1
    memory["shown"] = [at_risk, at_risk, at_risk, at_risk, EVALUATOR + 1, EVALUATOR + 1]
    memory["stage_ms"][:, DROP_OFF_RISK] = [MAX_GAP_MS, MAX_GAP_MS, MAX_GAP_MS + 1, MAX_GAP_MS + 9_000, 5_000, 0]
    states["purchases"] = [0, 1, 0, 1, 0, 0]
    shop.finish(states, memory)
    assert shop.read("dropoff_sessions_total", outcome="lost") == 1  # not the one who bought and left
    assert shop.read("dropoff_sessions_total", outcome="returned") == 2
    assert shop.read("dropoff_sessions_total", outcome="bought") == 1


def test_bots_are_no_shoppers() -> None:
    shop = Shop()
    states, memory = sessions(2)
    states["flags"] |= IS_BOT
    states["purchases"] = 1
    shop.finish(states, memory)
    assert not shop.metrics.sessions_finished.values.any()


def test_actions_count_by_name_and_unknown_ids_are_left_out() -> None:
    shop = Shop()
    states, memory = sessions(2)
    memory["n_actions"] = [2, 1]
    memory["action_id"][:, :2] = [[7, 3], [7, 9]]  # the last one is beyond n_actions
    memory["action_count"][:, :2] = [[2, 1], [3, 5]]
    shop.finish(states, memory)
    assert shop.read("actions_shown_total", action="banner") == 5
    assert shop.read("actions_shown_total", action="coupon") == 0


def test_arms_count_sessions_outcomes_and_value() -> None:
    shop = Shop()
    states, memory = sessions(4)
    states["purchases"] = [1, 0, 1, 0]
    states["purchase_value"] = [10.0, 0, 30.0, 0]
    shop.finish(states, memory, [1, 2, 18, 0])
    assert shop.read("arm_sessions_total", experiment="price", arm="control", outcome="bought") == 1
    assert shop.read("arm_sessions_total", experiment="price", arm="treated", outcome="bought") == 1
    assert shop.read("arm_sessions_total", experiment="price", arm="treated", outcome="browsed") == 1
    assert shop.read("arm_sessions_total", experiment="ui", arm="b", outcome="bought") == 1
    assert shop.read("arm_order_value_total", experiment="price", arm="treated", currency="none") == 30.0


def test_arms_of_an_unknown_code_are_left_out() -> None:
    shop = Shop()
    states, memory = sessions(1)
    shop.finish(states, memory, [99])
    assert not np.nansum(shop.metrics.arm_sessions.values)


def test_only_arms_that_exist_are_series() -> None:
    shop = Shop()
    assert shop.read("arm_sessions_total", experiment="price", arm="control", outcome="bought") == 0
    assert shop.read("arm_sessions_total", experiment="ui", arm="control", outcome="bought") is None


def test_no_session_changes_nothing() -> None:
    shop = Shop(Names({}, {}))
    shop.finish(*sessions(0))
    assert not shop.metrics.sessions_finished.values.any()
