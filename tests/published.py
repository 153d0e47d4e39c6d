"""The published documents: ``python -m tests.published`` writes docs/schemas and the examples of docs/examples.

The schemas come from the definitions in the code. The examples are what the shipped bundle and policy make of the five
published cases, then of silence and the session's end.
"""

# ruff: noqa: T201 - a command prints
import json
from pathlib import Path
from typing import Any, Final

from decisions import document, intake, summaries
from decisions.engine import Engine
from decisions.intake import Records
from decisions.shipped import load_bundle, load_policy
from featurestore.contract.schema import json_schema
from featurestore.store.keys import Namespace
from featurestore.store.memory import MemoryStore
from featurestore.store.protocols import Due
from models.simulator.casestreams import CASE_NAMES, case_events

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
SCHEMAS: Final = {
    "event": json_schema,
    "decision": document.json_schema,
    "session-summary": summaries.json_schema,
}
START_MS: Final = 1_780_000_000_000
HALF_AN_HOUR_MS: Final = 1_800_000
TITLES: Final = {"A": "explorer", "B": "evaluator", "C": "timed-offer", "D": "drop-off-risk", "E": "not-sure"}
SETTLED: Final = {"A", "B"}


def text(document: dict[str, Any]) -> str:
    """As it is published."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def examples() -> dict[str, dict[str, Any]]:
    """File stem → document."""
    found: dict[str, dict[str, Any]] = {}
    for name in CASE_NAMES:
        log = case_events(name, f"session-{name.lower()}", START_MS)
        if name == "C":
            found["event-add-to-cart"] = next(e for _, v, _ in log if (e := json.loads(v))["type"] == "add_to_cart")
        decided, ended = _outputs([value for _, value, _ in log], [t for *_, t in log])
        # A change of stage says why; a case that has settled shows what most decisions look like.
        changes = [d for d in decided if "reasons" in d]
        found[f"decision-{TITLES[name]}"] = decided[-1] if name in SETTLED else changes[-1]
        if name == "C":
            found["session-summary"] = ended
    return found


def _outputs(values: list[bytes | None], times: list[int]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The decisions up to the last event, and the summary of the end."""
    bundle = load_bundle(None)
    namespace = Namespace("docs", "docs", "Fq3nyJkUQZWzQnUaTpB1eA")
    engine = Engine.of(bundle, load_policy(None, bundle.heads.variables), namespace)
    decoded = intake.decode([Records(0, values, list(range(7_000, 7_000 + len(values))), times)])
    batch = intake.plan(decoded, 1, lambda _: -1)
    loaded = engine.loader(MemoryStore(namespace)).load(batch)
    applied = engine.run(batch, loaded, times[-1] + 12)
    late = intake.plan_ticks([(batch.spans[0][0], Due([*batch.sessions], []), times[-1] + HALF_AN_HOUR_MS)])
    ended = engine.run(late, loaded, times[-1] + HALF_AN_HOUR_MS + 250)
    [summary] = ended.outputs[0][-1].values
    decisions = applied.outputs[0][0].values
    return [json.loads(document) for document in decisions], json.loads(summary)


def main() -> None:
    """Write them all."""
    for name, schema in SCHEMAS.items():
        path = DOCS / "schemas" / f"{name}.schema.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text(schema()), encoding="utf-8")
        print(path.relative_to(DOCS.parent))
    for name, example in examples().items():
        path = DOCS / "examples" / f"{name}.json"
        path.write_text(text(example), encoding="utf-8")
        print(path.relative_to(DOCS.parent))


if __name__ == "__main__":
    main()
