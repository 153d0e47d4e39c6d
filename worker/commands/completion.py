"""``clickstage completion``: what makes a shell complete commands, subcommands and options.

eval "$(clickstage completion bash)"     # in ~/.bashrc
eval "$(clickstage completion zsh)"      # in ~/.zshrc
clickstage completion fish > ~/.config/fish/completions/clickstage.fish
"""

import argparse
import importlib
import io
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from typing import Final

from worker.errors import ExitCode

SHELLS: Final = ("bash", "zsh", "fish")
_OPTION: Final = re.compile(r"^  ?(?:-\w, )?(--[a-z][a-z-]*)", re.MULTILINE)
_SUBCOMMANDS: Final = re.compile(r"^  \{([a-z,]+)\}", re.MULTILINE)

_BASH: Final = """_clickstage() {
    local words= before="${COMP_WORDS[*]:1:COMP_CWORD-1}"
    case " $before " in
%s
    esac
    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _clickstage clickstage
"""


def main(argv: Sequence[str]) -> int:
    """Print the script."""
    parser = argparse.ArgumentParser(
        prog="clickstage completion", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shell", choices=SHELLS)
    shell = parser.parse_args(argv).shell
    print(script(shell, words()), end="")
    return ExitCode.OK


def words() -> dict[tuple[str, ...], list[str]]:
    """What may follow each command and subcommand; the empty one's are the commands."""
    from worker.cli import COMMANDS

    found: dict[tuple[str, ...], list[str]] = {(): [*COMMANDS, "--help", "--version"]}
    for name, (module, _) in COMMANDS.items():
        text = _help(module, [])
        subcommands = [part for m in _SUBCOMMANDS.finditer(text) for part in m[1].split(",")]
        found[(name,)] = [*subcommands, *_options(text)]
        for part in subcommands:
            found[name, part] = _options(_help(module, [part]))
    return found


def script(shell: str, follows: Mapping[tuple[str, ...], Sequence[str]]) -> str:
    """The script for one of `SHELLS`."""
    if shell == "fish":
        return "".join(_fish(before, after) for before, after in follows.items())
    # The longest first: a subcommand's options, then its command's.
    cases = [
        f'        " {" ".join(before)} "*) words="{" ".join(after)}" ;;'
        if before
        else f'        *) words="{" ".join(after)}" ;;'
        for before, after in sorted(follows.items(), key=lambda item: -len(item[0]))
    ]
    bash = _BASH % "\n".join(cases)
    return bash if shell == "bash" else f"autoload -U +X bashcompinit && bashcompinit\n{bash}"


def _fish(before: tuple[str, ...], after: Sequence[str]) -> str:
    seen = " && ".join(f"__fish_seen_subcommand_from {name}" for name in before) or "__fish_use_subcommand"
    lines = []
    for word in after:
        what = f"-l {word.removeprefix('--')}" if word.startswith("--") else f"-f -a {word}"
        lines.append(f"complete -c clickstage -n '{seen}' {what}\n")
    return "".join(lines)


def _help(module: str, before: list[str]) -> str:
    """What the command itself says that it takes."""
    out = io.StringIO()
    with redirect_stdout(out), suppress(SystemExit):
        importlib.import_module(module).main([*before, "--help"])
    return out.getvalue()


def _options(text: str) -> list[str]:
    return sorted(set(_OPTION.findall(text)))
