"""docs/schemas and docs/examples: what is published is what the code writes."""

import json
from pathlib import Path

import jsonschema
import pytest

from decisions.document import decode_decision
from featurestore.contract.decode import decode
from tests.published import DOCS, SCHEMAS, examples, text

EXAMPLES = sorted((DOCS / "examples").glob("*.json"))


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_published_schema_is_the_code_s(name: str) -> None:
    """After a change: python -m tests.published."""
    schema = SCHEMAS[name]()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert (DOCS / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8") == text(schema)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_published_example_is_valid_and_readable(path: Path) -> None:
    document = path.read_bytes()
    kind = next(name for name in SCHEMAS if path.stem.startswith(name))
    jsonschema.validate(json.loads(document), SCHEMAS[kind](), cls=jsonschema.Draft202012Validator)
    if kind == "decision":
        assert decode_decision(document).session_id
    elif kind == "event":
        assert decode(document).type == "add_to_cart"


def test_every_example_is_published_and_what_the_code_writes_has_its_fields() -> None:
    """Figures may differ by the model and the policy of the day; names may not."""
    now = examples()
    assert {path.stem for path in EXAMPLES} == now.keys()
    for path in EXAMPLES:
        published = json.loads(path.read_bytes())
        assert published.keys() == now[path.stem].keys(), path.stem


def test_each_decision_record_has_a_number_of_its_own() -> None:
    numbers = [path.name[:4] for path in (DOCS / "decisions").glob("[0-9]*.md")]
    assert len(set(numbers)) == len(numbers)
