"""The generated log has the counts of L."""

from collections import Counter

import numpy as np
import pytest

from featurestore.contract.decode import decode
from models.study.action_log import ACTIONS, generate


def test_the_log_has_the_published_counts() -> None:
    """Mean 11.8 actions, 3 to 250; 12 types; 3.14 % buy and 6 % leave a cart; a gap counts at most 600 s."""
    log = [decode(value) for _, value, _ in generate(sessions=6_000)]
    sessions: dict[str, list[str]] = {}
    for event in log:
        sessions.setdefault(event.session_id, []).append(event.type)
    lengths = np.array([len(types) for types in sessions.values()])
    assert lengths.mean() == pytest.approx(11.8, abs=0.5)
    assert (lengths.min(), np.median(lengths)) == (3, 8)
    assert lengths.max() <= 250
    assert {event.type for event in log} == set(ACTIONS)
    assert len(ACTIONS) == 12
    kinds = Counter(
        "buy" if "purchase" in t else "abandon" if "add_to_cart" in t else "browse" for t in sessions.values()
    )
    assert kinds["buy"] / len(sessions) == pytest.approx(0.0314, abs=0.006)
    assert kinds["abandon"] / len(sessions) == pytest.approx(0.06, abs=0.009)


def test_the_same_seed_gives_the_same_log() -> None:
    assert generate(3, 50) == generate(3, 50)
    assert generate(3, 50) != generate(4, 50)
