"""The study of the outcome heads: what its rows are counted by."""

from models.rules import StageRules
from models.study.outcome_study import clicks
from models.training.dataset import observe_log
from models.training.outcomes import outcome_rows
from tests.slow.models.training.test_outcomes import HOUR_MS, START_MS, event


def test_a_click_is_counted_and_what_is_none_is_not() -> None:
    """Of each visit anew. Nobody leaves between a session's start and the first click: such a row is at no click."""
    names = ("session_start", "page_view", "scroll", "view_item")
    log = [event(s, name, START_MS + 1_000 * i) for s in ("a", "b") for i, name in enumerate(names)]
    log.append(event("end", "page_view", START_MS + 9 * HOUR_MS))
    rows = outcome_rows(observe_log([sorted(log, key=lambda one: one[2])], StageRules(), wide=True), StageRules())
    assert clicks(rows)[~rows.silent].tolist() == [0, 1, 0, 2] * 2
    assert not clicks(rows)[rows.silent].any()
