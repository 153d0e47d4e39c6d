"""What has to be tested is: tests carry a mark that names the line of an issue, or the answer of a page.

``grep -rn "issue(20, line=5" tests`` finds the tests of a line.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parents[2]
LINES: Final = {20: range(1, 22)}
"""Issues with numbered lines, each of which needs a test, and a test of a sibling that the text does not name."""
ANSWERS: Final = re.search(
    r"## Ambiguities, decided\n\n\|.*\n\|.*\n((?:\|.*\n)+)", (ROOT / "docs/contract.md").read_text(encoding="utf-8")
)


class Mark(NamedTuple):
    """A mark that a test carries."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def _marks(tree: ast.Module) -> Iterator[Mark]:
    for node in tree.body:
        for one in node.decorator_list if isinstance(node, ast.FunctionDef) else []:
            call = one.func if isinstance(one, ast.Call) else None
            if isinstance(one, ast.Call) and isinstance(call, ast.Attribute) and call.attr in {"issue", "contract"}:
                kwargs = {word.arg or "": ast.literal_eval(word.value) for word in one.keywords}
                yield Mark(call.attr, tuple(map(ast.literal_eval, one.args)), kwargs)


@cache
def marks() -> list[Mark]:
    """All marks of all tests."""
    texts = (file.read_text(encoding="utf-8") for file in sorted((ROOT / "tests").rglob("test_*.py")))
    marked = (text for text in texts if "@pytest.mark.issue(" in text or "@pytest.mark.contract(" in text)
    return [mark for text in marked for mark in _marks(ast.parse(text))]


@pytest.mark.parametrize("sibling", [False, True], ids=["named", "sibling"])
@pytest.mark.parametrize(("number", "line"), [(number, line) for number, lines in LINES.items() for line in lines])
def test_each_line_has_a_test_and_one_of_a_sibling(number: int, line: int, *, sibling: bool) -> None:
    wanted = {"line": line} | ({"sibling": True} if sibling else {})
    assert Mark("issue", (number,), wanted) in marks()


def test_a_mark_names_a_line_that_there_is() -> None:
    for mark in marks():
        if mark.name == "issue":
            assert mark.kwargs["line"] in LINES[mark.args[0]]


def test_each_answer_of_the_contract_has_a_test() -> None:
    """And each mark names an answer that the page gives."""
    assert ANSWERS is not None
    questions = [row.split("|")[1].strip() for row in ANSWERS[1].splitlines()]
    held = {mark.args[0] for mark in marks() if mark.name == "contract"}
    assert held == set(questions)
