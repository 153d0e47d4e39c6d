"""The demonstration shop's files, read once: an edge for real shoppers serves none."""

from pathlib import Path
from typing import Final

from edge.problems import Problem
from edge.replies import Reply
from edge.requests import Request

STOREFRONT: Final = Path(__file__).parent / "storefront"
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS: Final = (("Cache-Control", "no-cache"), ("Referrer-Policy", "same-origin"))


class Storefront:
    """Answers ``GET /`` and ``GET /{file}``."""

    def __init__(self) -> None:
        self._files = {path.name: path.read_bytes() for path in STOREFRONT.iterdir() if path.suffix in TYPES}

    async def file(self, request: Request) -> Reply:
        """One of the files; the shop itself where none is named."""
        name = request.path_file or "index.html"
        body = self._files.get(name)
        if body is None:
            raise Problem(404, "no_such_address", "the shop has no such file; it begins at /")
        return Reply(200, body, HEADERS, media_type=TYPES[Path(name).suffix])
