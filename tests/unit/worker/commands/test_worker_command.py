"""``clickstage worker`` before it runs."""

import errno
import faulthandler
import signal
from contextlib import AbstractContextManager
from typing import Any

import pytest
import redis
from confluent_kafka import KafkaError, KafkaException

from featurestore.errors import PortTaken, SettingsError, Unsafe
from worker.commands import worker
from worker.errors import ExitCode


def test_a_start_that_fails_leaves_no_deadline_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline of the start would end whoever called, two minutes later."""
    armed: list[str] = []

    def refused(_settings: Any, **_: Any) -> None:
        raise Unsafe("no Kafka")

    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda *_, **__: armed.append("set"))
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: armed.append("cancelled"))
    monkeypatch.setattr(worker, "build", refused)
    with pytest.raises(Unsafe):
        worker.main([])
    assert armed == ["set", "cancelled"]


def test_compiling_does_not_count_towards_the_deadline_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cold machine compiles for minutes; a start that hangs before or after it still ends."""
    armed: list[str] = []

    def compiles(_settings: Any, *, compiling: AbstractContextManager[None]) -> None:
        with compiling:
            armed.append("compiles")
        raise Unsafe("no Kafka")

    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda *_, **__: armed.append("set"))
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: armed.append("cancelled"))
    monkeypatch.setattr(worker, "build", compiles)
    with pytest.raises(Unsafe):
        worker.main([])
    assert armed == ["set", "cancelled", "compiles", "set", "cancelled"]


@pytest.mark.parametrize(
    ("error", "as_what", "says"),
    [
        (redis.exceptions.OutOfMemoryError("command not allowed: SET secret-key"), Unsafe, "maxmemory"),
        (redis.exceptions.NoPermissionError("no permissions to run the 'get' command"), Unsafe, "may not run 'get'"),
        (redis.exceptions.ConnectionError("Connection closed: GET secret-key"), Unsafe, "stopped answering"),
        (OSError(errno.EADDRINUSE, "Address already in use"), PortTaken, "give CLICKSTAGE_METRICS_PORT another"),
        (KafkaException(KafkaError(KafkaError._INVALID_ARG, 'No such property: "acs"')), SettingsError, "know acs,"),
    ],
)
def test_what_a_server_or_a_setting_refuses_at_the_start_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, error: Exception, as_what: type[Exception], says: str
) -> None:
    def refused(_settings: Any, **_: Any) -> None:
        raise error

    monkeypatch.setattr(worker, "build", refused)
    with pytest.raises(as_what, match=says) as told:
        worker.main([])
    assert "secret-key" not in str(told.value)


def test_sigterm_during_the_start_is_a_clean_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(_settings: Any, **_: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(worker, "build", asked)
    try:
        with pytest.raises(SystemExit) as left:
            worker.main([])
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    assert left.value.code == ExitCode.OK
