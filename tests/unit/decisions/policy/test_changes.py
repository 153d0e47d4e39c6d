"""A change of an experiment that moves shoppers from arm to arm needs a new salt; other changes do not."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decisions.policy import Policy, PolicyWatcher
from decisions.policy.lint import lint_text
from tests.unit.decisions.policy.policy_cases import policy_text
from worker.commands import check

HALVES: dict[str, dict[str, Any]] = {"control": {"share": 0.5}, "deal": {"share": 0.5, "replace": {"banner": "panel"}}}


def text(**experiment: Any) -> str:
    return policy_text(experiments={"e": {"arms": HALVES} | experiment})


def shares(control: float) -> dict[str, Any]:
    return {name: arm | {"share": abs(control - i)} for i, (name, arm) in enumerate(HALVES.items())}


CHANGES: dict[str, tuple[dict[str, Any], str | None]] = {
    "shares": ({"arms": shares(0.2)}, "moved-arms"),
    "order": ({"arms": dict(reversed(HALVES.items()))}, "moved-arms"),
    "unit": ({"unit": "visitor"}, "moved-arms"),
    "what an arm shows": ({"arms": HALVES | {"deal": {"share": 0.5, "holdout": True}}}, "changed-arm"),
    "more traffic": ({"share": 0.9}, None),
    "shares and salt": ({"arms": shares(0.2), "salt_version": 2}, None),
    "nothing": ({}, None),
}


def codes(before: str, after: str) -> set[str]:
    known = {"moved-arms", "changed-arm", "older-salt"}
    return known & {finding.code for finding in lint_text(after, before=Policy.from_text(before).file)}


@pytest.mark.parametrize("name", CHANGES)
def test_what_spoils_a_running_experiment_is_found(name: str) -> None:
    change, code = CHANGES[name]
    base: dict[str, Any] = {"share": 0.5}
    assert codes(text(**base), text(**base | change)) == ({code} if code else set())


def test_a_salt_does_not_go_back() -> None:
    assert codes(text(salt_version=3), text(salt_version=2)) == {"older-salt"}


@pytest.mark.parametrize("name", CHANGES)
def test_what_the_linter_says_is_what_the_draw_does(name: str) -> None:
    """Shoppers enrolled under both policies change arms exactly where a remark says so, or under a new salt."""
    change, code = CHANGES[name]
    before, after = (
        Policy.from_text(text(share=0.5, **x)) for x in ({}, {k: v for k, v in change.items() if k != "share"})
    )
    units = np.random.default_rng(1).integers(1, 2**63, 4_000, np.uint64)
    names = [
        [policy.arms_of(bits).get("e", "@").split("@")[0] for bits in policy.enrol(units, units[::-1].copy()).tolist()]
        for policy in (before, after)
    ]
    moved = any(a != b for a, b in zip(*names, strict=True) if a and b)
    assert moved == (code == "moved-arms" or "salt_version" in change)


@pytest.mark.issue(20, line=20)
def test_check_refuses_the_change_and_names_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ``--against``, or against the policy that CLICKSTAGE_POLICY names."""
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(text(), encoding="utf-8")
    new.write_text(text(arms=shares(0.2)), encoding="utf-8")
    assert check.main(["--policy", str(new), "--against", str(old)]) == 4
    said = "from control 0.5, deal 0.5 to control 0.2, deal 0.8: shoppers would change arms; set `salt_version: 2`"
    assert said in capsys.readouterr().out
    monkeypatch.setenv("CLICKSTAGE_POLICY", str(old))
    check.main(["--policy", str(new)])
    assert said in capsys.readouterr().out
    check.main(["--policy", str(old)])
    assert "moved-arms" not in capsys.readouterr().out


@pytest.mark.issue(20, line=20, sibling=True)
def test_a_reload_that_moves_shoppers_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that refused it would differ from one that starts with it, so it takes it over and says so."""
    path = tmp_path / "policy.yaml"
    path.write_text(text(arms=shares(0.2)), encoding="utf-8")
    now = [0.0]
    watcher = PolicyWatcher(path, Policy.from_text(text()), lambda: now[0])
    now[0] = 2.0
    with caplog.at_level(logging.WARNING):
        assert watcher.poll() is not None
    assert "experiments.e.arms: from control 0.5" in caplog.text


def test_check_knows_the_heads_of_the_bundle_that_ships(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a worker with that bundle accepts, `check` accepts; what no bundle has is still refused."""
    rules = [{"show": "banner", "when": "order_rest >= 0.2"}, {"show": "panel"}]
    panel = {"rules": [{"show": "panel"}]}
    stages = {"Explorer": {"rules": rules}, "Evaluator": panel, "Intent Buyer": panel, "Drop-Off Risk": panel}
    path = tmp_path / "policy.yaml"
    path.write_text(policy_text(stages=stages), encoding="utf-8")
    assert check.main(["--policy", str(path)]) == 0
    path.write_text(policy_text(stages=stages).replace("order_rest", "order_reset"), encoding="utf-8")
    assert check.main(["--policy", str(path)]) == 4
    assert "did you mean 'order_rest'" in capsys.readouterr().out
