"""A Redis Cluster on this machine: three primaries, each with a replica, which fail over by themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self, cast

import redis
from redis.backoff import ConstantBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from tests.services.process import StartError, free_port, wait_for
from tests.services.redis_server import RedisServer

PRIMARIES: Final = 3
SLOTS: Final = 16_384
NODE_TIMEOUT_MS: Final = 1_200
"""A primary that is silent for this long is voted out."""

AWAY = (redis.RedisError, RedisClusterException, OSError)


class ClusterServers:
    """Six servers as one cluster.

    Args:
        flavour: "redis" or "valkey".
        directory: a folder below it for each server.

    Raises:
        Unavailable: the flavour is not installed.
    """

    def __init__(self, flavour: str, directory: Path) -> None:
        self.flavour = flavour
        self.directory = directory
        self.nodes = [self._node(number) for number in range(2 * PRIMARIES)]
        self.version = f"{self.nodes[0].version} Cluster"

    def _node(self, number: int) -> RedisServer:
        return RedisServer(
            self.flavour,
            self.directory / f"node-{number}",
            {
                "cluster-enabled": "yes",
                "cluster-config-file": "nodes.conf",
                "cluster-node-timeout": str(NODE_TIMEOUT_MS),
                "cluster-port": str(free_port()),
                "repl-diskless-sync-delay": "0",
                "cluster-allow-replica-migration": "no",
            },
        )

    @property
    def url(self) -> str:
        return "cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> Self:
        """Start the servers, make them one cluster, and wait until it serves."""
        for node in self.nodes:
            node.start()
        primaries, replicas = self.nodes[:PRIMARIES], self.nodes[PRIMARIES:]
        bounds = [SLOTS * i // PRIMARIES for i in range(PRIMARIES + 1)]
        for number, node in enumerate(primaries):
            ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)  # before they meet, or they must first agree
            ask(node, "CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
        for node in self.nodes[1:]:
            ask(self.nodes[0], "CLUSTER", "MEET", "127.0.0.1", node.port, node.config["cluster-port"])
        self._until(lambda: all(len(links(node)) == len(self.nodes) for node in self.nodes), "every node knows all")
        for primary, replica in zip(primaries, replicas, strict=True):
            ask(replica, "CLUSTER", "REPLICATE", self.id_of(primary))
        self.healthy()
        return self

    def stop(self) -> None:
        """Stop all servers; their data is of no use any more."""
        for node in self.nodes:
            node.kill9()

    def client(self, **options: Any) -> "redis.RedisCluster":
        """A client that follows the cluster and waits for a failover; answers are bytes."""
        options.pop("retry", None)
        return RedisCluster(
            startup_nodes=[
                ClusterNode("127.0.0.1", node.port)  # type: ignore[no-untyped-call]
                for node in self.nodes
                if node.running
            ],
            retry=Retry(ConstantBackoff(0), 3),
            require_full_coverage=False,
            **{"socket_timeout": 2, **options},
        )

    def healthy(self, timeout_s: float = 30) -> None:
        """Start what was killed, and wait until every slot is served and every primary has a replica in step.

        Raises:
            StartError: that did not come to pass.
        """
        for node in self.nodes:
            node.start()
        self._until(self._is_healthy, "all slots are served, with replicas in step", timeout_s)

    def empty(self) -> None:
        """Delete all keys and scripts, also on the replicas."""
        self.healthy()
        for node in self.primaries():
            ask(node, "FLUSHALL")
        for node in self.nodes:
            ask(node, "SCRIPT", "FLUSH")

    def primaries(self) -> list[RedisServer]:
        """The servers that serve slots now."""
        return [node for node in self.nodes if node.running and role(node) == "master"]

    def replica_of(self, primary: RedisServer) -> RedisServer:
        """Its replica."""
        wanted = self.id_of(primary)
        table = ask_nodes(primary)
        return next(node for node in self.nodes if table.get(node.port, ("", "", ""))[2] == wanted)

    def id_of(self, node: RedisServer) -> str:
        """The name that the cluster knows a server by."""
        return str(cast(bytes, ask(node, "CLUSTER", "MYID")).decode())

    def owner(self, slot: int) -> RedisServer:
        """Who serves a slot."""
        for node in self.primaries():
            for first, last, (_, port, *_), *_ in cast("list[Any]", ask(node, "CLUSTER", "SLOTS")):
                if first <= slot <= last:
                    return next(server for server in self.nodes if server.port == port)
        raise LookupError(f"slot {slot} is served by nobody")

    @contextmanager
    def migrating(self, slot: int) -> Iterator[RedisServer]:
        """Move a slot to another primary; the body runs half-way, when both ends know and no key has moved."""
        source = self.owner(slot)
        target = next(node for node in self.primaries() if node is not source)
        ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))
        yield target
        while keys := cast("list[bytes]", ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100)):
            ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys)
        for node in (target, source, *(n for n in self.primaries() if n not in (source, target))):
            ask(node, "CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))

    def cut_off(self, replica: RedisServer, primary: RedisServer) -> None:
        """Let the replica get nothing any more, while clients are served as before; a restart of the primary heals."""
        ask(primary, "ACL", "SETUSER", "default", "-psync", "-sync", "-replconf")
        ask(primary, "CLIENT", "KILL", "TYPE", "replica")
        self._until(lambda: info(replica)["master_link_status"] == "down", "the replica has lost its primary")

    def promoted(self, replica: RedisServer, timeout_s: float = 20) -> None:
        """Wait until the cluster has made a replica a primary."""
        self._until(lambda: role(replica) == "master", "the replica is promoted", timeout_s)

    def _is_healthy(self) -> bool:
        for node in self.nodes:
            said = cast(bytes, ask(node, "CLUSTER", "INFO"))
            if b"cluster_state:ok" not in said or b"cluster_slots_ok:16384" not in said:
                return False
            if any("fail" in flags for _, flags, _ in ask_nodes(node).values()):
                return False
        replicas = [node for node in self.nodes if role(node) == "slave"]
        followed = {ask_nodes(node)[node.port][2] for node in replicas}
        return len(followed) == PRIMARIES and all(info(node)["master_link_status"] == "up" for node in replicas)

    def _until(self, condition: Any, what: str, timeout_s: float = 20) -> None:
        def safe() -> bool:
            try:
                return bool(condition())
            except (*AWAY, KeyError):
                return False

        if not wait_for(safe, timeout_s):
            table = "\n".join(f"{node.port} running {node.running}: {node.log_tail(5)}" for node in self.nodes)
            raise StartError(f"the cluster: not within {timeout_s} s: {what}\n{table}")


def ask(node: RedisServer, *command: Any) -> object:
    """Run one command on one server."""
    with node.client(socket_timeout=5, single_connection_client=True) as client:
        # Past redis-py's callbacks: they read the answers of CLUSTER commands in their own ways.
        connection: Any = client.connection
        connection.send_command(*command)
        return cast(object, connection.read_response())


def ask_nodes(node: RedisServer) -> dict[int, tuple[str, str, str]]:
    """What a server knows of the cluster: id, flags and primary's id ("-" for none) by port."""
    table = {}
    for line in cast(bytes, ask(node, "CLUSTER", "NODES")).decode().splitlines():
        name, address, flags, primary, *_ = line.split()
        table[int(address.split("@")[0].rpartition(":")[2])] = (name, flags, primary)
    return table


def links(node: RedisServer) -> list[int]:
    """The ports of the servers that a server has met and still shakes hands with nobody of."""
    return [port for port, (_, flags, _) in ask_nodes(node).items() if "handshake" not in flags]


def info(node: RedisServer) -> dict[str, Any]:
    """INFO of one server."""
    with node.client(socket_timeout=5) as client:
        return cast("dict[str, Any]", client.info())


def role(node: RedisServer) -> str:
    """What it is now: "master" or "slave"."""
    return str(info(node)["role"])


def slot_of(key: str) -> int:
    """The slot of a key."""
    return int(key_slot(key.encode()))
