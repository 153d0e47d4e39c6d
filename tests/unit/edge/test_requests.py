"""Reading a request: limits of size and time, gzip, and whose address it is."""

import asyncio
import gzip
import zlib
from collections.abc import MutableMapping
from typing import Any

import pytest

from edge.problems import Problem
from edge.requests import Request, household, inflate, networks

MOST = 1_000


def _request(
    *parts: bytes, headers: dict[bytes, bytes] | None = None, pause_s: float = 0.0, peer: str = "9.9.9.9", **scope: Any
) -> Request:
    left = list(parts)

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.sleep(pause_s)
        body = left.pop(0) if left else b""
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    named = {"type": "http", "method": "POST", "headers": list((headers or {}).items()), "client": (peer, 1), **scope}
    return Request(named, receive, networks("10.0.0.0/8, ::1"))


def _body(request: Request, within_s: float = 1.0) -> bytes:
    return asyncio.run(request.body(MOST, within_s))


def _status(request: Request, within_s: float = 1.0) -> int:
    with pytest.raises(Problem) as refused:
        _body(request, within_s)
    return refused.value.status


def test_a_body_comes_in_pieces() -> None:
    assert _body(_request(b"ab", b"c", b"")) == b"abc"


def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    assert _status(_request(b"x", headers={b"content-length": b"1001"})) == 413


def test_a_body_that_lies_about_its_length_is_refused_at_the_limit() -> None:
    assert _status(_request(b"x" * 600, b"x" * 600, b"x" * 600, headers={b"content-length": b"3"})) == 413


def test_a_slow_body_is_given_up() -> None:
    assert _status(_request(b"a", b"b", b"c", pause_s=0.03), within_s=0.05) == 408


def test_gzip_is_undone() -> None:
    assert _body(_request(gzip.compress(b"hello"), headers={b"content-encoding": b"gzip"})) == b"hello"


def test_a_gzip_bomb_is_refused_without_being_inflated() -> None:
    bomb = gzip.compress(b"0" * 100_000)
    assert len(bomb) < MOST
    assert _status(_request(bomb, headers={b"content-encoding": b"gzip"})) == 413


@pytest.mark.parametrize(
    "body",
    [b"", b"no gzip", gzip.compress(b"hello")[:-3], gzip.compress(b"hello") + b"more", zlib.compress(b"hello")],
    ids=["nothing", "no gzip", "cut", "more behind it", "zlib"],
)
def test_what_is_no_gzip_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(Problem) as refused:
        inflate(body, MOST)
    assert refused.value.status == 400


def test_other_encodings_are_refused() -> None:
    assert _status(_request(b"x", headers={b"content-encoding": b"br"})) == 415


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("9.9.9.9", b"1.2.3.4", "9.9.9.9"),  # who is not trusted says nothing about others
        ("10.0.0.1", b"1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", b"6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),  # what stands before the first stranger is his word
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b"nonsense", "10.0.0.1"),
        ("::1", b"2001:db8::7", "2001:db8::7"),
    ],
)
def test_only_trusted_hops_say_where_a_request_comes_from(peer: str, forwarded: bytes, address: str) -> None:
    assert _request(headers={b"x-forwarded-for": forwarded}, peer=peer).address == address


def test_a_query_that_cannot_be_read_is_a_problem() -> None:
    assert _request(query_string=b"key=a%20b&x=").query == {"key": "a b", "x": ""}
    with pytest.raises(Problem):
        _ = _request(query_string=b"key=\xff").query
    with pytest.raises(Problem):
        _ = _request(query_string=b"&".join([b"a=1"] * 200)).query


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("9.9.9.9", "9.9.9.9"),
        ("::ffff:9.9.9.9", "9.9.9.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("no:address", "no:address"),
    ],
)
def test_a_limit_by_address_counts_the_network_of_one_customer(address: str, counted: str) -> None:
    """Who has a /64 has 2**64 addresses, and would have as many limits."""
    assert household(address) == counted
