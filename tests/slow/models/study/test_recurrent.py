"""GRU and LSTM beside the heads, where torch is installed."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from models.rules import StageRules
from models.study import action_log
from models.study.recurrent import MODELS, by_recurrent
from models.training.dataset import observe_log
from models.training.outcomes import Parts, outcome_rows, split_visits
from worker.cli import main
from worker.errors import ExitCode

TORCH = importlib.util.find_spec("torch") is not None


@pytest.mark.nightly
@pytest.mark.skipif(not TORCH, reason="torch is not installed; it is an extra of its own")
def test_each_model_learns_what_a_visit_tells() -> None:
    """Better than a coin on visits that it has not seen, with the cost and the bytes that it takes."""
    rules = StageRules()
    rows = outcome_rows(observe_log([action_log.generate(3, 1_500)], rules, wide=True), rules)
    events = ~rows.silent
    parts = Parts(*(part[events] for part in split_visits(rows, 3)))
    found = by_recurrent(rows.take(events), parts, ("order_rest",), 3, epochs=3)
    assert list(found) == [f"{kind} {width}" for kind, width in MODELS]
    assert all(by["order_rest"]["auc"] > 0.6 for by in found.values())
    assert all(by["us_an_event"] > 0 and np.isfinite(by["us_an_event"]) for by in found.values())
    assert [by["bytes_a_visit"] for by in found.values()] == [128, 256, 512]


@pytest.mark.skipif(TORCH, reason="torch is installed")
def test_without_torch_the_command_says_what_to_install(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is measured."""
    assert main(["evaluate", "--outcomes", "--recurrent", "--report", str(tmp_path)]) == ExitCode.USAGE
    assert 'pip install "clickstage[torch]"' in capsys.readouterr().err
