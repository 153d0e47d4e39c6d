"""Which of our metrics a PromQL expression names, and what the rule files hold."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from worker.metrics.catalogue import CATALOGUE, Kind

PROMETHEUS = Path(__file__).resolve().parents[3] / "deploy" / "prometheus"

_NAME = re.compile(r"\bclickstage[_:][a-z0-9_:]+")


def exported() -> set[str]:
    """Every series name that the catalogue gives, histograms with their three suffixes."""
    names: set[str] = set()
    for spec in CATALOGUE:
        suffixes = ("_bucket", "_sum", "_count") if spec.kind is Kind.HISTOGRAM else ("",)
        names |= {spec.full_name + suffix for suffix in suffixes}
    return names


def named(expression: str) -> set[str]:
    """Our metrics, exported and recorded, in an expression."""
    return set(_NAME.findall(re.sub(r'"[^"]*"', '""', expression)))


@dataclass(frozen=True)
class Rule:
    """A recording rule or an alert."""

    file: Path
    group: str
    name: str
    expr: str
    alert: bool
    body: dict[str, Any]


@cache
def rules() -> tuple[Rule, ...]:
    """All of the shipped rules, in the order of their files."""
    found = []
    for path in sorted(PROMETHEUS.glob("rules/*.yml")) + sorted(PROMETHEUS.glob("alerts/*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for body in group["rules"]:
                name = body.get("alert") or body["record"]
                found.append(Rule(path, group["name"], name, body["expr"], "alert" in body, body))
    return tuple(found)


def recorded() -> set[str]:
    """Names of the recording rules."""
    return {rule.name for rule in rules() if not rule.alert}


def closed_label_values() -> dict[str, set[str]]:
    """Values that a label may have anywhere in the catalogue; empty sets are open."""
    values: dict[str, set[str]] = {}
    for spec in CATALOGUE:
        for label, closed in spec.labels.items():
            values.setdefault(label, set()).update(closed)
    return values


def unknown_label_values(expression: str) -> set[str]:
    """``label=value`` pairs that an expression selects although a closed set does not have them."""
    known = closed_label_values()
    return {
        f"{label}={value}"
        for label, operator, values in re.findall(r"\b(\w+)(=~|=|!=)\"([^\"]*)\"", expression)
        if operator != "!=" and known.get(label)
        for value in values.split("|")
        if value not in known[label] and not value.startswith("$")
    }
