"""A TCP proxy that can stand in for a bad network: hold everything back, cut, delay, lose the answers, or move."""

import selectors
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field


@dataclass(eq=False)
class _Link:
    client: socket.socket
    server: socket.socket
    up: deque[tuple[float, bytes]] = field(default_factory=deque)
    down: deque[tuple[float, bytes]] = field(default_factory=deque)


class Proxy:
    """Forwards 127.0.0.1:`port` to another port.

    Attributes:
        target: port connected to; a change counts for new connections.
        delay_s: how long each direction holds data back.
        blackhole: data is taken and never passed on.
        drop_replies: how many more answers are lost, each with its connection.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_s = 0.0
        self.blackhole = False
        self.drop_replies = 0
        self.dropped = 0
        self._links: set[_Link] = set()
        self._cut = False
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self) -> None:
        """Break every connection now."""
        self._cut = True

    def close(self) -> None:
        self._closing = True
        self._thread.join(5)

    def _run(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(0.005):
                if key.data is None:
                    self._accept()
                else:
                    self._receive(*key.data)
            if self._cut:
                self._cut = False
                for link in list(self._links):
                    self._break(link)
            self._forward()
        for link in list(self._links):
            self._break(link)
        self._selector.close()
        self._listener.close()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self.target), timeout=1)
        except OSError:
            client.close()
            return
        link = _Link(client, server)
        self._links.add(link)
        for side, name in ((client, "client"), (server, "server")):
            side.setblocking(False)
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(side, selectors.EVENT_READ, (link, name))

    def _receive(self, link: _Link, side: str) -> None:
        if link not in self._links:
            return
        try:
            data = (link.client if side == "client" else link.server).recv(262_144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._break(link)
        elif self.blackhole:
            return
        elif side == "client":
            link.up.append((time.monotonic() + self.delay_s, self.asked(link, data)))
        elif self.drop_replies > 0:
            self.drop_replies -= 1
            self.dropped += 1
            self._break(link)
        else:
            link.down.append((time.monotonic() + self.delay_s, self.answered(link, data)))

    def asked(self, _link: object, data: bytes) -> bytes:
        """What to pass on of what a client sent."""
        return data

    def answered(self, _link: object, data: bytes) -> bytes:
        """What to pass on of what the server sent."""
        return data

    def _forward(self) -> None:
        now = time.monotonic()
        for link in list(self._links):
            for queue, side in ((link.up, link.server), (link.down, link.client)):
                while queue and queue[0][0] <= now:
                    data = queue[0][1]
                    try:
                        n = side.send(data)
                    except BlockingIOError:
                        break
                    except OSError:
                        self._break(link)
                        break
                    if n < len(data):
                        queue[0] = (queue[0][0], data[n:])
                        break
                    queue.popleft()

    def _break(self, link: _Link) -> None:
        if link in self._links:
            self._links.discard(link)
            for side in (link.client, link.server):
                self._selector.unregister(side)
                side.close()
