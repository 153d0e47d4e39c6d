"""A Sentinel that watches one primary."""

from pathlib import Path

import redis

from tests.services import RedisServer, free_port
from tests.services.process import ServerProcess

SERVICE = "shop"


class SentinelServer(ServerProcess):
    """One Sentinel, which alone decides about a failover.

    Args:
        primary: what it watches; its flavour is the Sentinel's.
        directory: holds the settings, which the Sentinel rewrites, and the log.
    """

    def __init__(self, primary: RedisServer, directory: Path) -> None:
        super().__init__("sentinel", directory)
        self._binary = primary.binary
        self.port = free_port()
        self._settings = directory / "sentinel.conf"
        self._settings.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {directory}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 700\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )

    @property
    def url(self) -> str:
        return f"sentinel://127.0.0.1:{self.port}/{SERVICE}"

    @property
    def command(self) -> list[str]:
        return [self._binary, str(self._settings), "--sentinel"]

    def answers(self) -> bool:
        """Whether it knows the primary and its replica."""
        with redis.Redis(port=self.port, socket_timeout=1) as client:
            try:
                return len(client.sentinel_slaves(SERVICE)) > 0
            except redis.RedisError:
                return False
