"""Reasons in words that marketing understands."""

import numpy as np
import pytest
from numpy.typing import NDArray

from decisions.reasons import _WORDS, Explainer, _say
from decisions.shipped import load_bundle
from featurestore.session.features import FEATURES, N_FEATURES

ROW = dict.fromkeys(FEATURES, 1.0)


class _Fixed:
    def __init__(self, **shares: float) -> None:
        self._row = [shares.get(name, 0.0) for name in FEATURES]

    def contributions(self, X: NDArray[np.float64], stages: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.tile(self._row, (len(X), 1))


def _words(shares: dict[str, float], **values: float) -> list[str]:
    X = np.array([list({**ROW, **values}.values())])
    return Explainer(_Fixed(**shares)).words(X, np.zeros(1, np.uint8))[0]


def test_the_three_strongest_speak_the_strongest_first() -> None:
    shares = {"num_clicks": 0.1, "cart_additions": 0.4, "pages_viewed": 0.2, "idle_time": 0.05}
    assert _words(shares, cart_additions=3, pages_viewed=1, num_clicks=12) == [
        "3 items added to the cart",
        "1 page viewed",
        "12 clicks",
    ]


def test_where_the_strongest_will_do_no_other_is_said() -> None:
    shares = {"num_clicks": 0.1, "cart_additions": 0.4}
    X = np.array([list(ROW.values())] * 2)
    explainer = Explainer(_Fixed(**shares))
    assert explainer.words(X, np.zeros(2, np.uint8), np.array([True, False])) == [
        ["1 item added to the cart"],
        ["1 item added to the cart", "1 click"],
    ]


def test_what_spoke_against_the_stage_is_no_reason() -> None:
    assert _words({"num_clicks": -0.9, "idle_time": 0.1}, idle_time=200) == ["3 min idle"]
    assert _words({"num_clicks": -0.9}) == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("cart_additions", 0.0, "nothing added to the cart"),
        ("cart_additions", 1.0, "1 item added to the cart"),
        ("bounce_rate", float("nan"), "no earlier visits known"),
        ("bounce_rate", 0.4, "40% of earlier visits left after one page"),
        ("session_duration", 59.6, "60 s in the shop so far"),
        ("session_duration", 600.0, "10 min in the shop so far"),
        ("engagement_score", 0.25, "15.0 clicks a minute"),
    ],
)
def test_the_words(name: str, value: float, says: str) -> None:
    assert _words({name: 1.0}, **{name: value}) == [says]


def test_every_feature_has_words() -> None:
    assert len(_WORDS) == N_FEATURES
    for name in FEATURES:
        assert _WORDS[name](0.0)


def test_every_column_of_the_heads_that_ship_has_words() -> None:
    """A column's bare name and number are nobody's words."""
    for head in load_bundle(None).heads:
        X = np.concatenate([head.golden.rows[:-1], head.fill[None, :]])
        for column, values in zip(head.columns, X.T, strict=True):
            for value in values.tolist():
                assert _say(column)(value) != f"{column.replace('_', ' ')} {value:g}"
