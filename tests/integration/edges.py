"""``clickstage edge`` in a process of its own, and a page that talks to it."""

import contextlib
import http.client
import json
import os
import signal
import ssl
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from tests.integration.shopfloor import PATIENCE_S, ROOT
from tests.services import free_port
from tests.services.process import ServerProcess

PAGE: Final = "http://localhost:3000"
READY_S: Final = 240
"""The first start of a tree compiles; the machine may be busy."""


class Answer(NamedTuple):
    """A response; `headers` by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class EdgeProcess(ServerProcess):
    """One edge; `start` blocks until it is ready.

    Args:
        flags: of ``clickstage edge``.
        tls: whom clients trust, for one that does TLS.
    """

    def __init__(self, name: str, directory: Path, flags: Sequence[str], tls: ssl.SSLContext | None = None) -> None:
        super().__init__(name, directory)
        self.port = free_port()
        self._flags = flags
        self._tls = tls
        self._connections: list[http.client.HTTPConnection] = []

    @property
    def command(self) -> list[str]:
        own = ["--edge-port", str(self.port)]
        return ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "worker", "edge", *self._flags, *own]

    def answers(self) -> bool:
        return self.ask("GET", "/readyz").status == 200

    def start_waiting(self) -> "EdgeProcess":
        self.start(READY_S)
        return self

    def kill9(self) -> None:
        """End it and the processes that serve for it."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
        super().kill9()

    def kill_one(self) -> None:
        """End one of the processes that serve for it."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        os.kill(int(children[-1]), signal.SIGKILL)

    def connect(self) -> http.client.HTTPConnection:
        """A connection that lives as long as the edge."""
        self._connections.append(self._connection())
        return self._connections[-1]

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE_S, context=self._tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def stop(self, timeout_s: float = 20) -> None:
        for connection in self._connections:
            connection.close()
        super().stop(timeout_s)

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = self._connection()
        try:
            return ask(connection, method, path, body, headers)
        finally:
            connection.close()

    def page(self, key: str = "demo") -> "Page":
        """A page with a new session."""
        return Page(self, key)

    def metric(self, series: str) -> float:
        """One series of /metrics, labels as written; 0.0 before its first sample."""
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")), 0.0)


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all of it was sent: read why
        connection.request(method, path, body, dict(headers or {}))
    response = connection.getresponse()
    named = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, named, response.read())


class Page:
    """What the tracker does, by hand; on one connection, as a browser keeps it."""

    def __init__(self, edge: EdgeProcess, key: str = "demo") -> None:
        self.edge = edge
        self.key = key
        self._connection = edge.connect()
        session = self.ask("POST", f"/v1/sessions?key={key}").json
        self.session_id: str = session["session_id"]
        self.token: str = session["token"]
        self.bearer = {"Authorization": f"Bearer {self.token}"}

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        try:
            return ask(self._connection, method, path, body, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            # It was idle for too long, or the edge was killed: a browser begins a new one.
            self._connection.close()
            return ask(self._connection, method, path, body, headers)

    def send(self, *events: dict[str, Any], query: str = "", **envelope: Any) -> Answer:
        body = json.dumps({"events": events, "token": self.token, **envelope})
        return self.ask("POST", f"/v1/events?key={self.key}{query}", body, {"Content-Type": "text/plain"})

    def decision(self, headers: Mapping[str, str] | None = None) -> Answer:
        path = f"/v1/decisions/{self.session_id}?key={self.key}"
        return self.ask("GET", path, None, {**self.bearer, **(headers or {})})

    def withdraw(self) -> Answer:
        return self.ask("DELETE", f"/v1/sessions/{self.session_id}?key={self.key}", None, self.bearer)

    def stream_path(self) -> str:
        return f"/v1/decisions/{self.session_id}/events?key={self.key}&token={quote(self.token)}"

    def stream(self, last: str = "") -> "Stream":
        return Stream(self, last)


class Stream:
    """An open stream of server-sent events; iterating blocks for the next one, and ends with the stream."""

    def __init__(self, page: Page, last: str) -> None:
        connection = page.edge.connect()
        connection.request("GET", page.stream_path(), None, {"Last-Event-ID": last} if last else {})
        self._response = connection.getresponse()
        self.status = self._response.status

    def __iter__(self) -> Iterator[tuple[str, str, Any]]:
        fields: dict[str, str] = {}
        for line in self._response:
            text = line.decode().rstrip("\n")
            if not text and "data" in fields:
                yield fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"])
                fields = {}
            elif text and not text.startswith(":"):
                name, _, value = text.partition(": ")
                fields[name] = value
