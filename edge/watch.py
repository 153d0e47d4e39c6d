"""Redis tells which watched keys have changed: client-side caching, of the keys that this process watches alone.

A thread holds one connection (on a Cluster one for each primary) in RESP3 with ``CLIENT TRACKING ON``: the server
remembers each key that is read over it, and says once when that key changes, expires or is deleted. The key is then
read again, which makes the server remember it. A change between two reads is never missed: the read that follows the
message returns the newest value, and several changes in a row cost one read.

When the connection breaks, every watched key is read again over the next one.
"""

import logging
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import hiredis
import redis

from featurestore.store.cluster.cluster_connection import AWAY
from featurestore.store.keys import slot_of
from featurestore.store.protocols import refusal
from featurestore.store.redis.connection import Client

log = logging.getLogger(__name__)

AGAIN_S: Final = 0.5
LOOK_S: Final = 5.0
"""A quiet connection is asked for a sign of life this often."""
PIECE: Final = 1 << 18

Told = Callable[[list[tuple[str, bytes | None]]], None]
"""Keys and their values as just read; called on the watching thread."""


class Watch:
    """Watches keys of one server.

    Args:
        connect: a client that has answered; asked again after each break.
        told: is told values.
    """

    def __init__(self, connect: Callable[[], Client], told: Told) -> None:
        self._connect = connect
        self._told = told
        self._lock = threading.Lock()
        self._watched: set[str] = set()
        self._asked: dict[str, None] = {}
        """Keys to be read next, in order; never more than are watched, however long Redis is away."""
        self._closing = False
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="edge-watch", daemon=True)
        self._thread.start()

    def add(self, keys: Iterable[str]) -> None:
        """Watch these keys too; their present values are told soon."""
        with self._lock:
            for key in keys:
                self._watched.add(key)
                self._asked[key] = None
        self._ring()

    def remove(self, keys: Iterable[str]) -> None:
        """Watch these keys no longer."""
        with self._lock:
            for key in keys:
                self._watched.discard(key)
                self._asked.pop(key, None)

    def close(self) -> None:
        """End the thread."""
        self._closing = True
        self._ring()
        self._thread.join(5.0)

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # else it rings already
            self._wake.send(b"!")

    # -- the watching thread ---------------------------------------------------------------------

    def _run(self) -> None:
        broken = ""
        while not self._closing:
            nodes: _Nodes | None = None
            try:
                nodes = _Nodes(self._connect())
                with self._lock:
                    self._asked = dict.fromkeys(self._watched)
                if broken:
                    log.info("decisions are watched again")
                broken = ""
                self._follow(nodes)
            except (*AWAY, ConnectionBroken) as error:
                why = refusal(error)
                if why != broken:
                    log.warning("decisions are not watched: Redis does not answer (%s); trying again", why)
                broken = why
            except Exception as error:
                log.error("decisions are not watched; trying again", extra={"error_class": type(error).__name__})  # noqa: TRY400
            finally:
                if nodes is not None:
                    nodes.close()
            if not self._closing:
                time.sleep(AGAIN_S)

    def _follow(self, nodes: "_Nodes") -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ, None)
            for tracked in nodes.all:
                selector.register(tracked.socket, selectors.EVENT_READ, tracked)
            self._reread(nodes, [])
            while not self._closing:
                ready = selector.select(LOOK_S)
                if not ready:
                    nodes.look()
                    continue
                values: list[tuple[str, bytes | None]] = []
                changed: list[str] = []
                for key, _ in ready:
                    if key.data is None:
                        self._drain_bell()
                    else:
                        key.data.read(values, changed)
                self._reread(nodes, changed)
                if values:
                    self._told(values)

    def _reread(self, nodes: "_Nodes", changed: list[str]) -> None:
        with self._lock:
            asked, self._asked = self._asked, {}
            if EVERYTHING in changed:
                wanted: Iterable[str] = list(self._watched)
            else:
                wanted = [key for key in dict.fromkeys([*asked, *changed]) if key in self._watched]
        nodes.ask(wanted)

    def _drain_bell(self) -> None:
        try:
            while self._woken.recv(4_096):
                pass
        except BlockingIOError:
            return


EVERYTHING: Final = ""
"""Stands for all keys: the server was emptied, and says so without naming them."""


class ConnectionBroken(Exception):
    """The connection ended or said something else."""


class _Tracked:
    """One connection that tracks; redis-py makes it, so addresses, TLS, users and Sentinels are its business."""

    def __init__(self, client: "redis.Redis") -> None:
        self._pool = client.connection_pool
        self._connection: Any = self._pool.get_connection()
        self.socket: Any = None
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)
        self._under_way: deque[str | None] = deque()
        try:
            connection: Any = self._connection
            connection.send_command("HELLO", "3")
            connection.read_response()
            connection.send_command("CLIENT", "TRACKING", "ON")
            connection.read_response()
            self.socket = connection._sock  # noqa: SLF001 - redis-py waits for answers; this reads messages too
            self.socket.setblocking(False)
        except BaseException:
            self.close()
            raise

    def ask(self, keys: list[str]) -> None:
        self._under_way.extend(keys)
        self._send(b"".join(_get(key) for key in keys))

    def look(self) -> None:
        if self._under_way:
            raise ConnectionBroken  # nothing was answered in all that time
        self._under_way.append(None)
        self._send(hiredis.pack_command(("PING",)))

    def read(self, values: list[tuple[str, bytes | None]], changed: list[str]) -> None:
        self._reader.feed(self._receive())
        while (reply := self._reader.gets()) is not Ellipsis:
            if isinstance(reply, hiredis.PushNotification):
                _note(reply, changed)
            elif isinstance(reply, hiredis.HiredisError):
                raise ConnectionBroken(str(reply))
            else:
                key = self._under_way.popleft()
                if key is not None:
                    values.append((key, reply))

    def close(self) -> None:
        self._connection.disconnect()
        self._pool.release(self._connection)

    def _receive(self) -> bytes:
        parts: list[bytes] = []
        while True:
            try:
                part = self.socket.recv(PIECE)
            except (BlockingIOError, ssl.SSLWantReadError):
                return b"".join(parts)
            if not part:
                raise ConnectionBroken
            parts.append(part)

    def _send(self, data: bytes) -> None:
        self.socket.setblocking(True)
        self.socket.settimeout(LOOK_S)
        try:
            self.socket.sendall(data)
        finally:
            self.socket.setblocking(False)


class _Nodes:
    """The connections: one, or one for each primary of a Cluster."""

    def __init__(self, client: Client) -> None:
        self._client = client  # kept: a client that is forgotten closes its connections
        self._cluster = client if isinstance(client, redis.RedisCluster) else None
        self._by_name: dict[str, _Tracked] = {}
        if isinstance(client, redis.RedisCluster):
            primaries: Any = client.get_primaries()  # type: ignore[no-untyped-call]
            for node in primaries:
                self._by_name[node.name] = _Tracked(client.get_redis_connection(node))
        else:
            self._by_name[""] = _Tracked(client)
        self.all = list(self._by_name.values())

    def ask(self, keys: Iterable[str]) -> None:
        if self._cluster is None:
            if wanted := list(keys):
                self.all[0].ask(wanted)
            return
        table = self._cluster.nodes_manager.slots_cache
        by_node: dict[str, list[str]] = {}
        for key in keys:
            by_node.setdefault(table[slot_of(key)][0].name, []).append(key)
        for name, some in by_node.items():
            if name not in self._by_name:
                raise ConnectionBroken  # another table of slots: begin anew
            self._by_name[name].ask(some)

    def look(self) -> None:
        for tracked in self.all:
            tracked.look()

    def close(self) -> None:
        for tracked in self.all:
            tracked.close()


def _get(key: str) -> bytes:
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(name := key.encode()), name)


def _note(message: list[Any], changed: list[str]) -> None:
    if message and message[0] == b"invalidate":
        changed.extend([EVERYTHING] if message[1] is None else [key.decode() for key in message[1]])
