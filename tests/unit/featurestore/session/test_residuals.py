"""What other fields say is left out of a record: all of it comes back, and of a plain session little is left."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from featurestore.columns.jit import compiled
from featurestore.contract.event import Event
from featurestore.session.fold import FoldConfig
from featurestore.session.layout import MEMORY, NEWEST
from featurestore.session.residuals import MONEY, USUAL_LIFE_MS, add_predictions, take_predictions, views
from tests.unit.featurestore.session.fold_cases import START_MS, Folded, Step


@compiled
def _taken(words: NDArray[np.uint64]) -> None:
    take_predictions(views(words))


@compiled
def _given_back(words: NDArray[np.uint64]) -> None:
    add_predictions(views(words))


def _head(state: NDArray[np.void], memory: NDArray[np.void]) -> NDArray[np.uint64]:
    return np.frombuffer(state.tobytes()[: NEWEST.head] + memory.tobytes(), np.uint64).copy()


def _word(name: str) -> int:
    return NEWEST.place(name) // 8


def _left(words: NDArray[np.uint64], name: str, kind: str, size: int = 1) -> list[int]:
    start = NEWEST.place(name)
    found: list[int] = np.frombuffer(words.tobytes()[start:], kind, size).tolist()
    return found


def _browsed(clicks: int) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """A visit of some clicks at prices in cents, its deadline in the index, its stage changed once."""
    log = [
        Step("a", START_MS + 7_400 * i, Event(session_id="a", type="view_item", ts=0, page=f"/{i}", price=19.95 + i))
        for i in range(clicks)
    ]
    state = Folded(FoldConfig()).run(log).states[:1]
    state["armed"] = state["arrival"] + USUAL_LIFE_MS
    memory = np.zeros(1, MEMORY)
    memory["stage_since"] = START_MS + 9_000
    memory["stage_ms"][0, :2] = 8_000, 1_000
    return state, memory


def test_nothing_is_left_of_what_the_other_fields_of_a_plain_session_say() -> None:
    """Four clicks seven seconds apart: neither counts, gaps' sum, dwell, deadline, calendar nor the first stage."""
    state, memory = _browsed(4)
    words = _head(state, memory)
    _taken(words)
    assert not any(_left(words, "counts", "<u2", 64))
    assert not any(_left(words, "dwell", "<u2", 16))
    assert _left(words, "gap_sum", "<u4") == [0]
    assert _left(words, "gap_n", "<u2") == [0]
    assert sorted(_left(words, "gaps", "<u4", 5)) == [0, 0, 0, 7_400, 7_400], "the newest of three follows"
    assert [words[_word(name)] for name in ("armed", "memory.stage_ms")] == [0, 1_000 << 32]
    assert _left(words, "first_hour", "u1", 2) == [0, 0]
    assert _left(words, "bounce", "<u4") == [0]
    assert words[_word("price_min")] == 1995


@given(st.integers(1, 40))
def test_what_was_taken_comes_back(clicks: int) -> None:
    """In visits of one click, of more gaps than the ring holds, and of more clicks than the last sixteen."""
    before = _head(*_browsed(clicks))
    words = before.copy()
    _taken(words)
    _given_back(words)
    assert words.tobytes() == before.tobytes()


@given(st.sampled_from(MONEY), st.floats(min_value=0) | st.just(float("nan")))
def test_any_amount_comes_back(money: tuple[str, float], amount: float) -> None:
    """Whole numbers of cents or not, however small or large."""
    words = np.zeros(8 * NEWEST.tables.groups, np.uint64)
    words.view(np.float64)[_word(money[0])] = amount
    before = words.copy()
    _taken(words)
    _given_back(words)
    assert words.tobytes() == before.tobytes()


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=6))
def test_a_sum_of_cents_is_short_although_it_is_rounded(cents: list[int]) -> None:
    """0.1 + 0.2 is not 0.3, but the next float: the number of cents, and how far the sum is off."""
    words = np.zeros(8 * NEWEST.tables.groups, np.uint64)
    total = 0.0
    for one in cents:
        total += one / 100
    words.view(np.float64)[_word("price_sum")] = total
    _taken(words)
    kept = int(words[_word("price_sum")])
    exact = total == sum(cents) / 100
    assert kept & ((1 << 44) - 1) == sum(cents)
    assert (kept >> 44 == 0) == exact
