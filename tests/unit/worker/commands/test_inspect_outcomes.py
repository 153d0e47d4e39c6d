"""What ``clickstage inspect`` says of the outcomes of a session."""

import numpy as np

from featurestore.contract.event import Event, columns
from featurestore.session.fold import FoldConfig, empty_states, fold
from featurestore.session.visitors import PROFILE
from worker.commands.inspect import _outcomes
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
