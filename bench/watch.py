"""Sees when decisions become readable: the applied offsets of a worker, at each change and not in between.

Redis says when a key that was read has changed (client-side caching, RESP3), so nothing polls: polling would wake Redis
two thousand times a second, far more often than the worker does.
"""

import select
import socket
from collections.abc import Sequence
from typing import Any, Final

import hiredis

from featurestore.store.redis import resp

ANSWER_S: Final = 30.0


class Watcher:
    """A connection that is told of every change of some shards' applied offsets.

    Args:
        port: of the Redis on this machine.
        metas: keys of the shards' fences.
    """

    def __init__(self, port: int, metas: Sequence[str]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), ANSWER_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        self._changed = True
        self._request = _bytes([("HGET", meta, "applied") for meta in metas])
        self._count = len(metas)
        self._ask(_bytes([("HELLO", "3"), ("CLIENT", "TRACKING", "ON")]), 2)

    def wait(self, seconds: float) -> bool:
        """Whether there may be something new to `read`, within ``seconds``."""
        self._drain()  # what came along with the last answer
        if not self._changed and select.select([self._socket], [], [], seconds)[0]:
            self._take()
            self._drain()
        return self._changed

    def read(self) -> list[int]:
        """Offset applied of each partition, -1 for none."""
        self._changed = False  # before the question: a change behind an answer is told behind it
        return [-1 if answer is None else int(answer) for answer in self._ask(self._request, self._count)]

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _ask(self, request: bytes, answers: int) -> list[Any]:
        self._socket.sendall(request)
        found: list[Any] = []
        while len(found) < answers:
            answer = self._reader.gets()
            if answer is False:
                self._take()
            elif not self._note(answer):
                found.append(answer)
        return found

    def _drain(self) -> None:
        while (answer := self._reader.gets()) is not False:
            self._note(answer)

    def _take(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError("Redis hung up")
        self._reader.feed(data)

    def _note(self, answer: Any) -> bool:
        """Whether it was a message that a key has changed."""
        if isinstance(answer, hiredis.ReplyError):
            raise answer
        told = isinstance(answer, hiredis.PushNotification)
        self._changed |= told
        return told


def _bytes(commands: Sequence[Sequence[str]]) -> bytes:
    return b"".join(resp.together(map(resp.command, commands)).wire)
