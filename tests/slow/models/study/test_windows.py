"""L's way: windows of the last actions, and what splitting windows of one visit does to the accuracy."""

import numpy as np
import pytest

from models.rules import StageRules
from models.study import action_log
from models.study.windows import oldest_first, on_both_sides, windows
from models.training.dataset import observe_log
from models.training.outcomes import OutcomeRows, outcome_rows

NAMES = ("order_rest", "add_rest")


@pytest.fixture(scope="module")
def rows() -> OutcomeRows:
    rules = StageRules()
    return outcome_rows(observe_log([action_log.generate(3, 700)], rules, wide=True), rules)


def test_a_window_read_from_its_oldest_action_is_the_same_window_turned_round(rows: OutcomeRows) -> None:
    """What a visit has not had yet stands at the end, so that all rows of a short visit begin alike."""
    seen = rows.take(~rows.silent)
    X = windows(seen, 4)
    turned = oldest_first(X)
    for newest, oldest in zip(X[:200], turned[:200], strict=True):
        held = int((newest[0::2] >= 0).sum())
        pairs = newest.reshape(-1, 2)[:held][::-1]
        np.testing.assert_array_equal(oldest.reshape(-1, 2), np.vstack([pairs, np.full((4 - held, 2), -1.0)]))


def test_longer_windows_gain_only_where_one_visit_stands_on_both_sides(rows: OutcomeRows) -> None:
    """The growth that L publishes is that of recognising visits."""
    found = on_both_sides(rows, NAMES, 3, (2, 20))
    gained = {split: by[20]["abandoned"] - by[2]["abandoned"] for split, by in found.items()}
    assert gained["cut"] > gained["whole"] + 0.1
    assert found["cut"][20]["order_rest"] > found["whole"][20]["order_rest"]
