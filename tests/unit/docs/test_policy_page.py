"""docs/policy.md says what the code does: outputs are run again, closed lists are complete."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from decisions.policy import GUARDS, ROUTES, Policy
from decisions.policy.conditions import OPERATORS, VARIABLES
from decisions.policy.lint import lint_text
from decisions.policy.model import Action, Experiment, Guardrails, Hysteresis, PolicyFile, load
from models.heads.outcomes import Outcome, read_outcome
from models.rules import StageRules, load_rules
from worker.commands import check, experiment

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n\$ clickstage (check|experiment size) (.*)\n((?:(?!```).*\n)*)```$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("command", "options", "printed"), BLOCKS, ids=[b[1] for b in BLOCKS])
def test_commands_print_what_the_page_shows(
    command: str,
    options: str,
    printed: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    argv = shlex.split(options)
    (check.main if command == "check" else lambda rest: experiment.main(["size", *rest]))(argv)
    assert capsys.readouterr().out == printed


def test_the_page_shows_four_runs() -> None:
    assert len(BLOCKS) == 4


@pytest.mark.parametrize("name", [*ROUTES, *GUARDS, *VARIABLES, *OPERATORS])
def test_closed_lists_are_complete(name: str) -> None:
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("model", [Action, Guardrails, Hysteresis, Experiment], ids=lambda m: m.__name__)
def test_every_key_is_explained(model: type) -> None:
    fields = set(model.model_fields) - {"id", "label"}  # type: ignore[attr-defined]  # pydantic models
    assert not [name for name in fields if name not in PAGE]


def test_the_example_on_the_page_is_the_file() -> None:
    example = (ROOT / "docs" / "examples" / "first-policy.yaml").read_text(encoding="utf-8")
    known = {line.split("#")[0].strip() for line in example.splitlines()}
    for block in re.findall(r"^```yaml\n(.*?)```$", PAGE, re.MULTILINE | re.DOTALL):
        assert [line for line in block.splitlines() if line.split("#")[0].strip() not in known] == []
    Policy.from_text(example)


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "deploy").rglob("*.md"))]
YAML = re.compile(r"^```yaml\n(.*?)```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [p for p in PAGES if "```yaml" in p.read_text(encoding="utf-8")], ids=lambda p: p.name)
def test_every_yaml_in_the_docs_is_accepted(page: Path, tmp_path: Path) -> None:
    """A policy passes the linter, or loads at least if it shows a part; rules and outcomes load; keys have shops.

    A threshold that the page's own recipe adds is one that only the recipe's copy of the tree knows.
    """
    policy = ""
    for block in YAML.findall(page.read_text(encoding="utf-8")):
        keys = set(yaml.safe_load(block))
        if keys <= set(StageRules.model_fields):
            (tmp_path / "rules.yaml").write_text(block, encoding="utf-8")
            load_rules(tmp_path / "rules.yaml")
        elif keys <= set(Outcome.model_fields):
            (tmp_path / "outcome.yaml").write_text(block, encoding="utf-8")
            read_outcome(tmp_path / "outcome.yaml")
        elif keys <= set(PolicyFile.model_fields):
            policy = block if "version" in keys else f"{policy}\n{block}"
            load(policy, page.name, None)
            assert lint_text(policy) == [] or page.name != "policy.md"
        else:
            added = all(f"+    {key}: " in page.read_text(encoding="utf-8") for key in keys)
            assert added or "shops" in keys, f"{page.name}: a YAML block of no known kind"
