"""Connections to Redis: by address, or by the name that Sentinels keep."""

from typing import Any, Final
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

SENTINEL_PORT: Final = 26_379


def connect(url: str, *, timeout_s: float, decode: bool = False) -> "redis.Redis":
    """A client that never re-sends on its own: a re-sent write is applied twice (redis-py retries ten times).

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, or ``sentinel://[user:password@]host[:port],.../service[/db]``;
            user and password are those of Redis.
        timeout_s: of connecting and of each answer.
        decode: whether answers are text.

    Raises:
        ValueError: the URL cannot be read.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "retry_on_timeout": False,
        "health_check_interval": 0,
        "decode_responses": decode,
    }
    if url.startswith("sentinel://"):
        return _by_sentinel(url, options)
    return redis.Redis.from_url(url, **options)


def _by_sentinel(url: str, options: dict[str, Any]) -> "redis.Redis":
    """Each new connection asks the Sentinels who is primary now; one that was demoted is dropped by its READONLY."""
    parts = urlsplit(url)
    access, _, hosts = parts.netloc.rpartition("@")
    user, _, password = access.partition(":")
    service, _, db = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("sentinel://host:port,.../service needs the name of the service")
    sentinels = [(host, int(port or SENTINEL_PORT)) for host, _, port in (h.partition(":") for h in hosts.split(","))]
    timeouts = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout", "retry")}
    if access:
        options = options | {"username": unquote(user) or None, "password": unquote(password)}
    asked: Any = Sentinel(sentinels, sentinel_kwargs=timeouts, **options)  # type: ignore[no-untyped-call]
    client: redis.Redis = asked.master_for(service, db=int(db or 0))
    return client
