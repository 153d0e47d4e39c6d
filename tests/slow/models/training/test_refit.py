"""``clickstage train --refit``: heads that expect as many outcomes as come now, in the same order."""

from pathlib import Path

import numpy as np
import pytest

from decisions.shipped import BUNDLES, load_bundle
from featurestore.errors import SettingsError
from models.bundle.bundle import Bundle
from models.simulator.simulator import SimConfig, simulate
from models.training.command import main
from models.training.refit import refit


@pytest.fixture(scope="module")
def refitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, list[tuple[str, float, float, float, str]]]:
    """The bundle that ships, on a shop with half the buyers and twice those who abandon."""
    config = SimConfig(sessions=1_800, seed=11, mix={"buyer": 0.5, "abandoner": 2.0}, sessions_per_s=0.25)
    events = [event for chunk in simulate(config) for event in chunk]
    path, moved = refit(load_bundle(None), events, "9", tmp_path_factory.mktemp("bundles"), "test")
    return Bundle.load(path), [tuple(one) for one in moved]  # type: ignore[misc]


def test_as_many_are_expected_as_came(refitted: tuple[Bundle, list[tuple[str, float, float, float, str]]]) -> None:
    """A head with too few visits that have its outcome stays, and says so."""
    _, moved = refitted
    changed = [one for one in moved if not one[4]]
    assert {one[0] for one in changed} >= {"add_rest", "exit_next"}
    for _, observed, before, after, _ in changed:
        assert after == pytest.approx(observed, rel=1e-6)
        assert before != after
    assert all("are needed" in one[4] for one in moved if one not in changed)


def test_the_trees_and_the_order_of_shoppers_stay(
    refitted: tuple[Bundle, list[tuple[str, float, float, float, str]]],
) -> None:
    bundle, _ = refitted
    before = load_bundle(None)
    assert bundle.id == f"{before.name}-9"
    for old, new in zip(before.heads, bundle.heads, strict=True):
        assert new.model.digest() == old.model.digest()
        a, b = old.score(old.golden.rows)[:, 0], new.score(old.golden.rows)[:, 0]
        assert np.array_equal(np.argsort(a, kind="stable"), np.argsort(b, kind="stable"))


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    bundle = str(BUNDLES / "journey-2")
    with pytest.raises(SettingsError, match="--refit needs --events"):
        main(["--refit", bundle])
    (tmp_path / "e.jsonl").write_text('{"session_id":"s","type":"page_view","ts":1}\n')
    with pytest.raises(SettingsError, match="needs a --version"):
        main(["--refit", bundle, "--events", str(tmp_path / "e.jsonl"), "--version", "2"])
    with pytest.raises(SettingsError, match="no visit that ended"):
        main(["--refit", bundle, "--events", str(tmp_path / "e.jsonl"), "--version", "3", "--out", str(tmp_path)])
