"""``clickstage worker``: read clicks, write decisions, until stopped."""

import argparse
import errno
import faulthandler
import gc
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

import redis
from confluent_kafka import KafkaError, KafkaException

from decisions.kafka_settings import refused_setting
from featurestore import logs
from featurestore.errors import Forked, PortTaken, SettingsError, Unsafe
from featurestore.store.protocols import refusal
from worker.clock import SystemClock
from worker.commands.options import add_settings, settings_from
from worker.errors import ExitCode
from worker.memory import keep_freed_memory
from worker.metrics.health import MOST, HealthServer
from worker.pipeline.loop import Loop
from worker.pipeline.watchdog import Watchdog
from worker.settings import Settings
from worker.wiring import build

log = logging.getLogger(__name__)

START_LIMIT_S: Final = 120.0
"""A worker that has not started by then writes its stacks and ends with code 1; compiling does not count."""

FILES: Final = 64 + MOST
"""Fewest open files of a worker: each broker, each node of Redis, what reads the bundle; and the metrics port's."""


def main(argv: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="clickstage worker", description=__doc__)
    add_settings(parser)
    settings = settings_from(parser.parse_args(argv))
    logs.configure(settings.log_format)
    return run(settings)


def _limit_the_start() -> None:
    # The Kafka client waits for ever where it gets no thread; a supervisor must see an end.
    faulthandler.dump_traceback_later(START_LIMIT_S, exit=True)


@contextmanager
def _start_not_limited() -> Iterator[None]:
    """Lift the limit, then set it anew: compiling takes what the machine needs, and always ends."""
    faulthandler.cancel_dump_traceback_later()
    yield
    _limit_the_start()


def _stop_when_asked(loop: Loop, ask: int) -> None:
    """Have SIGTERM and SIGINT stop the loop, and write a byte to ``ask``."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # Only a flag: an exception out of a signal handler inside poll() destroys fetched messages.
        loop.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    # A handler runs only once a call into librdkafka returns; the byte is written at once.
    os.set_blocking(ask, False)
    signal.set_wakeup_fd(ask, warn_on_full_buffer=False)


def _collect_seldom() -> None:
    """The hot path makes no cycles, and the collector would look at a batch's thousands of events again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 1_000)


def run(settings: Settings) -> int:
    """Build, serve, loop, close; the exit code."""
    faulthandler.enable()
    keep_freed_memory()
    if threading.current_thread() is threading.main_thread():
        # Nothing is read yet: the start may be left at any point.
        signal.signal(signal.SIGTERM, _leave_the_start)
        signal.signal(signal.SIGINT, _leave_the_start)
    _limit_the_start()
    try:
        with _means(settings):
            worker = build(settings, compiling=_start_not_limited())
            loop = worker.loop
            asked, ask = os.pipe2(os.O_CLOEXEC)
            closed = threading.Event()
            threading.Thread(
                target=_leave_in_time, args=(asked, closed, settings.shutdown_s), name="shutdown", daemon=True
            ).start()
            watchdog = Watchdog(loop.pulse, SystemClock(), settings.stuck_after_s, leave_after_s=settings.leave_after_s)
            health = HealthServer(
                settings.metrics_host,
                settings.metrics_port,
                worker.registry,
                watchdog.alive,
                lambda: loop.pulse.trouble,
            )
    finally:
        faulthandler.cancel_dump_traceback_later()
    logs.configure(settings.log_format, on_suppressed=worker.metrics.log_lines_suppressed.inc)

    if threading.current_thread() is threading.main_thread():
        _stop_when_asked(loop, ask)
    log.info(
        "worker started: bundle %s, policy %s, metrics on port %d",
        worker.engine.writer.model,
        worker.engine.judge.policy.label,
        health.port,
    )
    _collect_seldom()
    try:
        loop.run()
    except Forked as error:
        log.critical("%s", error)
        os._exit(ExitCode.UNSAFE)  # the clients cannot even be closed here
    finally:
        os.write(ask, b"!")
        worker.loop.close()
        closed.set()
        health.close()
        log.info("worker stopped")
    return ExitCode.OK


def _leave_the_start(_signal: int, _frame: FrameType | None) -> None:
    log.info("stopped before the start was over")
    raise SystemExit(ExitCode.OK)


@contextmanager
def _means(settings: Settings) -> Iterator[None]:
    """Say what is wrong or short when a client cannot be made, or the machine refuses threads, files, memory or a port.

    Raises:
        SettingsError, Unsafe: instead of the error of whoever asked for them.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= files < FILES:
        # With fewer it might even start, and then wait for connections for ever.
        raise Unsafe(f"the worker may open {files} files and needs {FILES}: raise the limit (ulimit -n)")
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Unsafe(
            f"Redis stopped answering during the start ({refusal(error)}): look at it, then start again"
        ) from None
    except redis.RedisError as error:
        # Its text may quote a command with its arguments.
        raise Unsafe(
            f"Redis refuses what the worker needs at its start ({refusal(error)}): give it memory (maxmemory) "
            "and this user the commands of docs/guarantees.md on its group's keys; `clickstage check` says more"
        ) from None
    except (OSError, RuntimeError, MemoryError, KafkaException) as error:
        if isinstance(error, RuntimeError) and "thread" not in str(error):
            raise
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {settings.metrics_port} is taken: give CLICKSTAGE_METRICS_PORT another, or 0 for a free one"
            ) from None
        if isinstance(error, KafkaException) and error.args[0].code() == KafkaError._INVALID_ARG:  # noqa: SLF001 - the client's name
            raise SettingsError(refused_setting(error.args[0].str())) from None
        why = error.args[0].str() if isinstance(error, KafkaException) else error
        raise Unsafe(
            f"the worker cannot be set up ({why}): look at the limits of open files, threads and memory (ulimit -n, "
            "-u, -v)"
        ) from None


def _leave_in_time(asked: int, closed: threading.Event, seconds: float) -> None:
    """Leave ``seconds`` after a byte came, whatever hangs: librdkafka may wait for a broker that is gone."""
    os.read(asked, 1)
    if closed.wait(seconds):
        return
    log.error("shutdown overran its time; leaving as it is. Nothing applied is lost: the next owner reads on")
    faulthandler.dump_traceback(sys.stderr)
    os._exit(ExitCode.SHUTDOWN)
