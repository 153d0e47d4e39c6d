"""Dashboards: what is committed is what the code says, every panel is described, every query names what exists."""

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.grafana.dashboards import DASHBOARDS, DIRECTORY, written
from deploy.grafana.panels import COLUMNS, DATASOURCE, UNITS, Dashboard, Panel
from tests.unit.deploy.promql import exported, named, recorded, rules, unknown_label_values
from worker.metrics.catalogue import CATALOGUE, Kind

PROVISIONING = DIRECTORY.parent / "provisioning"
PANELS = [(dashboard, panel) for dashboard in DASHBOARDS for panel in dashboard.panels]
OWN_NAMES = {"up", "ALERTS", "process_", "python_"}

GRID = {
    "type": "object",
    "required": ["x", "y", "w", "h"],
    "properties": {
        "x": {"type": "integer", "minimum": 0, "maximum": COLUMNS - 1},
        "y": {"type": "integer", "minimum": 0},
        "w": {"type": "integer", "minimum": 1, "maximum": COLUMNS},
        "h": {"type": "integer", "minimum": 1},
    },
}
SOURCE = {"const": DATASOURCE}
SCHEMA = {
    "type": "object",
    "required": ["uid", "title", "schemaVersion", "panels", "templating", "time", "annotations"],
    "properties": {
        "uid": {"type": "string", "pattern": "^[a-z0-9-]{1,40}$"},
        "title": {"type": "string", "minLength": 1},
        "schemaVersion": {"const": 39},
        "panels": {
            "type": "array",
            "minItems": 2,
            "items": {
                "type": "object",
                "required": ["id", "type", "title", "gridPos"],
                "properties": {"id": {"type": "integer", "minimum": 1}, "gridPos": GRID},
                "if": {"properties": {"type": {"const": "row"}}},
                "else": {
                    "required": ["description", "datasource", "targets", "fieldConfig", "options"],
                    "properties": {
                        "type": {"enum": ["timeseries", "stat", "bargauge"]},
                        "description": {"type": "string", "minLength": 10},
                        "datasource": SOURCE,
                        "targets": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["refId", "expr", "datasource"],
                                "properties": {
                                    "refId": {"type": "string", "pattern": "^[A-Z]$"},
                                    "expr": {"type": "string", "minLength": 1},
                                    "datasource": SOURCE,
                                },
                            },
                        },
                        "fieldConfig": {
                            "type": "object",
                            "properties": {"defaults": {"type": "object", "required": ["unit", "thresholds"]}},
                        },
                    },
                },
            },
        },
    },
}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.uid)
def test_the_committed_file_is_what_the_code_says(dashboard: Dashboard) -> None:
    path = DIRECTORY / f"{dashboard.uid}.json"
    assert path.read_text() == written(dashboard), "run python -m deploy.grafana.dashboards"


def test_no_other_file_is_provisioned() -> None:
    assert {path.name for path in DIRECTORY.iterdir()} == {f"{dashboard.uid}.json" for dashboard in DASHBOARDS}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.uid)
def test_the_json_has_the_form_that_grafana_reads(dashboard: Dashboard) -> None:
    loaded: dict[str, Any] = json.loads(written(dashboard))
    jsonschema.validate(loaded, SCHEMA)
    ids = [panel["id"] for panel in loaded["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in loaded["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= COLUMNS
        assert not cells & taken, panel["title"]
        taken |= cells


def panel_id(case: Dashboard | Panel) -> str:
    return case.uid if isinstance(case, Dashboard) else case.title


@pytest.mark.parametrize(("dashboard", "panel"), PANELS, ids=panel_id)
def test_a_panel_has_a_unit_a_description_and_queries_of_metrics_that_exist(dashboard: Dashboard, panel: Panel) -> None:
    assert panel.unit in UNITS
    assert panel.description.endswith(".")
    assert panel.queries
    for query in panel.queries:
        ours = named(query.expr)
        assert ours <= exported() | recorded(), query.expr
        assert ours or any(name in query.expr for name in OWN_NAMES), query.expr
        for variable in ("feature", "instance"):
            if f"${variable}" in query.expr:
                assert variable in {v.name for v in dashboard.variables}


def test_queries_select_only_label_values_that_exist() -> None:
    for _, panel in PANELS:
        for query in panel.queries:
            assert unknown_label_values(query.expr) <= {"bin=missing"}, panel.title


def test_titles_within_a_dashboard_are_unique() -> None:
    for dashboard in DASHBOARDS:
        titles = [panel.title for panel in dashboard.panels]
        assert len(titles) == len(set(titles)), dashboard.uid


def test_every_metric_is_looked_at_somewhere() -> None:
    looked_at = {name for _, panel in PANELS for query in panel.queries for name in named(query.expr)}
    looked_at |= {name for rule in rules() for name in named(rule.expr)}
    unseen = {
        spec.full_name
        for spec in CATALOGUE
        if not ({spec.full_name + s for s in ("_bucket", "_sum", "_count")} & looked_at)
        and spec.full_name not in looked_at
    }
    assert unseen == set()


def test_every_recorded_series_is_used() -> None:
    used = {name for _, panel in PANELS for query in panel.queries for name in named(query.expr)}
    used |= {name for rule in rules() for name in named(rule.expr)}
    assert recorded() <= used


def test_counters_are_shown_as_rates_or_totals_on_purpose() -> None:
    totals = {"Lost to retention"}
    counters = {spec.full_name for spec in CATALOGUE if spec.kind is Kind.COUNTER}
    for _, panel in PANELS:
        for query in panel.queries:
            if counters & named(query.expr) and panel.title not in totals:
                assert "rate(" in query.expr or "increase(" in query.expr, panel.title


def test_the_provisioned_data_source_is_the_one_that_panels_name() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert {"type": source["type"], "uid": source["uid"]} == DATASOURCE


def test_promtool_parses_every_query(promtool: str, tmp_path: Path) -> None:
    queries = [
        query.expr.replace("$instance", ".*").replace("$feature", "idle_time")
        for _, panel in PANELS
        for query in panel.queries
    ]
    parsed = [{"record": f"panel:{i}", "expr": expr} for i, expr in enumerate(queries)]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": parsed}]}))
    ran = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
