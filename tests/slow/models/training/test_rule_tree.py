"""The rules as a tree say what the rules say."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from featurestore.session.features import FEATURES
from featurestore.session.stages import STAGES
from models.bundle.bundle import Bundle
from models.rules import StageRules
from models.training.command import main
from models.training.rule_tree import rule_tree
from models.trees.explain import contributions

RULES = (
    StageRules(),
    StageRules(idle_s=12.3, idle_mean_s=13.7, engagement_below_per_s=0.1, short_session_s=77.7, buyer_cart_additions=1),
)
NOTHING = np.zeros((1, len(FEATURES)))


def near(rules: StageRules, seed: int) -> NDArray[np.float64]:
    """Rows on, just below and just above every threshold, in random company."""
    limits = {
        "session_duration": (rules.short_session_s, rules.evaluator_duration_s),
        "num_clicks": (rules.evaluator_clicks,),
        "pages_viewed": (rules.evaluator_pages,),
        "cart_additions": (rules.buyer_cart_additions,),
        "engagement_score": (rules.engagement_below_per_s,),
        "idle_time": (rules.idle_s,),
    }
    rng = np.random.default_rng(seed)
    columns = []
    for name in FEATURES:
        around = [np.float32(x) for limit in limits.get(name, (1.0,)) for x in (limit, 0.0, 3 * limit)]
        around += [np.nextafter(x, np.float32(side)) for x in around for side in (-np.inf, np.inf)]
        columns.append(rng.choice(np.array(around), 500))
    return np.stack(columns, axis=1).astype(np.float64)


@given(seed=st.integers(0, 2**32 - 1), rules=st.sampled_from(RULES))
def test_the_tree_labels_as_the_rules_do(seed: int, rules: StageRules) -> None:
    X = near(rules, seed)
    said = rule_tree(rules, NOTHING).predict(X)
    # A threshold that is no float32 lies between two: on the float32 nearest to it both answers may be had.
    exact = np.ones(len(X), np.bool_) if rules is RULES[0] else (rules.label(X) == rules.label(X * (1 + 1e-6)))
    assert np.array_equal(said.argmax(axis=1)[exact], rules.label(X)[exact])
    assert set(np.unique(said)) <= {0.0, 1.0}


def test_reasons_come_from_the_questions() -> None:
    """What an item in the cart adds to Intent Buyer is what the rows behind that question say."""
    rules = StageRules()
    X = near(rules, 1)
    tree = rule_tree(rules, X)
    buying = X[rules.label(X) == 2][:5]
    values, bias = contributions(tree, buying, np.full(5, 2, np.uint8))
    np.testing.assert_allclose(bias + values.sum(axis=1), 1.0, atol=1e-9)
    assert (values[:, FEATURES.index("cart_additions")] > 0.3).all()


def test_a_bundle_of_rules_is_trained_and_served(tmp_path: Path) -> None:
    options = ["--model", "rules", "--sessions", "300", "--no-outcomes", "--bounce-rate", "0.3"]
    assert main([*options, "--out", str(tmp_path)]) == 0
    bundle = Bundle.load(tmp_path / "journey-1")
    X = near(bundle.rules, 2)
    assert np.array_equal(bundle.score(X).argmax(axis=1), bundle.rules.label(X))
    assert not (tmp_path / "journey-1" / "estimator.joblib").exists()
    assert bundle.stage.outputs == STAGES
