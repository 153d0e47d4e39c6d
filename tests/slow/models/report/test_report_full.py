"""The whole evaluation at its real size; minutes, so only by night."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from models.report import evaluate


@pytest.mark.nightly
@pytest.mark.timeout(1_200)
def test_every_requirement_of_the_evaluation_is_met(tmp_path: Path) -> None:
    """Whatever can be measured here reaches what was asked; nothing that ships stays unmeasured."""
    report = evaluate.run(tmp_path, data=None, console=Console(file=StringIO()))
    missed = [check for check in report["checks"] if check["met"] is False]
    assert not missed
    if evaluate.shipped_bundle() is not None:
        assert all(check["met"] for check in report["checks"])
