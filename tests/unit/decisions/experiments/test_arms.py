"""Arms are stable, uniform and uncorrelated; nobody's arm needs storage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from decisions.experiments.arms import arm_salt, draw
from decisions.experiments.stats import chi_square_p, sample_ratio
from decisions.policy import Policy
from featurestore.columns.hashing import hash64, hash_text
from featurestore.session.observation import END, EVENT_ROW
from tests.unit.decisions.policy.policy_cases import QUIET, START, decided, memories, policy_text, run, sure
from tests.unit.decisions.policy.policy_twin import Row, arm_of
from tests.unit.decisions.policy.policy_twin import draw as plain_draw

N = 40_000
U64 = st.integers(0, 2**64 - 1)
GOLDEN = ["co", "oc", "co", "oo", "cc", "co"]
HALVES = {"control": {"share": 0.5}, "other": {"share": 0.5}}


def policy(**experiments: object) -> Policy:
    return Policy.from_text(policy_text(experiments=experiments))


def hashes(kind: str, n: int = N) -> NDArray[np.uint64]:
    return hash64([f"{kind}-{i}" for i in range(n)])


def arms(p: Policy, n: int = N) -> NDArray[np.int64]:
    """Arm + 1 of each shopper in each experiment, shape (n, experiments)."""
    bits = p.enrol(hashes("session", n), hashes("visitor", n)).astype(np.int64)
    return np.stack([bits >> (4 * e) & 15 for e in range(len(p.file.experiments))], axis=1)


@given(U64, U64)
def test_the_compiled_draw_equals_the_plain_one(unit: int, salt: int) -> None:
    assert draw(np.uint64(unit), np.uint64(salt)) == plain_draw(unit, salt)


def test_arms_are_the_ones_they_were() -> None:
    """A golden row: another hash or salt would move every running experiment's shoppers."""
    p = policy(first={"arms": HALVES}, second={"arms": HALVES, "unit": "visitor", "salt_version": 2})
    found = [p.arms[int(b)] for b in p.enrol(hashes("session", 6), hashes("visitor", 6))]
    assert [a["first"][0] + a["second"][0] for a in found] == GOLDEN
    assert {a["second"].partition("@")[2] for a in found} == {"2"}


def test_arms_do_not_depend_on_anything_but_the_shopper_and_the_salt() -> None:
    alone = arms(policy(x={"arms": HALVES}))[:, 0]
    crowded = arms(policy(w={"arms": HALVES}, x={"arms": HALVES}))[:, 1]
    assert np.array_equal(alone, crowded)
    assert not np.array_equal(alone, arms(policy(x={"arms": HALVES, "salt_version": 2}))[:, 0])


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.1, 0.9), (0.05, 0.25, 0.3, 0.4)])
@pytest.mark.parametrize("unit", ["session", "visitor"])
def test_arms_have_their_shares(shares: tuple[float, ...], unit: str) -> None:
    """Chi-square against the shares, for ids that differ by a counter only."""
    named = {f"arm{i}": {"share": share} for i, share in enumerate(shares)}
    found = arms(policy(x={"arms": named, "unit": unit}))[:, 0]
    counts = np.bincount(found, minlength=len(shares) + 1)
    assert counts[0] == 0
    assert sample_ratio(counts[1:].tolist(), shares)[1] > 0.001


def test_draws_are_uniform() -> None:
    salt = np.uint64(arm_salt("x", 1))
    places = np.array([draw(h, salt) for h in hashes("session")])
    counts = np.bincount((places * 64).astype(np.int64), minlength=64)
    assert sample_ratio(counts.tolist(), [1.0] * 64)[1] > 0.001


def test_concurrent_experiments_do_not_correlate() -> None:
    """Chi-square of independence for every pair of eight experiments, Bonferroni-corrected."""
    found = arms(policy(**{f"x{i}": {"arms": HALVES, "unit": "visitor" if i % 2 else "session"} for i in range(8)}))
    for a in range(8):
        for b in range(a):
            table = np.zeros((2, 2))
            np.add.at(table, (found[:, a] - 1, found[:, b] - 1), 1)
            expected = table.sum(1)[:, None] * table.sum(0)[None, :] / N
            assert chi_square_p(float(((table - expected) ** 2 / expected).sum()), 1) > 0.001 / 28


def test_a_new_salt_version_draws_independently() -> None:
    one, two = (arms(policy(x={"arms": HALVES, "salt_version": v}))[:, 0] for v in (1, 2))
    assert abs(float(np.corrcoef(one, two)[0, 1])) < 4 / np.sqrt(N)


def test_experiments_of_one_layer_exclude_each_other() -> None:
    x = {"layer": "page", "arms": HALVES}
    found = arms(policy(a=x | {"share": 0.3}, b=x | {"share": 0.7}))
    assert ((found > 0).sum(axis=1) == 1).all()
    assert sample_ratio((found > 0).sum(axis=0).tolist(), [0.3, 0.7])[1] > 0.001


def test_a_growing_experiment_keeps_whom_it_has() -> None:
    small = arms(policy(x={"arms": HALVES, "share": 0.2}))[:, 0]
    large = arms(policy(x={"arms": HALVES, "share": 0.6}))[:, 0]
    assert np.array_equal(small[small > 0], large[small > 0])
    assert (large > 0).sum() > (small > 0).sum()


def test_an_unknown_visitor_is_in_no_visitor_experiment() -> None:
    p = policy(x={"arms": HALVES, "unit": "visitor"}, y={"arms": HALVES})
    bits = p.enrol(hashes("session", 50), np.zeros(50, np.uint64))
    assert not (bits & 15).any()
    assert (bits >> 4).all()


def test_the_holdout_sees_the_neutral_action_and_nothing_else() -> None:
    split = {"holdout": {"share": 0.5, "holdout": True}, "shown": {"share": 0.5}}
    p = policy(x={"arms": split})
    for session in range(1, 60):
        answer = decided(p, [Row(0, EVENT_ROW, START, QUIET, sure("Explorer"), session=session)], memories(1))[0]
        held = dict(answer.arms)["x"] == "holdout@1"
        assert (answer.action, answer.route) == (("none", "holdout") if held else ("banner", "act"))
        assert ("holdout" in answer.guards) is held


def test_an_arm_may_show_another_action_or_none() -> None:
    split = {
        "a": {"share": 0.4},
        "b": {"share": 0.3, "replace": {"banner": "panel"}},
        "c": {"share": 0.3, "replace": {"banner": "none"}},
    }
    p = policy(x={"arms": split})
    shown = {"a@1": ("banner", "act"), "b@1": ("panel", "act"), "c@1": ("none", "holdout")}
    for session in range(1, 60):
        answer = decided(p, [Row(0, EVENT_ROW, START, QUIET, sure("Explorer"), session=session)], memories(1))[0]
        assert (answer.action, answer.route) == shown[dict(answer.arms)["x"]]


def test_the_end_of_a_session_names_its_arms() -> None:
    p = policy(x={"arms": HALVES}, y={"arms": HALVES, "unit": "visitor"})
    rows = [Row(0, kind, START, QUIET, sure("Explorer"), session=5, visitor=6) for kind in (EVENT_ROW, END)]
    decisions, _ = run(p, rows, memories(1))
    assert (
        decisions["arms"][0] == decisions["arms"][1] == p.enrol(np.array([5], np.uint64), np.array([6], np.uint64))[0]
    )


def test_arms_that_the_policy_cannot_have_drawn_have_no_words() -> None:
    p = policy(x={"arms": HALVES})
    assert p.arms[0] == {}
    assert p.arms_of(2) == {"x": "other@1"}
    assert p.arms.get(3) is None
    with pytest.raises(KeyError):
        p.arms_of(15)
    assert list(p.arms) == [0, 2]


def test_the_twin_draws_the_same_arms() -> None:
    p = policy(x={"arms": {"a": {"share": 0.3}, "b": {"share": 0.7}}})
    bits = p.enrol(hashes("session", 200), np.zeros(200, np.uint64))
    plain = [arm_of("x", p.file.experiments["x"], hash_text(f"session-{i}"), 0, 1) for i in range(200)]
    assert [p.arms[int(b)]["x"] for b in bits] == [f"{arm}@1" for arm in plain]
