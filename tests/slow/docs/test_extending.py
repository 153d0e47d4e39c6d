"""docs/extending.md, applied and run.

A block of the guide is a diff, a file to write (its first line names it), commands, or Python. The diffs of all recipes
go into one copy of the repository. `make test` imports what they change there. `make faults` also runs the commands,
recipe by recipe in one process: that compiles everything anew, trains models and starts a worker, which takes minutes.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[3]
RECIPES = (
    "Add a classifier",
    "Add a feature",
    "Add an event type",
    "Add a head",
    "Add an output topic",
    "See it run",
    "Change or add a rule",
)
MOST_FILES = 3
"""So many files of the code, at most, does a recipe touch; the tests that say what it should be come on top."""
COPIED = ("featurestore", "models", "decisions", "worker", "tests", "pyproject.toml")
LEFT_OUT = {
    "models": ("bundles",),
    "tests": ("faults", "integration", "contract", "golden", "services"),
}
RUN = """
import json, shlex, subprocess, sys, traceback, warnings
import pytest
from worker.cli import main

def command(line):
    match shlex.split(line):
        case ["clickstage", *arguments]:
            return main([*arguments, "--jobs", "1"])
        case ["python", "-m", "pytest", *arguments]:
            return pytest.main(["-q", "--noconftest", "-p", "no:randomly", "-p", "no:cacheprovider", *arguments])
        case ["python", *arguments]:
            return subprocess.run([sys.executable, *arguments], check=False).returncode
        case words:
            return subprocess.run(words, check=False).returncode

def block(language, text):
    if language == "python":
        exec(compile(text, "extending.md", "exec"), {})
        return 0
    return max((command(line) for line in text.splitlines()), key=abs)

outcomes = {}
for recipe, language, text in json.load(sys.stdin):
    print("##", recipe, language, flush=True)
    try:
        code = block(language, text)
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        code = -1
    outcomes.setdefault(recipe, []).append((text, int(code)))
with open("outcomes.json", "w") as file:
    json.dump(outcomes, file)
"""


class Block(NamedTuple):
    recipe: str
    language: str
    text: str


class Hunk(NamedTuple):
    file: str
    before: str
    after: str


def blocks(*languages: str) -> list[Block]:
    """The guide's fenced blocks in these languages."""
    found = []
    for part in re.split(r"^## ", (ROOT / "docs/extending.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        recipe, _, body = part.partition("\n")
        fences = re.findall(r"^```(\w+)\n(.*?)^```$", body, flags=re.MULTILINE | re.DOTALL)
        found += [Block(recipe, language, text) for language, text in fences if language in languages]
    return found


def hunks(diff: str) -> list[Hunk]:
    head, _, body = diff.partition("\n")
    parts = [part.strip("\n").splitlines() for part in re.split(r"^@@$", body, flags=re.MULTILINE)]
    return [
        Hunk(
            head.removeprefix("--- "),
            "".join(line[1:] + "\n" for line in lines if line[:1] != "+"),
            "".join(line[1:] + "\n" for line in lines if line[:1] != "-"),
        )
        for lines in parts
    ]


def apply(hunk: Hunk, root: Path) -> None:
    path = root / hunk.file
    text = path.read_text(encoding="utf-8")
    assert text.count(hunk.before) == 1, f"{hunk.file}: the guide's lines occur {text.count(hunk.before)} times"
    path.write_text(text.replace(hunk.before, hunk.after), encoding="utf-8")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with all recipes in it."""
    copy = tmp_path_factory.mktemp("extended")
    for name in COPIED:
        if (ROOT / name).is_dir():
            # Compiled code comes along: where a recipe leaves a file alone, nothing is compiled anew.
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns(*LEFT_OUT.get(name, ())))
        else:
            shutil.copy2(ROOT / name, copy / name)
    for block in blocks("diff"):
        for hunk in hunks(block.text):
            apply(hunk, copy)
    for block in blocks("yaml", "py"):
        (copy / block.text.splitlines()[0].removeprefix("# ")).write_text(block.text, encoding="utf-8")
    return copy


def _run(copy: Path, script: str, given: str = "") -> str:
    """Run a script in the copy; what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        input=given,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def outcomes(extended: Path) -> tuple[dict[str, list[tuple[str, int]]], str]:
    """Each recipe's blocks with their exit codes, and what they printed."""
    printed = _run(extended, RUN, json.dumps(blocks("sh", "python")))
    return json.loads((extended / "outcomes.json").read_text(encoding="utf-8")), printed


def test_the_guide_has_these_recipes() -> None:
    """Each says what to change and how to see that it worked."""
    assert {block.recipe for block in blocks("diff", "py", "yaml")} == set(RECIPES)
    assert {block.recipe for block in blocks("sh", "python")} == set(RECIPES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_touches_few_files(recipe: str) -> None:
    changed = {hunk.file for block in blocks("diff") if block.recipe == recipe for hunk in hunks(block.text)}
    written = {block.text.splitlines()[0] for block in blocks("py") if block.recipe == recipe}
    assert len({file for file in changed if not file.startswith("tests/")}) + len(written) <= MOST_FILES


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_changes_lines_that_are_there(recipe: str, tmp_path: Path) -> None:
    """Each recipe fits the repository as it is, whatever the other recipes do."""
    for block in blocks("diff"):
        if block.recipe == recipe:
            for hunk in hunks(block.text):
                if not (tmp_path / hunk.file).exists():
                    (tmp_path / hunk.file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / hunk.file, tmp_path / hunk.file)
                apply(hunk, tmp_path)


def test_what_the_recipes_change_imports(extended: Path) -> None:
    """Names, tables and sizes agree in the copy: modules check them when they are imported."""
    changed = {hunk.file for block in blocks("diff") for hunk in hunks(block.text)}
    written = {block.text.splitlines()[0].removeprefix("# ") for block in blocks("py")}
    packages = ("featurestore/", "models/", "decisions/", "worker/")
    code = sorted(file for file in changed | written if file.endswith(".py") and file.startswith(packages))
    names = [file.removesuffix(".py").replace("/", ".") for file in code]
    script = f"""
import importlib
for name in {names}:
    print(importlib.import_module(name).__file__)
"""
    assert _run(extended, script).split() == [str(extended / file) for file in code]


@pytest.mark.nightly
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_works(recipe: str, outcomes: tuple[dict[str, list[tuple[str, int]]], str]) -> None:
    steps, printed = outcomes
    assert [text for text, code in steps[recipe] if code != 0] == [], printed
