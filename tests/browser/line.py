"""The line between a browser and the edge, which a test can cut: bytes go through a port of its own."""

import contextlib
import socket
import threading
from typing import Self

from tests.services import free_port


class Line:
    """Passes bytes on to a port of this machine.

    Args:
        port: of the edge.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self.port = free_port()
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.mend()

    @property
    def address(self) -> str:
        """Of the near end."""
        return f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        """Nothing goes through any more, and nobody is let in."""
        listener, self._listener = self._listener, None
        if listener is not None:
            _close(listener)
        while self._open:
            _close(self._open.pop())

    def mend(self) -> None:
        """Let through from now on."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    _close(sink)
    _close(source)


def _close(ended: socket.socket) -> None:
    with contextlib.suppress(OSError):
        ended.shutdown(socket.SHUT_RDWR)
    ended.close()
