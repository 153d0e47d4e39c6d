"""docs/edge.md says what the code does."""

import json
import re

from edge import openapi
from edge.metrics import EdgeMetrics
from edge.publish import PAGE, own_settings, published


def test_the_table_of_settings_is_up_to_date() -> None:
    """`python -m edge.publish` writes it."""
    assert PAGE.read_text(encoding="utf-8") == published()
    assert "edge-spool" in own_settings()
    assert "--kafka-password" not in own_settings()


def test_the_metrics_that_the_page_names_exist() -> None:
    named = set(re.findall(r"clickstage_edge_\w+", PAGE.read_text(encoding="utf-8")))
    exported = EdgeMetrics().page().decode()
    assert not {name for name in named if name not in exported}


def test_every_reference_of_the_description_resolves() -> None:
    described = openapi.describe()
    schemas = described["components"]["schemas"]
    for name in re.findall(r"#/components/schemas/(\w+)", json.dumps(described)):
        assert name in schemas
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            if method != "parameters":
                assert operation["responses"], (path, method)
