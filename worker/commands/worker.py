"""``clickstage worker``: read clicks, write decisions, until stopped."""

import argparse
import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from worker import logs
from worker.clock import SystemClock
from worker.commands.options import add_settings, settings_from
from worker.errors import ExitCode
from worker.health import HealthServer
from worker.settings import Settings
from worker.watchdog import Watchdog
from worker.wiring import Worker, build

log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="clickstage worker", description=__doc__)
    add_settings(parser)
    settings = settings_from(parser.parse_args(argv))
    logs.configure(settings.log_format)
    return run(settings)


def run(settings: Settings) -> int:
    """Build, serve, loop, close; the exit code."""
    faulthandler.enable()
    worker = build(settings)
    logs.configure(settings.log_format, on_suppressed=worker.metrics.log_lines_suppressed.inc)
    clock = SystemClock()
    loop = worker.loop

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # Only a flag: an exception out of a signal handler inside poll() destroys fetched messages.
        loop.stop()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
    watchdog = Watchdog(loop, clock, settings.stuck_after_s)
    health = HealthServer(
        settings.metrics_host, settings.metrics_port, worker.registry, watchdog.alive, lambda: loop.trouble
    )
    log.info(
        "worker started: bundle %s, policy %s, metrics on port %d",
        worker.engine.model,
        worker.engine.policy.label,
        health.port,
    )
    # The hot path makes no cycles, and the collector would look at a batch's thousands of events again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 1_000)
    try:
        loop.run()
    finally:
        _close(worker, health, settings)
    return ExitCode.OK


def _close(worker: Worker, health: HealthServer, settings: Settings) -> None:
    """Leave within ``shutdown_s``, whatever hangs: librdkafka's close may wait for a broker that is gone."""
    overran = threading.Timer(settings.shutdown_s, _give_up)
    overran.daemon = True
    overran.start()
    worker.loop.close()
    overran.cancel()
    health.close()
    log.info("worker stopped")


def _give_up() -> None:
    log.error("shutdown overran its time; leaving as it is. Nothing applied is lost: the next owner reads on")
    faulthandler.dump_traceback(sys.stderr)
    os._exit(ExitCode.SHUTDOWN)
