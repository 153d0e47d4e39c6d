"""Hot reload: a good file replaces the policy, a wrong one is reported and changes nothing."""

import logging
from pathlib import Path

import pytest

from decisions.policy import Policy, PolicyWatcher
from tests.unit.decisions.policy.policy_cases import QUIET, decided, memories, policy_text, sure
from tests.unit.decisions.policy.policy_twin import Row


class Watched:
    """A policy file and a clock that only moves when told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 0.0
        self.write(policy_text(version="1"))
        self.watcher = PolicyWatcher(path, Policy.from_file(path), lambda: self.now)

    def write(self, text: str) -> None:
        self.path.write_text(text, encoding="utf-8")

    def later(self) -> Policy | None:
        self.now += 1.0
        return self.watcher.poll()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "policy.yaml")


def test_a_changed_file_becomes_the_policy(watched: Watched) -> None:
    assert watched.later() is None
    watched.write(policy_text(version="22"))
    policy = watched.later()
    assert policy is not None
    assert (policy.version, watched.watcher.policy.version, watched.watcher.accepted) == ("22", "22", 1)
    assert watched.later() is None


def test_a_wrong_file_is_reported_once_and_the_old_policy_stays(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.write(policy_text(version="2", neutral="nowhere"))
    with caplog.at_level(logging.ERROR):
        assert [watched.later() for _ in range(3)] == [None] * 3
    assert watched.watcher.policy.version == "1"
    assert watched.watcher.refused == 1
    assert "unknown action 'nowhere'" in watched.watcher.error
    assert len(caplog.records) == 1
    watched.write(policy_text(version="3"))
    assert watched.later() is not None
    assert not watched.watcher.error


def test_a_file_that_goes_away_changes_nothing(watched: Watched) -> None:
    watched.path.unlink()
    assert [watched.later(), watched.later()] == [None, None]
    assert (watched.watcher.policy.version, watched.watcher.refused) == ("1", 1)
    watched.write(policy_text(version="2"))
    assert watched.later() is not None


def test_a_file_that_only_looks_new_is_no_change(watched: Watched) -> None:
    watched.write("# a comment\n" + policy_text(version="1"))
    assert watched.later() is None
    assert watched.watcher.accepted == 0


def test_between_two_looks_the_file_is_not_read(watched: Watched) -> None:
    watched.write(policy_text(version="2"))
    watched.now += 0.5
    assert watched.watcher.poll() is None
    watched.now += 0.5
    assert watched.watcher.poll() is not None


def test_a_session_goes_on_through_a_reload() -> None:
    memory = memories(1)
    before = Policy.from_text(policy_text())
    after = Policy.from_text(policy_text(actions={"panel": {"label": "p"}, "banner": {"label": "b"}}))
    row = Row(0, 0, 1_700_000_000_000, QUIET, sure("Explorer"))
    decided(before, [row], memory)
    answer = decided(after, [row], memory)[0]
    assert (answer.action, answer.action_changed) == ("banner", False)
