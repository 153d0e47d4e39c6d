"""Alerts and recording rules: they name what exists, lead to the runbook, and do what their tests say."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.unit.deploy.promql import PROMETHEUS, Rule, exported, named, recorded, rules, unknown_label_values

RUNBOOK = PROMETHEUS.parent / "RUNBOOK.md"
PAGE = PROMETHEUS.parent.parent / "docs" / "monitoring.md"
ALERTS = [rule for rule in rules() if rule.alert]
TESTS = sorted(PROMETHEUS.glob("tests/*.yml"))


def by_name(rule: Rule) -> str:
    return rule.name


@pytest.mark.parametrize("rule", rules(), ids=by_name)
def test_a_rule_names_only_metrics_that_exist(rule: Rule) -> None:
    assert named(rule.expr) <= exported() | recorded()


@pytest.mark.parametrize("rule", rules(), ids=by_name)
def test_a_rule_selects_only_label_values_that_exist(rule: Rule) -> None:
    assert not unknown_label_values(rule.expr)


@pytest.mark.parametrize("rule", ALERTS, ids=by_name)
def test_an_alert_says_who_acts_and_what_to_do(rule: Rule) -> None:
    assert rule.body["labels"]["severity"] in {"page", "ticket"}
    notes = rule.body["annotations"]
    assert set(notes) == {"summary", "description", "runbook"}
    assert notes["runbook"] == f"deploy/RUNBOOK.md#{rule.name.lower()}"
    assert f"### {rule.name}\n" in RUNBOOK.read_text()


def test_the_runbook_has_no_alert_that_is_gone() -> None:
    headings = set(re.findall(r"^### (Clickstage\w+)$", RUNBOOK.read_text(), re.MULTILINE))
    assert headings == {rule.name for rule in ALERTS}


def test_the_table_of_the_page_lists_every_alert_with_its_severity_and_wait() -> None:
    """An operator who looks an alert up in docs/monitoring.md finds it, as the rule has it."""
    waits = {"1m": "1 min", "2m": "2 min", "3m": "3 min", "5m": "5 min", "10m": "10 min", "15m": "15 min"}
    waits |= {"30m": "30 min", "1h": "1 h", "3h": "3 h", "": "at once"}
    rows = re.findall(r"^\| (Clickstage\w+) \| (\w+) \| .* \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    wanted = [(rule.name, rule.body["labels"]["severity"], waits[rule.body.get("for", "")]) for rule in ALERTS]
    assert sorted(rows) == sorted(wanted)


def test_an_alert_on_one_sample_is_on_a_counter_of_rare_events() -> None:
    at_once = {rule.name for rule in ALERTS if "for" not in rule.body}
    assert at_once == {
        "ClickstageLogGap",
        "ClickstagePolicyRefused",
        "ClickstageStoreRewound",
        "ClickstageTruthLow",
        "ClickstageTruthStale",
    }


def test_every_alert_is_tested_firing_and_not_firing() -> None:
    fires: dict[str, set[bool]] = {}
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test.get("alert_rule_test", []):
                fires.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    assert fires == {rule.name: {True, False} for rule in ALERTS}


def test_names_are_unique() -> None:
    names = [rule.name for rule in rules()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
@pytest.mark.issue(20, line=21)
def test_promtool_agrees_with_the_rule_tests(path: Path, promtool: str) -> None:
    ran = subprocess.run(
        [promtool, "test", "rules", path.name], cwd=path.parent, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_promtool_accepts_the_configuration(promtool: str) -> None:
    ran = subprocess.run(
        [promtool, "check", "config", "prometheus.yml"], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
