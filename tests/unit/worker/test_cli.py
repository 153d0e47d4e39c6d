"""The command line: one line of help a command, one line an error, documented exit codes, no traceback."""

import importlib
import socket
import sys
from importlib.metadata import version
from types import ModuleType

import pytest
import redis

from decisions.settings import AccessSettings
from edge.settings import EdgeSettings
from featurestore.errors import (
    Backpressure,
    BundleError,
    ClickstageError,
    PolicyError,
    PortTaken,
    SettingsError,
    StoreUnavailable,
    Unsafe,
)
from featurestore.store.protocols import unavailable
from worker.cli import COMMANDS, exit_code, main
from worker.errors import ExitCode
from worker.settings import Settings


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == ExitCode.OK
    said = capsys.readouterr().out
    for name, (_, text) in COMMANDS.items():
        assert name in said
        assert text in said


def test_without_a_command_it_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == ExitCode.USAGE
    assert "usage: clickstage COMMAND" in capsys.readouterr().out


def test_an_unknown_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wrok"]) == ExitCode.USAGE
    assert capsys.readouterr().err.count("\n") == 1


def test_it_says_which_release_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == ExitCode.OK
    assert capsys.readouterr().out == f"clickstage {version('clickstage')}\n"


def test_an_edge_whose_port_is_taken_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    """Before it starts processes, which would fail one by one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["edge", "--edge-host", "127.0.0.1", "--edge-port", str(port)]) == ExitCode.PORT
    said = capsys.readouterr().err
    assert f"port {port} of 127.0.0.1 cannot be had" in said
    assert "CLICKSTAGE_EDGE_PORT" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        module = importlib.import_module(COMMANDS[name][0])
    except ImportError as error:
        pytest.fail(f"clickstage {name}: {error}")
    with pytest.raises(SystemExit) as left:
        module.main(["--help"])
    assert left.value.code == 0
    assert "usage:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("x"), ExitCode.USAGE),
        (PolicyError("x"), ExitCode.POLICY),
        (Unsafe("x"), ExitCode.UNSAFE),
        (PortTaken("x"), ExitCode.PORT),
        (BundleError("x"), ExitCode.BUNDLE),
        (StoreUnavailable("x"), ExitCode.UNSAFE),
        (Backpressure("x"), ExitCode.UNSAFE),
        (ClickstageError("x"), ExitCode.UNSAFE),
    ],
)
def test_an_error_that_stops_a_command_has_its_code(error: ClickstageError, code: ExitCode) -> None:
    assert exit_code(error) is code


def test_wrong_settings_are_said_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "--batch-max", "many", "--timers", "never"]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert said.startswith("clickstage worker: settings are wrong:")
    assert "CLICKSTAGE_BATCH_MAX" in said
    assert "CLICKSTAGE_TIMERS" in said
    assert "Traceback" not in said


def test_a_bug_has_its_own_code_and_shows_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COMMANDS, "broken", ("json", "has no main"))
    assert main(["broken"]) == ExitCode.INTERNAL
    assert "AttributeError" in capsys.readouterr().err


def test_a_redis_that_refuses_ends_any_command_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the right that is missing, whatever the command was doing, and quotes no key."""
    refused = redis.exceptions.NoPermissionError("this user has no permissions to run the 'hscan' command")
    broken = ModuleType("broken")

    def fail(_argv: list[str]) -> int:
        raise refused

    def wait(_argv: list[str]) -> int:
        raise unavailable(TimeoutError(), "erasing")

    broken.main = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "broken", broken)
    monkeypatch.setitem(COMMANDS, "broken", ("broken", "fails"))
    assert main(["broken"]) == ExitCode.UNSAFE
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "may not run 'hscan'" in said
    monkeypatch.setattr(broken, "main", wait)
    assert main(["broken"]) == ExitCode.UNSAFE
    assert capsys.readouterr().err == (
        "clickstage broken: Redis failed while erasing (TimeoutError); repair that and repeat the command\n"
    )
    monkeypatch.setattr(broken, "main", fail)
    refused.args = ("this user has no permissions to access one of the keys, cs:secret",)
    assert main(["broken"]) == ExitCode.UNSAFE
    said = capsys.readouterr().err
    assert "may not touch one of the keys" in said
    assert "cs:secret" not in said


@pytest.mark.parametrize(("name", "settings"), [("worker", Settings), ("edge", EdgeSettings)])
def test_help_says_the_default_and_the_choices_of_every_setting(
    name: str, settings: type[AccessSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module(COMMANDS[name][0]).main(["--help"])
    said = "".join(capsys.readouterr().out.split())  # long values are broken anywhere
    for field in settings.model_fields.values():
        if isinstance(field.default, int | float | str) and field.default != "":
            assert "".join(f"{field.description} (default: {field.default})".split()) in said
    assert "--log-format{console,json}" in said
