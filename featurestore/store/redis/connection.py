"""Connections to Redis: by address, by the name that Sentinels keep, or to the nodes of a Cluster."""

from typing import Any, Final
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

SENTINEL_PORT: Final = 26_379
REDIS_PORT: Final = 6_379
CLUSTER_SCHEMES: Final = ("cluster", "clusters")
SCHEMES: Final = ("redis", "rediss", "unix", "sentinel", *CLUSTER_SCHEMES)

Client = redis.Redis | redis.RedisCluster


def is_cluster(url: str) -> bool:
    """Whether a URL names a Redis Cluster."""
    return urlsplit(url).scheme in CLUSTER_SCHEMES


def check_url(url: str) -> None:
    """Refuse a URL that `connect_any` could not use. The message holds no part of it, since that may be a password.

    Raises:
        ValueError: what is wrong, and what to do.

    >>> check_url("redis://:s3cret/pa@host:6379/0")
    Traceback (most recent call last):
    ValueError: cannot be read as a URL: write / # ? @ : and % in a user or password as %2F %23 %3F %40 %3A %25
    """
    if not url.startswith(tuple(f"{known}://" for known in SCHEMES)):
        raise ValueError(f"must start with {', '.join(f'{known}://' for known in SCHEMES)}")
    try:
        parts = urlsplit(url)
        # What follows a stray / # or ? of a password is no part of the address any more, the @ included.
        strayed = "@" in parts.path + parts.query + parts.fragment
        for host in parts.netloc.rpartition("@")[2].split(","):
            strayed |= urlsplit(f"//{host}").port == 0  # reading it refuses a port that is no number
        if parts.scheme in ("redis", "rediss", "unix"):
            parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError:
        strayed = True
    if strayed:
        raise ValueError(
            "cannot be read as a URL: write / # ? @ : and % in a user or password as %2F %23 %3F %40 %3A %25"
        ) from None
    if is_cluster(url):
        cluster_address(url)
    elif parts.scheme == "sentinel" and not parts.path.strip("/"):
        raise ValueError("sentinel://host:port,.../service needs the name of the service")


def connect(url: str, *, timeout_s: float, decode: bool = False) -> "redis.Redis":
    """A client that never re-sends on its own: a re-sent write is applied twice (redis-py retries ten times).

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, or ``sentinel://[user:password@]host[:port],.../service[/db]``;
            user and password are those of Redis.
        timeout_s: of connecting and of each answer.
        decode: whether answers are text.

    Raises:
        ValueError: the URL cannot be read, or is a Cluster's (`connect_cluster`).
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


def connect_cluster(url: str, *, timeout_s: float, decode: bool = False) -> "redis.RedisCluster":
    """A client of a Cluster, which never re-sends on its own either; asks a node for the table of slots at once.

    Args:
        url: ``cluster://[user:password@]host[:port],...``, or ``clusters://...`` for TLS; the nodes to begin with, not
            all of them. ``?ssl_ca_certs=...`` and redis-py's other options may follow.
        timeout_s: of connecting and of each answer.
        decode: whether answers are text.

    Raises:
        ValueError: the URL cannot be read.
        redis.exceptions.RedisClusterException: no node answers, or it is no Cluster's.
    """
    nodes, access = cluster_address(url)
    return redis.RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in nodes],  # type: ignore[no-untyped-call]
        retry=Retry(NoBackoff(), 0),
        require_full_coverage=False,  # what is served is served; a key in another slot is unavailable
        reinitialize_steps=1,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        decode_responses=decode,
        **access,
    )


def cluster_address(url: str) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """The nodes that a Cluster's URL names, and the options of their connections.

    Raises:
        ValueError: the URL cannot be read.

    >>> cluster_address("cluster://:secret@one:7000,[::1]")
    ([('one', 7000), ('::1', 6379)], {'password': 'secret'})
    """
    parts = urlsplit(url)
    if parts.scheme not in CLUSTER_SCHEMES:
        raise ValueError("a Cluster's URL is cluster://host:port,... or clusters://host:port,...")
    if parts.path.strip("/"):
        raise ValueError("a Redis Cluster has no databases: leave out what follows the last host")
    access, _, hosts = parts.netloc.rpartition("@")
    named = [urlsplit(f"//{host}") for host in hosts.split(",")]
    if not all(host.hostname for host in named):
        raise ValueError("cluster://host:port,... needs the address of a node at least")
    options: dict[str, Any] = parse_url(f"redis://{access}@-/?{parts.query}")  # type: ignore[no-untyped-call]
    options.pop("host")
    if parts.scheme == "clusters":
        options["ssl"] = True
    return [(host.hostname or "", host.port or REDIS_PORT) for host in named], options


def connect_any(url: str, *, timeout_s: float) -> Client:
    """A client of whatever the URL names.

    Raises:
        ValueError: the URL cannot be read.
        redis.exceptions.RedisClusterException: no node of the Cluster answers.
    """
    return (connect_cluster if is_cluster(url) else connect)(url, timeout_s=timeout_s)


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
