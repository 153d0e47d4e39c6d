"""The stage rules and their file."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from featurestore.errors import SettingsError
from featurestore.session.features import FEATURES, N_FEATURES
from featurestore.session.stages import DROP_OFF_RISK, EVALUATOR, EXPLORER, INTENT_BUYER, STAGES
from models.rules import StageRules, load_rules, save_rules

RULES = StageRules()


def row(**values: float) -> NDArray[np.float64]:
    """One row of features, zero where not given; engagement and cart ratio follow unless given."""
    values.setdefault("engagement_score", values.get("num_clicks", 0.0) / max(values.get("session_duration", 0.0), 1.0))
    values.setdefault("cart_ratio", values.get("cart_additions", 0.0) / max(values.get("pages_viewed", 0.0), 1.0))
    return np.array([[values.get(name, 0.0) for name in FEATURES]])


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (
            row(
                session_duration=90,
                pages_viewed=3,
                num_clicks=5,
                time_between_clicks=11.4,
                idle_time=11.4,
                bounce_rate=0.61,
            ),
            EXPLORER,
        ),
        (
            row(session_duration=384, pages_viewed=18, num_clicks=31, time_between_clicks=12.1, idle_time=12.1),
            EVALUATOR,
        ),
        (
            row(
                session_duration=258,
                pages_viewed=9,
                num_clicks=24,
                cart_additions=3,
                time_between_clicks=7.6,
                idle_time=7.6,
            ),
            INTENT_BUYER,
        ),
        (row(session_duration=420, pages_viewed=9, num_clicks=14, cart_additions=1, idle_time=38.5), DROP_OFF_RISK),
        (row(session_duration=290, pages_viewed=14, num_clicks=22, idle_time=13.0), EVALUATOR),
    ],
    ids="ABCDE",
)
def test_the_published_cases_get_the_published_stage(case: NDArray[np.float64], expected: int) -> None:
    assert STAGES[RULES.label(case)[0]] == STAGES[expected]


def test_idle_wins_over_cart_and_cart_over_pages() -> None:
    """The rules apply in a fixed order of priority."""
    evaluator = {"session_duration": 300.0, "pages_viewed": 12.0, "num_clicks": 25.0}
    assert RULES.label(row(**evaluator))[0] == EVALUATOR
    assert RULES.label(row(**evaluator, cart_additions=2.0))[0] == INTENT_BUYER
    assert RULES.label(row(**evaluator, cart_additions=2.0, idle_time=31.0))[0] == DROP_OFF_RISK


@pytest.mark.parametrize(
    ("name", "threshold", "stage"),
    [("cart_additions", 2.0, INTENT_BUYER), ("idle_time", 30.0, DROP_OFF_RISK)],
)
def test_a_threshold_belongs_to_its_stage(name: str, threshold: float, stage: int) -> None:
    assert RULES.label(row(session_duration=60.0, num_clicks=4.0, **{name: threshold}))[0] == stage
    assert RULES.label(row(session_duration=60.0, num_clicks=4.0, **{name: np.nextafter(threshold, 0)}))[0] == EXPLORER


def test_one_click_and_then_silence_is_drop_off() -> None:
    """A single page leaves engagement at 1 click/s, yet the shopper who stays silent is at risk."""
    assert RULES.label(row(num_clicks=1.0, pages_viewed=1.0, idle_time=45.0))[0] == DROP_OFF_RISK


def test_a_long_session_may_pause() -> None:
    assert RULES.label(row(session_duration=900.0, num_clicks=40.0, idle_time=60.0, pages_viewed=5.0))[0] == EXPLORER


@given(arrays(np.float64, (7, N_FEATURES), elements=st.floats(0, 1e6) | st.just(np.nan)))
def test_every_row_has_one_stage_and_rows_do_not_interact(X: NDArray[np.float64]) -> None:
    labels = RULES.label(X)
    assert labels.dtype == np.uint8
    assert labels.max() < len(STAGES)
    assert [RULES.label(X[i : i + 1])[0] for i in range(7)] == labels.tolist()


def test_no_rows_give_no_labels() -> None:
    assert RULES.label(np.empty((0, N_FEATURES))).shape == (0,)


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_saved_file_loads_equal(tmp_path: Path, suffix: str) -> None:
    rules = StageRules(idle_s=12.5, idle_mean_s=14.0, evaluator_pages=7)
    path = tmp_path / f"rules.{suffix}"
    save_rules(rules, path)
    assert load_rules(path) == rules


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("idle_seconds: 3", "unknown threshold 'idle_seconds'; known are idle_s"),
        ("idle_s: -1", "idle_s: Input should be greater than 0"),
        ("idle_s: .nan", "idle_s: Input should be"),
        ("idle_s: 40", "silence would be scored before"),
        ("idle_mean_s: 130", "silence after quick clicks could never reach it"),
        ("evaluator_pages: 65", "no session could be an Evaluator"),
        ("- 1", "expected a mapping"),
        ("a: [", "not YAML"),
    ],
)
def test_a_wrong_rule_file_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"rules\.yaml: ") as caught:
        load_rules(path)
    assert message in str(caught.value)


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text('{"idle_s": 0, "evaluator_pages": 0, "clicks": 1}')
    with pytest.raises(SettingsError) as caught:
        load_rules(path)
    assert len(str(caught.value).splitlines()) == 3


def test_missing_files_and_broken_json_are_settings_errors(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_rules(tmp_path / "none.json")
    with pytest.raises(SettingsError, match="not JSON"):
        StageRules.from_json("{")


def test_the_fold_takes_its_constants_from_the_rules() -> None:
    config = StageRules(idle_after_s=50.5, idle_mean_s=200, gap_cap_s=1200).fold_config()
    assert (config.idle_after_ms, config.idle_mean_ms, config.gap_cap_ms) == (50_500, 200_000, 1_200_000)
