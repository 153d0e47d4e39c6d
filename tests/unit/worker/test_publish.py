"""What pages take from the code is what the code says now."""

import re

from worker.cli import COMMANDS
from worker.errors import ExitCode
from worker.publish import EXIT_CODES, ROOT, published


def test_every_generated_part_is_up_to_date() -> None:
    """`python -m worker.publish` writes them."""
    for path, text in published().items():
        assert path.read_text() == text, f"{path.relative_to(ROOT)}: run python -m worker.publish"


def test_every_exit_code_has_a_meaning() -> None:
    assert list(EXIT_CODES) == list(ExitCode)


def test_every_link_of_the_readme_leads_somewhere() -> None:
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / target).exists(), target


def test_the_readme_names_no_command_that_does_not_exist() -> None:
    text = (ROOT / "README.md").read_text()
    assert set(re.findall(r"`?clickstage ([a-z]+)\b", text)) <= COMMANDS.keys()
