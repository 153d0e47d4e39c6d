"""The stage that ships says what the rules say, on the whole space that they speak of and not on shoppers alone."""

import numpy as np
import pytest

from decisions.shipped import load_bundle
from featurestore.session.features import FEATURES
from featurestore.session.stages import EXPLORER
from models.bundle.bundle import Bundle
from models.training.space import near_threshold, space_rows

ROWS = 40_000
SEED = 987_654  # no training uses it


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(None)


@pytest.mark.issue(20, line=17, sibling=True)
def test_far_from_every_threshold_the_model_agrees_with_the_rules(bundle: Bundle) -> None:
    X = space_rows(bundle.rules, ROWS, SEED)
    X = X[~near_threshold(X, bundle.rules, 0.1)]
    right = bundle.score(X).argmax(axis=1) == bundle.rules.label(X)
    assert X.shape[0] > ROWS / 4
    assert right.mean() >= 0.99


@pytest.mark.issue(20, line=17)
def test_where_the_model_is_sure_it_is_right_near_thresholds_too(bundle: Bundle) -> None:
    """From 0.7 on, the policies' threshold: sure and wrong is what shoppers meet."""
    X = space_rows(bundle.rules, ROWS, SEED + 1)
    scores = bundle.score(X)
    sure = scores.max(axis=1) >= 0.7
    wrong = scores.argmax(axis=1) != bundle.rules.label(X)
    assert sure.mean() > 0.8
    assert (sure & wrong).sum() / sure.sum() < 0.02


@pytest.mark.issue(20, line=17)
def test_one_page_with_many_pings_is_an_explorer(bundle: Bundle) -> None:
    """Fifty-nine interactions on one page, at any pace: pages are what an Evaluator has."""
    clicks = np.arange(2, 200)
    X = np.zeros((clicks.size, len(FEATURES)))
    columns = {name: i for i, name in enumerate(FEATURES)}
    X[:, columns["num_clicks"]], X[:, columns["pages_viewed"]] = clicks, 1
    X[:, columns["time_between_clicks"]] = X[:, columns["idle_time"]] = 10.0
    X[:, columns["session_duration"]] = 10.0 * (clicks - 1)
    X[:, columns["engagement_score"]] = clicks / X[:, columns["session_duration"]]
    X[:, columns["bounce_rate"]] = np.nan
    assert (bundle.rules.label(X) == EXPLORER).all()
    assert (bundle.score(X).argmax(axis=1) == EXPLORER).mean() > 0.99
