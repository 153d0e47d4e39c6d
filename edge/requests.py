"""A request as the handlers see it: its body within limits, who sent it, from where. The transport is ASGI.

Bodies are read with a limit of bytes, sent and inflated, and of time; `Problem` says which was overrun.
"""

import asyncio
import ipaddress
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl

from edge.problems import Problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MOST_HOPS: Final = 20
MOST_FIELDS: Final = 100
SHORT_QUERY: Final = 64
"""Queries up to this length are remembered: nearly all are ``key=...``, and of a shop all are the same."""
PASSED_OVER: Final = 32
"""A body that is too large is read up to so many times the limit, so that its sender hears why it was refused."""
GZIP: Final = 16 + zlib.MAX_WBITS


class Request:
    """One request.

    Args:
        scope, receive: of ASGI.
        trusted: networks of proxies whose X-Forwarded-For counts.
    """

    __slots__ = ("_address", "_query", "_receive", "_scope", "_trusted", "headers", "method")

    def __init__(self, scope: Scope, receive: Receive, trusted: Sequence[Network] = ()) -> None:
        self._scope = scope
        self._receive = receive
        self._trusted = trusted
        self.method: str = scope["method"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._query: Mapping[str, str] | None = None
        self._address: str | None = None

    def header(self, name: bytes) -> str:
        """A header by its lower-case name, "" where it is absent."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def path(self) -> str:
        """The path, percent-decoded."""
        return str(self._scope["path"])

    @property
    def path_session(self) -> str:
        """The session id of the path."""
        return str(self._scope["path_params"]["session_id"])

    @property
    def path_file(self) -> str:
        """The file name of the path, "" where it names none."""
        return str(self._scope["path_params"].get("file", ""))

    @property
    def query(self) -> Mapping[str, str]:
        """The query; where a name is repeated, its last value."""
        if self._query is None:
            raw = self._scope.get("query_string", b"")
            self._query = _short_query(raw) if len(raw) <= SHORT_QUERY else _parsed(raw)
        return self._query

    @property
    def address(self) -> str:
        """Where the request comes from: the nearest hop that is no trusted proxy."""
        if self._address is None:
            self._address = self._nearest_stranger()
        return self._address

    def _nearest_stranger(self) -> str:
        client = self._scope.get("client")
        peer = str(client[0]) if client else ""
        if not self._trusted or not self._is_trusted(peer):
            return peer
        hops = [hop.strip() for hop in self.header(b"x-forwarded-for").split(",")[-MOST_HOPS:] if hop.strip()]
        for hop in reversed(hops):
            peer = hop if _address(hop) else peer
            if not self._is_trusted(hop):
                break
        return peer

    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """`address` as a number, None where it is none."""
        return _address(self.address)

    async def body(self, most_bytes: int, within_s: float) -> bytes:
        """The body, inflated if it is gzip.

        Raises:
            Problem: 408 too slow, 413 too large, 415 another encoding, 400 broken gzip.
        """
        encoding = self.header(b"content-encoding").lower()
        if encoding not in {"", "identity", "gzip"}:
            raise Problem(415, "unsupported_encoding", "send the body as it is, or with Content-Encoding: gzip")
        announced = self.headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > most_bytes:
            async with _Deadline(within_s):
                await self._pass_over(0, most_bytes)
            raise too_large(most_bytes)
        async with _Deadline(within_s):
            body = await self._read(most_bytes, int(announced) if announced.isdigit() else -1)
        return inflate(body, most_bytes) if encoding == "gzip" else body

    async def _read(self, most_bytes: int, announced: int) -> bytes:
        message = await self._next()
        body: bytes = message.get("body", b"")
        if len(body) == announced or not message.get("more_body"):
            if len(body) > most_bytes:
                raise too_large(most_bytes)
            return body  # with the bytes that were announced the body is whole; another message would say just that
        parts, size, more = [body], len(body), True
        while more:
            message = await self._next()
            part = message.get("body", b"")
            size += len(part)
            if size > most_bytes:
                await self._pass_over(size, most_bytes)
                raise too_large(most_bytes)
            parts.append(part)
            more = message.get("more_body", False)
        return b"".join(parts)

    async def _pass_over(self, size: int, most_bytes: int) -> None:
        """Read on, and forget it: who is still sending would see a broken connection instead of the answer."""
        more = True
        while more and size <= PASSED_OVER * most_bytes:
            message = await self._next()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)

    async def _next(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "incomplete", "the connection ended before the body did")
        return message

    def forget(self) -> None:
        """Free what it holds: the server and the endpoint keep a request for as long as its stream is open."""
        self._scope.clear()
        self.headers.clear()
        self._query = None

    def _is_trusted(self, address: str) -> bool:
        found = _address(address)
        return found is not None and any(found in network for network in self._trusted)


class _Deadline:
    """`asyncio.timeout` for bodies, at a third of its cost: it is paid by every request.

    Raises:
        Problem: 408, the time is over.
    """

    __slots__ = ("_handle", "_passed", "_task", "_within_s")

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._passed = False

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(loop)
        self._handle = loop.call_later(self._within_s, self._pass)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._handle.cancel()
        if self._passed and self._task is not None and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise Problem(408, "too_slow", "the body did not arrive in time; send it again", retry_after_s=1) from None

    def _pass(self) -> None:
        self._passed = True
        if self._task is not None:
            self._task.cancel()


def _parsed(raw: bytes) -> Mapping[str, str]:
    try:
        return dict(parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        raise Problem(400, "bad_query", "the query is not percent-encoded ASCII of at most 100 fields") from None


@lru_cache(maxsize=1_024)
def _short_query(raw: bytes) -> Mapping[str, str]:
    return MappingProxyType(dict(_parsed(raw)))


def inflate(body: bytes, most_bytes: int) -> bytes:
    """Gzip undone, and never more than ``most_bytes`` of it in memory.

    Raises:
        Problem: 413 more than that, 400 no gzip, or cut off.
    """
    inflater = zlib.decompressobj(GZIP)
    try:
        plain = inflater.decompress(body, most_bytes + 1)
    except zlib.error:
        raise Problem(400, "bad_gzip", "the body is not gzip, although its Content-Encoding says so") from None
    if len(plain) > most_bytes:
        raise too_large(most_bytes)
    if not inflater.eof or inflater.unused_data:
        raise Problem(400, "bad_gzip", "the gzip body is cut off, or something follows it")
    return plain


def too_large(most_bytes: int) -> Problem:
    """The body has more bytes than are read."""
    return Problem(413, "too_large", f"at most {most_bytes} bytes a body are read, after inflation; send smaller ones")


def networks(text: str) -> list[Network]:
    """Networks from a comma-separated setting.

    Raises:
        ValueError: one of them is none.
    """
    return [ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()]


@lru_cache(maxsize=10_000)
def household(address: str) -> str:
    """Whom a limit by address counts: an IPv4 address, and of IPv6 the /64 network, which is all one customer's.

    Text that is no address stays as it is.
    """
    if ":" not in address:
        return address
    found = _address(address)
    if not isinstance(found, ipaddress.IPv6Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
