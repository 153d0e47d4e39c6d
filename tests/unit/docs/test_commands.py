"""Every command that a page prints exists as it is printed: commands, options, values, and targets of make.

A block of a page is parsed whole, by the parser of the command itself. A command that is only mentioned in a sentence
may leave out what it needs, but names no option that there is not.
"""

import argparse
import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest

from worker.cli import COMMANDS, main
from worker.errors import ExitCode

ROOT: Final = Path(__file__).parents[3]
PAGES: Final = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md"), *ROOT.glob("edge/**/README.md")]
)
_RECIPES: Final = ROOT / "docs" / "extending.md"
"""Its commands are of a tree that has been changed: test_extending.py runs them there."""
_BLOCK: Final = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_SHELLS: Final = {"", "sh", "console", "bash", "text"}
_SPAN: Final = re.compile(r"`([^`\n]+)`")
_ASSIGNED: Final = re.compile(r"^[A-Z_]+=\S*$")


class _Parsed(Exception):
    """The arguments were good; the command itself does not run."""


def printed_lines(page: Path) -> Iterator[str]:
    """Commands in the blocks of a page: continuation lines joined, prompts taken off, parts of a pipe apart."""
    for block in _BLOCK.finditer(page.read_text()):
        if block[1] in _SHELLS and page != _RECIPES:
            yield from _lines(block[2])


def _lines(text: str) -> Iterator[str]:
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        for part in re.split(r"\s(?:&&|\||;)\s", line.removeprefix("$ ").strip()):
            yield part.strip()


def words_of(command: str, name: str) -> list[str] | None:
    """The arguments of ``name``, or None if this is another command."""
    if name not in command:
        return None
    try:
        words = shlex.split(command, comments=True)
    except ValueError:
        return None
    while words and _ASSIGNED.match(words[0]):
        del words[0]
    for cut in (">", ">>", "&", "2>&1"):
        words = words[: words.index(cut)] if cut in words else words
    return words[1:] if words and words[0].rsplit("/", 1)[-1] == name else None


def _printed(name: str) -> list[Any]:
    """Commands in the blocks of all pages."""
    return [
        pytest.param(words, id=f"{page.relative_to(ROOT)}: {' '.join(words)}"[:90])
        for page in PAGES
        for line in printed_lines(page)
        if (words := words_of(line, name))
    ]


def _mentioned(name: str) -> list[Any]:
    """Commands in the sentences of all pages."""
    found = {}
    for page in PAGES:
        for span in _SPAN.finditer(_BLOCK.sub("", page.read_text())):
            if words := words_of(span[1], name):
                found[f"{page.relative_to(ROOT)}: {' '.join(words)}"[:90]] = words
    return [pytest.param(words, id=where) for where, words in found.items()]


def _only_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parsed(self: argparse.ArgumentParser, *arguments: Any) -> NoReturn:
        parse(self, *arguments)
        raise _Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)


def _module(words: Sequence[str]) -> str:
    return "worker.commands.truth" if words[0] == "evaluate" and "--live" in words else COMMANDS[words[0]][0]


def _is_command(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert words[0] in {*COMMANDS, "--help", "--version"}
    if words[0] in COMMANDS and "--help" not in words:
        _only_parsed(monkeypatch)
        with pytest.raises(_Parsed):
            importlib.import_module(_module(words)).main(words[1:])


@pytest.mark.parametrize("words", _printed("clickstage"))
def test_a_printed_command_is_taken_as_it_is_printed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _is_command(words, monkeypatch)


@pytest.mark.parametrize("words", _mentioned("clickstage"))
def test_a_mentioned_command_has_the_options_that_are_mentioned(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if words[0] in {"COMMAND", "--help", "--version"}:
        return
    assert words[0] in COMMANDS
    subcommand = [words[1]] if words[0] in {"dlq", "experiment"} and len(words) > 1 and words[1].isalpha() else []
    with pytest.raises(SystemExit) as left:
        importlib.import_module(_module(words)).main([*subcommand, "--help"])
    assert left.value.code == 0
    known = capsys.readouterr().out
    for option in (word.split("=")[0] for word in words if word.startswith("--")):
        assert re.search(rf"{option}\b", known), option


def _targets() -> list[str]:
    [line] = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return str(line).split()


@pytest.mark.parametrize("words", _printed("make") + _mentioned("make"))
def test_a_printed_target_of_make_is_there(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variables that the page sets, it runs commands that there are."""
    assert next(word for word in words if "=" not in word) in _targets()
    _runs_commands_that_there_are(words, monkeypatch)


@pytest.mark.parametrize("target", _targets())
def test_every_target_of_make_runs_commands_that_there_are(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it would run is taken by the command's own parser, with nothing given beside the target."""
    _runs_commands_that_there_are([target], monkeypatch)


def _runs_commands_that_there_are(target: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(["make", "-n", "-C", str(ROOT), *target], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line in _lines(done.stdout):
        if words := words_of(line, "clickstage"):
            _is_command(words, monkeypatch)


@pytest.mark.parametrize("words", _printed("python") + _mentioned("python"))
def test_a_printed_module_and_its_files_are_there(words: list[str]) -> None:
    """``python -m MODULE`` in a checkout; the tests that are named exist."""
    if words[0] != "-m":
        return
    assert importlib.util.find_spec(words[1]) is not None
    if words[1] == "pytest":
        assert all((ROOT / word.split("::")[0]).exists() for word in words[2:] if word.startswith("tests/"))


def test_help_of_make_names_every_target() -> None:
    said = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True).stdout
    assert {target for target in _targets() if f"make {target} " not in said} == set()


def test_the_pages_are_read_at_all() -> None:
    """A change of their layout must not empty the tests above."""
    assert len(_printed("clickstage")) > 10
    assert len(_mentioned("clickstage")) > 25
    assert len(_printed("make")) >= 5


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_subcommands_and_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == ExitCode.OK
    script = capsys.readouterr().out
    if shell != "bash":
        assert all(word in script for word in ("redrive", "dry-run", "kafka-password-file"))
        return
    asked = {
        "clickstage re": "replay reprocess",
        "clickstage dlq re": "redrive",
        "clickstage dlq redrive --f": "--force",
    }
    for line, wanted in asked.items():
        words = line.split()
        ask = f"{script}\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _clickstage; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
        assert done.stdout.split() == wanted.split(), done.stderr
