"""The command line: ``clickstage COMMAND``; ``clickstage COMMAND --help`` says what it takes."""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final, NoReturn

from featurestore.errors import (
    BundleError,
    ClickstageError,
    PolicyError,
    PortTaken,
    SettingsError,
    StoreUnavailable,
    Unsafe,
)
from worker.errors import ExitCode

REPEATED: Final = "; repair that and repeat the command"
STOPPED: Final = 130
"""Exit code of a command that Ctrl-C, or the end of who reads its output, cut short."""

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": (
        "worker.demo.command",
        "a shop to walk through, a worker and a live view in this terminal; no server needed",
    ),
    "worker": ("worker.commands.worker", "read clicks, write decisions, until stopped"),
    "edge": ("edge.command", "collect events over HTTP and hand out decisions, until stopped"),
    "train": ("models.training.command", "from simulated or own events to a model bundle"),
    "evaluate": ("models.report.evaluate", "a report: the published study, the streaming protocol, real labels"),
    "simulate": ("models.simulator.simulator", "simulated shoppers as JSON lines"),
    "score": ("worker.commands.score", "what every head says about a file of events or of sessions"),
    "shoppers": ("worker.commands.shoppers", "simulated shoppers that publish to Kafka, until stopped"),
    "calibrate": ("models.training.calibrate", "stage rules proposed from a shop's own events"),
    "replay": ("worker.commands.replay", "send real clicks from a file through a topic"),
    "bridge": (
        "worker.commands.bridge",
        "events of GA4, Segment or Snowplow from a Kafka topic to clicks, exactly once",
    ),
    "check": ("worker.commands.check", "say what is wrong with a live Kafka and Redis, or with a policy file"),
    "experiment": ("worker.commands.experiment", "how many sessions an experiment needs, and what its sessions say"),
    "inspect": ("worker.commands.inspect", "show a session: state, features, decision, reasons"),
    "dlq": ("worker.commands.dlq", "list, show and re-drive dead letters"),
    "reprocess": ("worker.commands.reprocess", "let a group read the log again from a given time"),
    "bench": ("worker.commands.bench", "the benchmarks, in a checkout (the same as make bench)"),
    "completion": ("worker.commands.completion", "what makes bash, zsh or fish complete this command"),
    "erase": ("worker.commands.erase", "remove a session or a visitor, and keep replays from undoing it"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in {"-h", "--help"}:
        print("usage: clickstage COMMAND [OPTIONS]\n")
        for name, (_, text) in COMMANDS.items():
            print(f"  {name:<11} {text}")
        print("\nclickstage COMMAND --help says what a command takes; clickstage --version says which release this is.")
        return ExitCode.OK if arguments else ExitCode.USAGE
    if arguments[0] == "--version":
        print(f"clickstage {version('clickstage')}")
        return ExitCode.OK
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"clickstage: there is no command {name!r}; `clickstage --help` lists them", file=sys.stderr)
        return ExitCode.USAGE
    module = COMMANDS[name][0]
    if name == "evaluate" and "--live" in rest:
        module = "worker.commands.truth"  # the study is trained and judged offline; this one reads the topics
    try:
        code: int = importlib.import_module(module).main(rest)
    except ClickstageError as error:
        print(f"clickstage {name}: {_said(error)}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        print(f"clickstage {name}: stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        return STOPPED
    except Exception as error:
        if why := _of_redis(error):
            print(f"clickstage {name}: Redis failed ({why}){REPEATED}", file=sys.stderr)
            return ExitCode.UNSAFE
        traceback.print_exc()
        return ExitCode.INTERNAL
    return code


def _said(error: ClickstageError) -> str:
    """The error's text; workers retry what fails in Redis, commands do not."""
    if not isinstance(error, StoreUnavailable):
        return str(error)
    from featurestore.store.protocols import RETRIED

    return str(error).removesuffix(RETRIED) + REPEATED


def _of_redis(error: Exception) -> str | None:
    """Words for a failure of Redis that no command explains better; None for any other error."""
    from redis import RedisError

    from featurestore.store.protocols import refusal

    return refusal(error) if isinstance(error, RedisError) else None


def process() -> NoReturn:
    """Be the command: end with `main`'s exit code."""
    code = main()
    if code:
        # Clients that could not be set up may wait for ever for threads they never got: leave without them.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def exit_code(error: ClickstageError) -> ExitCode:
    """The documented exit code of an error that stops a command."""
    if isinstance(error, PolicyError):
        return ExitCode.POLICY
    if isinstance(error, PortTaken):
        return ExitCode.PORT
    if isinstance(error, Unsafe):
        return ExitCode.UNSAFE
    if isinstance(error, SettingsError):
        return ExitCode.USAGE
    if isinstance(error, BundleError):
        return ExitCode.BUNDLE
    return ExitCode.UNSAFE


if __name__ == "__main__":
    process()
