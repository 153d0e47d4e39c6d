"""Several processes behind one socket: started, replaced when one dies, and ended together."""

import logging
import multiprocessing
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Final

log = logging.getLogger(__name__)

AGAIN_S: Final = 1.0
"""A process that died is replaced after this."""
END_S: Final = 15.0
"""One that does not end in this time is killed."""
_ENDS: Final = (signal.SIGTERM, signal.SIGINT)


def run(count: int, work: Callable[[], None]) -> None:
    """Keep so many processes at work until SIGTERM or SIGINT; of the main thread. Blocks."""
    context = multiprocessing.get_context("fork")
    woken, wake = socket.socketpair()
    woken.setblocking(False)
    wake.setblocking(False)
    stopping: list[int] = []
    before = {number: signal.signal(number, lambda number, _: stopping.append(number)) for number in _ENDS}
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)

    def begin() -> BaseProcess:
        process = context.Process(target=_process, args=(work,))
        process.start()
        return process

    try:
        running = [begin() for _ in range(count)]
        while not stopping:
            wait([woken, *(process.sentinel for process in running)])
            if stopping:
                break
            ended = [process for process in running if not process.is_alive()]
            for process in ended:
                log.error("a process of the edge ended; another takes its place", extra={"code": process.exitcode})
            time.sleep(AGAIN_S)
            running = [process for process in running if process not in ended] + [begin() for _ in ended]
        _end(running)
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        woken.close()
        wake.close()


def _process(work: Callable[[], None]) -> None:
    signal.set_wakeup_fd(-1)
    for number in _ENDS:
        signal.signal(number, signal.SIG_DFL)
    work()


def _end(running: list[BaseProcess]) -> None:
    for process in running:
        process.terminate()
    until = time.monotonic() + END_S
    for process in running:
        process.join(max(until - time.monotonic(), 0.0))
        if process.is_alive():
            log.error("a process of the edge does not end; it is killed")
            process.kill()
            process.join()
