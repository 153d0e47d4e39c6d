"""Training: from events to a forest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import SettingsError
from featurestore.session.features import FEATURES
from featurestore.session.stages import DROP_OFF_RISK, EVALUATOR, EXPLORER, INTENT_BUYER, STAGES
from models.rules import StageRules
from models.simulator.simulator import simulate
from models.study.cases import case_rows
from models.training.dataset import Recording, Rows, record
from models.training.doubt import LEAST_MAJORITY, evaluator_chance, weighted
from models.training.train import BOUNCE, TrainConfig, Trained, check_rows, impossible, searched, train, train_on
from models.trees.kernels import SOFTMAX

RULES = StageRules()
SMALL = TrainConfig(sessions=2_500, rows=15_000, trees=40, jobs=1)


@pytest.fixture(scope="module")
def recording() -> Recording:
    return record(simulate(SMALL.simulation()), RULES)


@pytest.fixture(scope="module")
def trained(recording: Recording) -> Trained:
    return train_on(recording, SMALL, RULES)


def test_the_same_seed_gives_the_same_forest(recording: Recording, trained: Trained) -> None:
    assert train_on(recording, SMALL, RULES).forest.digest() == trained.forest.digest()
    other = train_on(recording, SMALL.model_copy(update={"seed": 43}), RULES)
    assert other.forest.digest() != trained.forest.digest()


def test_it_is_right_on_later_sessions(trained: Trained) -> None:
    assert trained.held_out["accuracy"] > 0.98
    assert trained.held_out["macro_f1"] > 0.96
    assert trained.train.t.max() < trained.test.t.min()


def test_the_five_published_cases(trained: Trained) -> None:
    """A to E get their published stage; E, just past the Evaluator's thresholds, below 0.7 confidence."""
    X = case_rows()
    proba = trained.forest.predict(np.where(np.isnan(X), trained.medians, X))
    assert proba.argmax(axis=1).tolist() == [EXPLORER, EVALUATOR, INTENT_BUYER, DROP_OFF_RISK, EVALUATOR]
    assert proba[:4].max(axis=1).min() > 0.8
    assert 0.5 < proba[4, EVALUATOR] < 0.7
    assert proba[4, EXPLORER] > 0.25


def test_medians_ignore_missing_values_and_constants_bound_the_rows(trained: Trained) -> None:
    np.testing.assert_allclose(trained.medians, np.nanmedian(trained.train.X, axis=0))
    filled = np.where(np.isnan(trained.train.X), trained.medians, trained.train.X)
    np.testing.assert_array_equal(trained.minimum, filled.min(axis=0))
    np.testing.assert_array_equal(trained.maximum, filled.max(axis=0))


def test_progress_goes_from_nothing_towards_one(recording: Recording) -> None:
    seen: list[float] = []
    train_on(recording, SMALL, RULES, lambda step, share: seen.append(share))
    assert seen == sorted(seen)
    assert seen[-1] == 0.9


def test_boosting_is_one_option_away(recording: Recording) -> None:
    model = train_on(recording, SMALL.model_copy(update={"model": "gradient_boosting", "rows": 5_000}), RULES)
    assert model.held_out["accuracy"] > 0.96
    assert model.forest.link == SOFTMAX


def test_trees_fit_into_a_machine_word(trained: Trained) -> None:
    """More than 63 leaves would fall back to the slower layout."""
    assert max(tree.get_n_leaves() for tree in trained.estimator.estimators_) <= 63
    assert trained.forest.path == "leafsets"


def rows_with(recording: Recording, **changes: object) -> Rows:
    return recording.live._replace(**changes)  # type: ignore[arg-type]


def test_empty_data_is_refused(recording: Recording) -> None:
    with pytest.raises(SettingsError, match="no session gives a row"):
        check_rows(recording.live.take(np.zeros(0, np.int64)), SMALL)
    with pytest.raises(SettingsError, match="no session gives a row"):
        train(SMALL, RULES, events=[])


def test_a_single_class_is_refused_with_the_remedy(recording: Recording) -> None:
    rows = recording.live.take(recording.live.stages == EXPLORER)
    with pytest.raises(SettingsError) as caught:
        check_rows(rows, SMALL)
    assert str(caught.value).count("has 0 of") == 3
    assert "lower buyer_cart_additions" in str(caught.value)


def test_a_log_that_names_no_pages_can_be_learned_from_without_evaluators(recording: Recording) -> None:
    """Nor can one without carts have Intent Buyers; a stage that thresholds keep away is refused all the same."""
    X = recording.live.X.copy()
    X[:, FEATURES.index("pages_viewed")] = 1
    rows = recording.live._replace(X=X, stages=RULES.label(X))
    check_rows(rows, SMALL)
    assert impossible(rows) == [EVALUATOR]
    assert impossible(recording.live) == []


@pytest.mark.parametrize("feature", FEATURES)
def test_a_column_of_nan_is_refused(recording: Recording, feature: str) -> None:
    X = recording.live.X.copy()
    X[:, FEATURES.index(feature)] = np.nan
    with pytest.raises(SettingsError, match=f"{feature} is missing in every row"):
        check_rows(rows_with(recording, X=X), SMALL)


def test_a_shop_without_visitors_says_what_to_assume(recording: Recording) -> None:
    X = recording.live.X.copy()
    X[:, BOUNCE] = np.nan
    config = SMALL.model_copy(update={"bounce_rate": 0.3})
    model = train_on(recording._replace(live=rows_with(recording, X=X)), config, RULES)
    assert model.medians[BOUNCE] == 0.3
    assert model.held_out["accuracy"] > 0.98


@pytest.mark.parametrize(
    ("rules", "stage"),
    [
        (StageRules(buyer_cart_additions=10_000), INTENT_BUYER),
        (StageRules(evaluator_clicks=10_000), EVALUATOR),
        (
            StageRules(short_session_s=0.001, engagement_below_per_s=0.001, idle_s=119.0, idle_mean_s=119.0),
            DROP_OFF_RISK,
        ),
        (StageRules(evaluator_clicks=1, evaluator_pages=1, evaluator_duration_s=0.001, buyer_cart_additions=1), None),
    ],
)
def test_thresholds_that_make_a_class_vanish_are_refused(rules: StageRules, stage: int | None) -> None:
    config = SMALL.model_copy(update={"sessions": 300})
    recorded = record(simulate(config.simulation()), rules)
    counts = np.bincount(recorded.live.stages, minlength=4)
    if stage is None:
        rows = recorded.live.take(recorded.live.stages != EXPLORER)
        stage = EXPLORER
    else:
        rows = recorded.live
        assert counts[stage] == 0
    with pytest.raises(SettingsError, match=STAGES[stage]):
        check_rows(rows, config)


def test_wrong_options_are_all_named() -> None:
    with pytest.raises(SettingsError) as caught:
        TrainConfig.checked(trees=0, model="svm", name="../x")
    assert len(str(caught.value).splitlines()) == 3


def test_the_published_search_chooses_trees_and_depth(recording: Recording) -> None:
    rng = np.random.default_rng(0)
    rows = rng.choice(recording.live.t.size, 400, replace=False)
    X = np.nan_to_num(recording.live.X[rows])
    config = searched(X, recording.live.stages[rows], SMALL, grid=(5, 10))
    assert config.trees in {5, 10}
    assert config.depth in {10, 20, 64}


def test_without_doubt_every_row_counts_once(recording: Recording) -> None:
    live = recording.live
    rows = weighted(live.X, live.stages, RULES, 0.0)
    assert rows.weights.tolist() == [1.0] * live.t.size
    np.testing.assert_array_equal(rows.stages, live.stages)


def test_doubt_keeps_a_rows_weight_and_its_majority(recording: Recording) -> None:
    live = recording.live
    rows = weighted(live.X, live.stages, RULES, 0.2)
    np.testing.assert_allclose(np.bincount(rows.row, rows.weights), 1.0)
    own = rows.stages == live.stages[rows.row]
    assert rows.weights[own].min() >= LEAST_MAJORITY
    doubted = np.unique(rows.row[~own])
    assert set(live.stages[doubted].tolist()) == {EXPLORER, EVALUATOR}


@given(st.floats(0.05, 0.5), st.floats(1.0, 5.0))
def test_doubt_falls_with_the_distance_from_the_thresholds(doubt: float, factor: float) -> None:
    def chance(scale: float) -> float:
        return float(
            evaluator_chance(np.array([[200 * scale, 20 * scale, 10 * scale, 0, 9, 0, 0.1, 0, 9]]), RULES, doubt)[0]
        )

    assert chance(1.0) == pytest.approx(0.125)
    assert chance(factor) >= chance(1.0) >= chance(1 / factor)
