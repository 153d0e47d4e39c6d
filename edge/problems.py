"""Problem documents (RFC 9457): every error of the edge is one, and its status says who must act.

4xx: the caller, and sending the same again cannot help (but for 408 and 429). 5xx: the operator; send it again later.
No problem quotes what was sent.
"""

from typing import Final

import msgspec

MEDIA_TYPE: Final = "application/problem+json"


class ProblemDocument(msgspec.Struct, omit_defaults=True):
    """The body of an error."""

    type: str
    title: str
    status: int
    detail: str = ""


class Problem(Exception):
    """A request cannot be served.

    Args:
        status: of the response.
        code: a word for programs; the last part of ``type``.
        detail: what happened and what to do, for people. Never content of the request.
        retry_after_s: when to try again; sent as ``Retry-After``.
        allow: the methods that exist, for 405.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, retry_after_s: int | None = None, allow: str = ""
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers: dict[str, str] = {"Cache-Control": "no-store"}
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(retry_after_s)
        if allow:
            self.headers["Allow"] = allow
        if status == 401:
            self.headers["WWW-Authenticate"] = 'Bearer realm="clickstage"'

    def body(self) -> bytes:
        """The document."""
        title = self.code.replace("_", " ").capitalize()
        document = ProblemDocument(f"urn:clickstage:problem:{self.code}", title, self.status, self.detail)
        return msgspec.json.encode(document)


def unavailable(what: str, *, retry_after_s: int = 1) -> Problem:
    """Something behind the edge is away; nothing of the request was kept."""
    return Problem(503, "unavailable", f"{what}; nothing was kept, send it again", retry_after_s=retry_after_s)
