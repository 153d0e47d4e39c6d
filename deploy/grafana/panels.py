"""A small typed builder for Grafana dashboards (schema version 39, Grafana 10 and later).

A panel is a title, a description, a unit and queries; the rest is one house style. `Dashboard.as_json` places panels
left to right in rows of 24 columns, so nobody writes coordinates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

DATASOURCE: Final = {"type": "prometheus", "uid": "clickstage-prometheus"}
COLUMNS: Final = 24

#: Grafana's ids of the units in use, with the words that `render` writes on an axis.
UNITS: Final = {
    "short": "",
    "s": "seconds",
    "percentunit": "share",
    "pp": "percentage points",
    "sd": "training standard deviations",
    "psi": "PSI",
    "nats": "nats",
    "burn": "times the allowed rate",
    "reqps": "events/s",
    "ops": "per second",
    "bytes": "bytes",
    "currency": "shop currency",
    "bool": "1 is yes",
}
#: Units that Grafana does not know are plain numbers there, with the words as a suffix.
_SUFFIXED: Final = {"pp": " pp", "sd": " sd", "psi": "", "nats": " nats", "burn": " x", "currency": "", "bool": ""}

Kind = Literal["timeseries", "stat", "bargauge"]


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the legend of its series; ``{{label}}`` in the legend is replaced by Grafana."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One picture.

    Parameters
    ----------
    description
        What the figure means and when to worry; shown behind the panel's (i).
    unit
        A key of `UNITS`.
    limit
        A threshold: drawn as a red line, colours a stat red above it.
    below
        The threshold is a lower limit instead: red is below it.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    kind: Kind = "timeseries"
    width: int = 12
    height: int = 8
    limit: float | None = None
    below: bool = False
    lowest: float | None = None
    highest: float | None = None
    stacked: bool = False
    decimals: int | None = None

    def as_json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """Grafana's form at a place in the grid."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [self._target(i, query) for i, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._options(),
        }

    def _target(self, i: int, query: Query) -> dict[str, Any]:
        instant = self.kind != "timeseries"
        return {
            "refId": chr(ord("A") + i),
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "instant": instant,
            "range": not instant,
        }

    def _defaults(self) -> dict[str, Any]:
        steps: list[dict[str, Any]] = [{"color": "red" if self.below else "green", "value": None}]
        if self.limit is not None:
            steps.append({"color": "green" if self.below else "red", "value": self.limit})
        suffix = _SUFFIXED.get(self.unit)
        defaults: dict[str, Any] = {
            "unit": self.unit if suffix is None else (f"suffix:{suffix}" if suffix else "none"),
            "thresholds": {"mode": "absolute", "steps": steps},
            "color": {"mode": "palette-classic" if self.kind == "timeseries" else "thresholds"},
            "noValue": "no data",
        }
        bounds = {"min": self.lowest, "max": self.highest, "decimals": self.decimals}
        defaults |= {name: value for name, value in bounds.items() if value is not None}
        if self.kind == "timeseries":
            defaults["custom"] = {
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": 30 if self.stacked else 0,
                "showPoints": "never",
                "spanNulls": False,
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
                "thresholdsStyle": {"mode": "line" if self.limit is not None else "off"},
            }
        return defaults

    def _options(self) -> dict[str, Any]:
        if self.kind == "timeseries":
            return {
                "legend": {"displayMode": "table", "placement": "right", "showLegend": True, "calcs": ["lastNotNull"]},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        if self.kind == "bargauge":
            return {"reduceOptions": reduce, "orientation": "horizontal", "displayMode": "basic", "showUnfilled": True}
        return {"reduceOptions": reduce, "colorMode": "value", "graphMode": "none", "textMode": "auto"}


@dataclass(frozen=True)
class Variable:
    """A drop-down filled from the values of a label."""

    name: str
    label: str
    metric: str
    source_label: str
    multi: bool = False

    def as_json(self) -> dict[str, Any]:
        everything = {"text": "All", "value": "$__all"}
        return {
            "name": self.name,
            "label": self.label,
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": f"label_values({self.metric}, {self.source_label})", "refId": "values"},
            "refresh": 2,
            "sort": 1,
            "multi": self.multi,
            "includeAll": self.multi,
            "allValue": ".*" if self.multi else None,
            "current": everything if self.multi else {},
        }


@dataclass(frozen=True)
class Section:
    """A titled row of panels."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Dashboard:
    """A page: sections from top to bottom."""

    uid: str
    title: str
    description: str
    sections: Sequence[Section]
    variables: Sequence[Variable] = field(default_factory=tuple)
    span: str = "now-3h"

    @property
    def panels(self) -> list[Panel]:
        return [panel for section in self.sections for panel in section.panels]

    def as_json(self) -> dict[str, Any]:
        """Grafana's form, ready to be provisioned."""
        panels: list[dict[str, Any]] = []
        y = 0
        for section in self.sections:
            grid = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
            panels.append(
                {
                    "id": len(panels) + 1,
                    "type": "row",
                    "title": section.title,
                    "collapsed": False,
                    "gridPos": grid,
                    "panels": [],
                }
            )
            y = _place(section.panels, y + 1, panels)
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["clickstage"],
            "timezone": "browser",
            "schemaVersion": 39,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": self.span, "to": "now"},
            "templating": {"list": [variable.as_json() for variable in self.variables]},
            "annotations": {"list": [_ALERTS]},
            "links": [{"type": "dashboards", "title": "Clickstage", "tags": ["clickstage"], "asDropdown": True}],
            "panels": panels,
        }


_ALERTS: Final = {
    "name": "Alerts",
    "datasource": DATASOURCE,
    "enable": True,
    "iconColor": "red",
    "expr": 'ALERTS{alertname=~"Clickstage.+", alertstate="firing"}',
    "titleFormat": "{{alertname}}",
    "tagKeys": "severity,feature,stage",
}


def _place(panels: Sequence[Panel], y: int, out: list[dict[str, Any]]) -> int:
    """Append the panels to ``out`` from row ``y`` on; the first free row after them."""
    x = deepest = 0
    for panel in panels:
        if x + panel.width > COLUMNS:
            x, y, deepest = 0, y + deepest, 0
        out.append(panel.as_json(len(out) + 1, x, y))
        x += panel.width
        deepest = max(deepest, panel.height)
    return y + deepest
