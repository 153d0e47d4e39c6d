"""The HTTP side: /metrics for Prometheus, /live and /ready for a supervisor."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


class HealthServer:
    """Serves until `close`; never blocks the loop.

    Args:
        host: address to listen on.
        port: 0 takes a free one; `port` then says which.
        registry: what /metrics shows.
        live: whether the process is worth keeping.
        ready: None when the worker works, else why it does not.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        live: Callable[[], bool],
        ready: Callable[[], str | None],
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

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
