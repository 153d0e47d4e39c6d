"""What docstrings say of errors and arguments is what the code does."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

from featurestore import errors
from featurestore.errors import ClickstageError, InvalidEvent
from worker.cli import exit_code
from worker.publish import EXIT_CODES

ROOT = Path(__file__).parents[2]
PACKAGES = ("featurestore", "models", "decisions", "worker", "edge")
TREE = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
DOCUMENTED = re.findall(r"^ {4}([│├└─ ]*)(\w+) +(.*)$", errors.__doc__ or "", re.MULTILINE)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> dict[Path, ast.Module]:
    files = (file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py")))
    return {
        file.relative_to(ROOT): ast.parse(file.read_text(encoding="utf-8"))
        for file in files
        if "node_modules" not in file.parts
    }


@cache
def nodes() -> dict[Path, list[ast.AST]]:
    """Classes, functions and what is raised, by file: the tree is walked once."""
    kept = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.Raise)
    return {file: [node for node in ast.walk(tree) if isinstance(node, kept)] for file, tree in modules().items()}


def _names(node: ast.AST | None) -> set[str]:
    """The names that an expression mentions."""
    if node is None:
        return set()
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)} | {
        one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)
    }


@cache
def raised() -> set[str]:
    """Errors of the tree that some ``raise`` makes, itself or by a function that returns one."""
    makers = {
        node.name: _names(node.returns) & TREE.keys()
        for node in chain.from_iterable(nodes().values())
        if isinstance(node, Function) and _names(node.returns) & TREE.keys()
    }
    found: set[str] = set()
    for node in chain.from_iterable(nodes().values()):
        if isinstance(node, ast.Raise):
            names = _names(node.exc)
            found |= names & TREE.keys()
            found = found.union(*(makers[name] for name in names & makers.keys()))
    return found


@pytest.mark.parametrize("name", sorted(TREE.keys() - {"ClickstageError"}))
def test_every_error_of_the_tree_is_raised(name: str) -> None:
    assert name in raised()


def test_the_tree_in_words_is_the_tree() -> None:
    """Each class once, under its parent."""
    path: list[str] = []
    drawn = {}
    for branch, name, _ in [("", "ClickstageError", ""), *(row for row in DOCUMENTED if row[0])]:
        depth = len(branch) // 4
        path[depth:] = [name]
        drawn[name] = path[depth - 1] if depth else "Exception"
    assert drawn == {name: kind.__mro__[1].__name__ for name, kind in TREE.items()}


@pytest.mark.parametrize("name", sorted(TREE))
def test_an_error_ends_a_command_with_a_documented_code(name: str) -> None:
    """The one that the tree names, where it names one."""
    kind: type[ClickstageError] = TREE[name]
    error = InvalidEvent("other", "x") if kind is InvalidEvent else kind("x")
    code = exit_code(error)
    assert code in EXIT_CODES
    [words] = [text for _, drawn, text in DOCUMENTED if drawn == name] or [""]
    if named := re.search(r"exit code (\d+)", words):
        assert code == int(named[1])


def _listed(docstring: str, section: str) -> list[str]:
    """The names that a section of a docstring lists."""
    found = re.search(rf"^( *){section}:\n((?:\1 +.*\n|\n)+)", docstring + "\n", re.MULTILINE)
    if not found:
        return []
    lines = found[2].splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    entries = [line[indent:] for line in lines if line.startswith(" " * indent) and line[indent : indent + 1] != " "]
    return [name.strip("*` ") for entry in entries if entry for name in entry.partition(":")[0].split(",")]


def _parameters(function: Function) -> set[str]:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {one.arg for one in every if one is not None}


def _fields(kind: ast.ClassDef) -> set[str]:
    """What instances of a class have: fields, properties, and what methods set."""
    stored = {
        node.attr
        for node in ast.walk(kind)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _names(node.value) == {"self"}
    }
    declared = {
        node.target.id for node in kind.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assigned = {
        name for node in kind.body if isinstance(node, ast.Assign) for target in node.targets for name in _names(target)
    }
    methods = {node.name for node in kind.body if isinstance(node, Function)}
    return stored | declared | assigned | methods


def _wrong() -> Iterator[str]:
    for file, found in nodes().items():
        for node in found:
            if not isinstance(node, Function | ast.ClassDef):
                continue
            words = ast.get_docstring(node) or ""
            if isinstance(node, ast.ClassDef):
                made = [one for one in node.body if isinstance(one, Function) and one.name in {"__init__", "__new__"}]
                taken = set().union(*map(_parameters, made)) if made else _fields(node)
                bases = _names(ast.Tuple(node.bases, ast.Load())) - {"NamedTuple", "Protocol", "Struct", "Generic"}
                inherited = bool(bases) and not made
                listed = {"Args": taken, "Attributes": _fields(node)}
            else:
                inherited = False
                listed = {"Args": _parameters(node)}
            for section, known in listed.items():
                for name in _listed(words, section):
                    if name not in known and not inherited:
                        yield f"{file}:{node.lineno} {node.name}: {section} name {name!r}, which is not there"


def test_what_a_docstring_lists_is_there() -> None:
    """Arguments are those of the signature, attributes those of the class."""
    assert list(_wrong()) == []


def test_the_sections_of_docstrings_are_found() -> None:
    """The test above looks at something."""
    assert _listed("x.\n\nArgs:\n    a: one\n        more: text\n    *b: two\n\nRaises:\n    E: no\n", "Args") == [
        "a",
        "b",
    ]
    functions = [node for node in chain.from_iterable(nodes().values()) if isinstance(node, Function)]
    assert sum(bool(_listed(ast.get_docstring(node) or "", "Args")) for node in functions) > 30
