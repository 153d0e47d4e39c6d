"""Outcome heads in a bundle: they score in the core as alone; one that cannot be learned is left out, and said so."""

from pathlib import Path

import numpy as np
import pytest

from decisions.core import Judge
from decisions.shipped import load_policy
from featurestore.contract.decode import decode_unchecked
from featurestore.contract.event import columns
from featurestore.session.fold import empty_states
from featurestore.session.layout import MEMORY
from featurestore.session.observation import SILENCE
from featurestore.session.stages import INTENT_BUYER, STAGES
from featurestore.session.views import WIDE
from featurestore.session.visitors import PROFILE
from models.bundle.bundle import Bundle
from models.heads.outcomes import BUILT_IN
from models.heads.views import WIDE as WIDE_VIEW
from models.rules import StageRules
from models.simulator.simulator import SimEvent, simulate
from models.training.command import summary
from models.training.train import TrainConfig, Trained, save, train

RULES = StageRules()
CONFIG = TrainConfig(sessions=4_500, rows=4_000, trees=10, jobs=1)


@pytest.fixture(scope="module")
def log() -> list[SimEvent]:
    return [event for chunk in simulate(CONFIG.simulation()) for event in chunk]


@pytest.fixture(scope="module")
def trained(log: list[SimEvent]) -> Trained:
    return train(CONFIG, RULES, log)


@pytest.fixture(scope="module")
def bundle(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(save(trained, tmp_path_factory.mktemp("bundles"), created="today"))


def test_the_bundle_has_a_head_for_each_outcome(bundle: Bundle) -> None:
    assert [head.name for head in bundle.heads] == ["stage", *(outcome.name for outcome in BUILT_IN)]
    assert bundle.heads.n_others == len(BUILT_IN)


def test_a_head_says_how_good_it_was_on_later_visits(trained: Trained) -> None:
    [order] = [head for head in trained.heads if head.name == "order_rest"]
    held = order.training["held_out"]
    assert isinstance(held, dict)
    assert isinstance(held["auc"], float)
    assert held["auc"] > 0.75
    told = summary(trained)
    assert all(outcome.name in told for outcome in BUILT_IN)


def test_in_the_core_each_head_scores_as_alone_to_the_bit(bundle: Bundle, log: list[SimEvent]) -> None:
    """Served heads share one pass of the kernel; a head that is asked before the cart has no output after it."""
    part = log[:4_000]
    events = [decode_unchecked(value) for _, value, _ in part]
    indices = {name: i for i, name in enumerate(dict.fromkeys(event.session_id for event in events))}
    rows = columns(events, [indices[e.session_id] for e in events], range(len(events)), [t for *_, t in part])
    policy = load_policy(None, bundle.heads.variables)
    judge = Judge(bundle, policy, RULES.fold_config(), bundle.heads)
    states, profiles = empty_states(len(indices)), np.zeros(len(indices), PROFILE)
    memories = np.zeros(len(indices), MEMORY)
    judgement = judge.judge(states, memories, profiles, rows, 0)
    seen, scored = judgement.observations, judgement.scored
    assert np.array_equal(scored, seen.rows["kind"] <= SILENCE)
    wide = seen.wide[scored]
    cart = (wide[:, [WIDE.index("cart_additions"), WIDE.index("checkout_step")]] != 0).any(axis=1)
    assert cart.any()
    for j, head in enumerate(bundle.heads.others):
        assert head.view == WIDE_VIEW
        alone = head.score(head.read(wide))[:, 0]
        if head.before_cart:
            alone[cart] = np.nan
        assert np.array_equal(judgement.outputs[scored, j], alone, equal_nan=True)
        assert np.isnan(judgement.outputs[~scored, j]).all()


def test_a_bundle_of_the_stage_alone_folds_no_wide_view(trained: Trained, tmp_path: Path) -> None:
    alone = Bundle.load(save(trained._replace(heads=()), tmp_path, created="today"))
    judge = Judge(alone, load_policy(None, alone.heads.variables), RULES.fold_config(), alone.heads)
    rows = columns([], [], [], [])
    empty = judge.judge(empty_states(0), np.zeros(0, MEMORY), np.zeros(0, PROFILE), rows, 0)
    assert empty.observations.wide.shape[1] == 0


@pytest.mark.issue(20, line=18, sibling=True)
def test_a_shop_without_carts_gets_a_bundle_without_what_it_cannot_know(log: list[SimEvent]) -> None:
    """No Intent Buyer, no add_rest; the stage and the exit are learned all the same, and what is missing is said."""
    cartless = [(key, value, t) for key, value, t in log if b"_cart" not in value and b"checkout" not in value]
    found = train(CONFIG, RULES, cartless)
    assert set(found.left_out) == {STAGES[INTENT_BUYER], "add_rest", "order_rest", "checkout_rest", "order_before_cart"}
    assert [head.name for head in found.heads] == ["exit_next"]
    assert "left out: add_rest: 0 training visits have it (add_to_cart), 100 are needed" in summary(found)
    assert found.held_out["accuracy"] > 0.9
