"""The HTTP side: /metrics for Prometheus, /live and /ready for a supervisor."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

MOST: Final = 16
"""Connections at a time: a scraper or two, and probes. Each costs a file and a thread of the worker."""
LONGEST_S: Final = 10.0
"""A connection lives no longer, whatever it sends or does not send; Prometheus gives a scrape as long."""


class HealthServer:
    """Serves until `close`; never blocks the loop.

    It holds `MOST` connections at most. One more ends the oldest, so that clients that send half a request, or read
    half an answer, keep neither the next scrape waiting nor the files from Kafka and Redis.

    Args:
        host: address to listen on.
        port: 0 takes a free one; `port` then says which.
        registry: what /metrics shows.
        live: whether the process is worth keeping.
        ready: None when the worker works, else why it does not.
        longest_s: life of a connection.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        live: Callable[[], bool],
        ready: Callable[[], str | None],
        longest_s: float = LONGEST_S,
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)
                elif self.path == "/live":
                    alive = live()
                    self._answer(200 if alive else 503, b"live\n" if alive else b"stuck\n")
                elif self.path == "/ready":
                    why = ready()
                    self._answer(503 if why else 200, f"{why or 'ready'}\n".encode())
                else:
                    self._answer(404, b"try /metrics, /live or /ready\n")

            def _answer(self, status: int, body: bytes, content: str = "text/plain; charset=utf-8") -> None:
                self.send_response(status)
                self.send_header("Content-Type", content)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """A probe is no event worth a line."""

        self._server = _Bounded((host, port), Handler, longest_s)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._server.open_count()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class _Bounded(ThreadingHTTPServer):
    """A thread a connection, few connections, and none for long."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], longest_s: float) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._longest_s = longest_s
        self._since: dict[socket.socket, float] = {}  # in the order in which they came
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def open_count(self) -> int:
        with self._lock:
            return len(self._since)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            for oldest in list(self._since)[: len(self._since) + 1 - MOST]:
                self._end(oldest)
            self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Called between connections, and twice a second when none comes."""
        with self._lock:
            for one in [one for one, since in self._since.items() if time.monotonic() - since > self._longest_s]:
                self._end(one)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._since.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left, or was ended, in the middle is no event worth a traceback."""

    def _end(self, request: socket.socket) -> None:
        """Take it from its thread, which then closes it."""
        del self._since[request]
        with suppress(OSError):  # it is closed already
            request.shutdown(socket.SHUT_RDWR)
