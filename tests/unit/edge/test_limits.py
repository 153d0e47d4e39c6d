"""Token buckets."""

from hypothesis import given
from hypothesis import strategies as st

from edge.limits import Limit


def test_a_burst_passes_and_what_follows_waits_for_its_rate() -> None:
    limit = Limit(10, 20)
    assert limit.take("a", 20, 0.0) == 0.0
    assert limit.take("a", 1, 0.0) == 0.1
    assert limit.take("a", 1, 0.1) == 0.0


def test_names_do_not_share() -> None:
    limit = Limit(1, 1)
    assert limit.take("a", 1, 0.0) == 0.0
    assert limit.take("b", 1, 0.0) == 0.0


def test_more_than_the_burst_passes_a_full_bucket_and_is_paid_for() -> None:
    """Else a large request would never pass."""
    limit = Limit(10, 20)
    assert limit.take("a", 50, 0.0) == 0.0
    assert limit.take("a", 1, 0.0) > 3.0


def test_a_rate_of_zero_is_no_limit() -> None:
    assert Limit(0, 0).take("a", 1e9, 0.0) == 0.0


def test_memory_is_bounded() -> None:
    limit = Limit(1, 1, most=3)
    for name in "abcd":
        limit.take(name, 1, 0.0)
    assert limit.take("d", 1, 0.0) > 0
    assert limit.take("a", 1, 0.0) == 0.0


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 5)), max_size=60))
def test_nobody_gets_more_than_the_burst_and_the_rate(steps: list[tuple[float, int]]) -> None:
    limit, now, passed = Limit(3, 6), 0.0, 0
    for pause, units in steps:
        now += pause
        if limit.take("a", units, now) == 0.0:
            passed += units
    assert passed <= 6 + 3 * now + 1e-6
