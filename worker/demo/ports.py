"""A free TCP port on this machine."""

import socket


def free_port() -> int:
    """One that nobody listened on a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port
