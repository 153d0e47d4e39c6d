"""The five published cases as event streams."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import models
from featurestore.session.features import FEATURES
from featurestore.session.observation import EVENT_ROW
from featurestore.session.stages import STAGES
from models.bundle.bundle import Bundle
from models.rules import StageRules
from models.simulator.casestreams import CASE_NAMES, case_events
from models.study.cases import case_rows
from models.study.published import CASES
from models.study.published import FEATURES as STUDIED
from models.training.dataset import record


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return Bundle.load(Bundle.find(Path(models.__file__).parent / "bundles"))


def final_row(name: str) -> NDArray[np.float64]:
    live = record([case_events(name, f"case-{name}", 1_800_000_000_000)], StageRules()).live
    return np.asarray(live.X[live.kind == EVENT_ROW][-1])


@pytest.mark.parametrize("name", CASE_NAMES)
def test_the_stream_ends_in_the_published_features(name: str) -> None:
    row, published = final_row(name), case_rows()[CASE_NAMES.index(name)]
    for feature, played, given in zip(FEATURES, row, published, strict=True):
        if feature in STUDIED and feature != "bounce_rate":
            assert played == pytest.approx(given, rel=0.01, abs=0.06), feature


@pytest.mark.parametrize("name", CASE_NAMES)
def test_the_shipped_bundle_gives_the_published_stage(name: str, shipped: Bundle) -> None:
    """And is below 0.7 for E alone."""
    proba = shipped.score(final_row(name)[None, :])[0]
    assert STAGES[proba.argmax()] == CASES[name][0]
    assert (proba.max() < 0.7) == (name == "E")
