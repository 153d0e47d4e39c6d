"""`bench.floor` as a process on a stack, looked at in the same way as a worker."""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Self

from bench.stack import ENV, READY_S, REPOSITORY, Stack, Topics
from featurestore.store.keys import Namespace, Shard

FLOORS: Final[dict[str, Callable[[Topics], tuple[str, ...]]]] = {
    "floor": lambda _: (),
    "floor_log": lambda topics: ("--log", topics.decisions),
    "floor_bare": lambda _: ("--bare",),
}


class Sizes(NamedTuple):
    """Mean bytes of a stored session, of a decision, and of an outbox for each event."""

    blob: int
    decision: int
    outbox: int


class FloorProcess:
    """The floor, running.

    Args:
        stack: where.
        topics: which.
        group: consumer group.
        kind: one of `FLOORS`.
        sizes: of what it writes.
    """

    def __init__(self, stack: Stack, topics: Topics, group: str, kind: str, sizes: Sizes) -> None:
        self.store = stack.redis
        self.namespace = Namespace(ENV, group, "floor")
        self.shards = [Shard(0)]
        """One, whatever the partitions: its applied offset numbers the events as they come."""
        self._client = self.store.client()
        command = [
            *(sys.executable, "-m", "bench.floor"),
            *(stack.kafka.bootstrap, self.store.url, topics.clicks, group),
            *("--blob", str(sizes.blob), "--decision", str(sizes.decision), "--outbox", str(sizes.outbox)),
            *FLOORS[kind](topics),
        ]
        self._process = subprocess.Popen(command, cwd=REPOSITORY)
        self.pid = self._process.pid

    def count(self) -> int:
        """How many events are applied."""
        return int(self._client.hget(self.namespace.meta(self.shards[0]), "applied") or -1) + 1

    def check(self) -> None:
        """Stop the benchmark when the floor has stopped."""
        if self._process.poll() is not None:
            raise RuntimeError("the floor stopped")

    def wait_ready(self) -> None:
        """Block until it owns its shard."""
        deadline = time.monotonic() + READY_S
        while not self._client.hexists(self.namespace.meta(self.shards[0]), "epoch"):
            self.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"the floor is not ready within {READY_S} s")
            time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._client.close()
