"""What ``clickstage inspect`` says of the outcomes of a session."""

from pathlib import Path

import numpy as np

from decisions.policy.model import action_ids
from decisions.policy.policy import load_file
from featurestore.contract.event import Event, columns
from featurestore.session.fold import FoldConfig, empty_states, fold
from featurestore.session.layout import MEMORY
from featurestore.session.visitors import PROFILE
from worker.commands.inspect import _memory, _outcomes
from worker.settings import Settings

T = 1_700_000_000_000


def lines(*kinds: str) -> list[str]:
    events = [
        Event(session_id="s", type=kind, ts=T + 9_000 * i, page=f"/{i}", price=20.0) for i, kind in enumerate(kinds)
    ]
    states = empty_states(1)
    rows = columns(events, [0] * len(events), range(len(events)), [event.ts for event in events])
    fold(states, np.zeros(1, PROFILE), rows, FoldConfig())
    return list(_outcomes(Settings(), states))


def test_each_head_says_its_probability_its_rank_its_meaning_and_why() -> None:
    said = "\n".join(lines("view_item", "view_item", "add_to_cart", "begin_checkout"))
    assert "in top 10 %: orders later in this visit" in said
    assert "    checkout at step 1" in said


def test_a_head_that_is_not_asked_says_why() -> None:
    [said] = [line for line in lines("view_item", "add_to_cart") if "order_before_cart" in line]
    assert "not asked, there is a cart" in said
    [said] = [line for line in lines("view_item", "view_item") if "order_before_cart" in line]
    assert "%" in said


def test_a_policy_that_asks_for_an_outcome_names_its_actions(tmp_path: Path) -> None:
    """Its conditions are not read: the worker's bundle may have heads that this one lacks."""
    path = tmp_path / "policy.yaml"
    path.write_text(
        'version: "1"\nactions:\n  coupon:\n    label: A coupon\nstages:\n  Explorer:\n    rules:\n'
        "      - show: coupon\n        when: order_rest >= 0.2\n"
    )
    memory = np.zeros(1, MEMORY)
    memory["n_actions"] = 1
    memory["action_id"][0, 0] = action_ids(load_file(path))[1]
    memory["action_count"][0, 0] = 2
    assert ("actions shown", "coupon 2 times") in _memory(memory[0], Settings(policy=path))
