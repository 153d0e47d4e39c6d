# ruff: noqa: INP001, T201 - no package: one file that is mounted; to print is what it is for
"""A receiver for Alertmanager's webhook that prints a line an alert: the pager of a try-out. Standard library only."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

PORT: Final = 9095
MOST_BYTES: Final = 4_000_000


def lines(document: Any, to: str) -> list[str]:
    """What is printed of a notification.

    >>> lines({"alerts": [{"status": "firing", "labels": {"alertname": "A"}, "annotations": {"summary": "S"}}]}, "page")
    ['page firing A: S']
    """
    found = []
    for alert in document.get("alerts", []):
        labels, told = alert.get("labels", {}), alert.get("annotations", {})
        found.append(f"{to} {alert.get('status')} {labels.get('alertname')}: {told.get('summary', '')}".rstrip())
    return found


class Receiver(BaseHTTPRequestHandler):
    """Answers 200 to a notification, and 400 to what is none."""

    timeout = 10

    def do_POST(self) -> None:
        """Print."""
        size = int(self.headers.get("Content-Length") or 0)
        try:
            said = lines(json.loads(self.rfile.read(min(size, MOST_BYTES))), self.path.strip("/"))
        except (ValueError, AttributeError):
            self.send_error(400, "not a notification of Alertmanager")
            return
        print("\n".join(said), flush=True)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Only alerts are printed."""


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1]) if sys.argv[1:] else PORT), Receiver).serve_forever()  # noqa: S104 - Alertmanager is another container
