"""``clickstage worker`` before it runs."""

import faulthandler
from typing import Any

import pytest

from featurestore.errors import Unsafe
from worker.commands import worker


def test_a_start_that_fails_leaves_no_deadline_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline of the start would end whoever called, two minutes later."""
    armed: list[str] = []

    def refused(_settings: Any) -> None:
        raise Unsafe("no Kafka")

    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda *_, **__: armed.append("set"))
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: armed.append("cancelled"))
    monkeypatch.setattr(worker, "build", refused)
    with pytest.raises(Unsafe):
        worker.main([])
    assert armed == ["set", "cancelled"]
