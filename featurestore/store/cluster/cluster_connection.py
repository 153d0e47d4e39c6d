"""Commands to a Redis Cluster: each to the primary of its slot, all to one primary together, answers read later.

redis-py keeps the table of slots; the commands go over a `PipelinedConnection` to each primary. Nothing is sent twice
here: whatever goes wrong, the table is asked for again where that may help, and the caller repeats the whole call.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import redis
from redis.exceptions import (
    AskError,
    ClusterDownError,
    NoScriptError,
    ReadOnlyError,
    RedisClusterException,
    SlotNotCoveredError,
)

from featurestore.errors import StoreUnavailable
from featurestore.store.protocols import unavailable
from featurestore.store.redis.lua import script_text
from featurestore.store.redis.pipelined_connection import PipelinedConnection, Ticket
from featurestore.store.redis.resp import Packed

Command = tuple[int, tuple[Any, ...] | Packed]
"""A slot and a command whose keys are all in it."""

AWAY: Final = (redis.RedisError, RedisClusterException, OSError)
"""What goes wrong between a client and a Cluster."""
ELSEWHERE: Final = (AskError, ClusterDownError, ReadOnlyError, SlotNotCoveredError, redis.ConnectionError,
                    redis.TimeoutError, OSError)  # fmt: skip
"""What another table of slots may help with; MOVED is a kind of ASK."""


class ClusterScript:
    """A Lua script, known by its hash; every node must be given it."""

    def __init__(self, *names: str) -> None:
        self.text: Final = script_text(*names)
        self.sha: Final = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class ClusterConnection:
    """The primaries of a Cluster; used from one thread.

    Args:
        client: knows the topology; its first nodes are asked again when all that it has found since are gone.
        scripts: all that will be called.
    """

    def __init__(self, client: "redis.RedisCluster", scripts: Sequence[ClusterScript]) -> None:
        self._client = client
        self._first = [(node.host, node.port) for node in client.startup_nodes]
        self._scripts = [("SCRIPT", "LOAD", script.text) for script in scripts]
        self._connections: dict[str, PipelinedConnection] = {}

    def ask(self, commands: Sequence[Command], doing: str) -> list[Any]:
        """The answers, in the order of the commands.

        Raises:
            StoreUnavailable: some may have been carried out; repeat the call.
        """
        return self.begin(commands, doing)()

    def begin(self, commands: Sequence[Command], doing: str) -> Callable[[], list[Any]]:
        """Send and return; the call returned reads the answers. To each node, what is begun later is done later."""
        sent: list[tuple[list[int], Ticket]] = []
        try:
            for name, places in self._by_node(commands).items():
                sent.append((places, self._send(name, [commands[i][1] for i in places])))
        except AWAY as error:
            raise self._mapped(error, doing) from None

        def read() -> list[Any]:
            try:
                replies: list[Any] = [None] * len(commands)
                for places, ticket in sent:
                    for i, reply in zip(places, ticket.read(), strict=True):
                        replies[i] = reply
                self._give_scripts(commands, replies)
                return _checked(replies)
            except AWAY as error:
                raise self._mapped(error, doing) from None

        return read

    def _by_node(self, commands: Sequence[Command]) -> dict[str, list[int]]:
        """The places of the commands for each node."""
        table = self._client.nodes_manager.slots_cache
        places: dict[str, list[int]] = {}
        for i, (slot, _) in enumerate(commands):
            nodes = table.get(slot)
            if not nodes:
                raise SlotNotCoveredError("a slot is served by no node")
            places.setdefault(nodes[0].name, []).append(i)
        return places

    def _send(self, name: str, commands: list[tuple[Any, ...] | Packed]) -> Ticket:
        connection = self._connections.get(name)
        if connection is None:
            node: Any = self._client.get_node(node_name=name)  # type: ignore[no-untyped-call]
            connection = self._connections[name] = PipelinedConnection(self._client.get_redis_connection(node))
        if not connection.connected:
            connection.send(self._scripts)  # its answers are read on the way to the others
        return connection.send(commands)

    def _give_scripts(self, commands: Sequence[Command], replies: list[Any]) -> None:
        """Carry out what a node refused for want of its script, which it is given again (SCRIPT FLUSH)."""
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if not missing:
            return
        for name, places in self._by_node([commands[i] for i in missing]).items():
            again = [missing[place] for place in places]
            answers = self._send(name, [*self._scripts, *(commands[i][1] for i in again)]).read()
            for i, answer in zip(again, answers[len(self._scripts) :], strict=True):
                replies[i] = answer

    def _mapped(self, error: Exception, doing: str) -> StoreUnavailable:
        if isinstance(error, ELSEWHERE):
            self._refresh()
        return unavailable(error, doing)

    def _refresh(self) -> None:
        """Ask for the table of slots, and leave the nodes that serve none any more; on failure all stays as it is."""
        manager = self._client.nodes_manager
        try:
            manager.initialize(additional_startup_nodes_info=self._first)
        except (*AWAY, LookupError):  # nobody answers, or a node that has just been reset: the table is empty
            return
        serving = {nodes[0].name for nodes in manager.slots_cache.values() if nodes}
        for name in self._connections.keys() - serving:
            self._connections.pop(name).reset()


def _checked(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, redis.RedisError):
            raise reply
    return replies
