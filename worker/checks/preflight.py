"""What is wrong with a live Kafka and a live Redis for the promise that nothing is lost and nothing counted twice.

`redis_findings` and `kafka_findings` look at what the servers say of themselves and are pure; `look` asks them.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import confluent_kafka
import redis
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined] # all public

from featurestore.errors import Unsafe
from featurestore.store.cluster.cluster_connection import AWAY
from featurestore.store.deployment import owner
from featurestore.store.keys import ERASED_TTL_S
from featurestore.store.redis.connection import Client
from worker.checks.findings import ADVICE, GOOD, VOID, Finding
from worker.checks.held_check import held_findings, refused_by_partition
from worker.checks.placement_check import look_at_placement
from worker.checks.shared_check import deployments, shared_findings
from worker.claim import deployment_of, owned
from worker.settings import Settings

FULL: Final = 0.75
SLOTS: Final = 16_384
SHARDS_PER_PRIMARY: Final = 32
"""Fewer fall unevenly on the primaries of a Cluster."""
_DAY_MS: Final = 86_400_000


def redis_findings(info: Mapping[str, Any]) -> Iterator[Finding]:
    """What ``INFO`` tells of a server."""
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version", info.get("redis_version", "unknown")))
    old = name == "Redis" and _number(version) < (6, 2)
    yield Finding(ADVICE if old else GOOD, f"{name} {version}", "use Redis 7 or Valkey 8 or newer" if old else "")
    yield from _worst(info)
    yield from _memory(info)
    yield from _durability(info)


def cluster_findings(info: Mapping[str, Any], replicas: Mapping[str, int], shards: int) -> Iterator[Finding]:
    """What a Redis Cluster looks like as a whole.

    Args:
        info: what ``CLUSTER INFO`` tells.
        replicas: of each primary.
        shards: partitions times buckets.
    """
    state, served = str(info.get("cluster_state", "unknown")), int(info.get("cluster_slots_ok", 0))
    if state == "ok" and served == SLOTS:
        yield Finding(GOOD, f"{len(replicas)} primaries serve all slots")
    else:
        what = f"cluster_state is {state}, {served} of {SLOTS} slots are served: workers wait for the others"
        yield Finding(ADVICE, what, "redis-cli --cluster check HOST:PORT, then --cluster fix")
    if bare := sorted(name for name, count in replicas.items() if not count):
        yield Finding(
            ADVICE, f"without a replica: {', '.join(bare)}", "give each primary one, or its death is an outage"
        )
    wanted = SHARDS_PER_PRIMARY * len(replicas)
    if shards < wanted:
        yield Finding(
            ADVICE,
            f"{shards} partitions x buckets on {len(replicas)} primaries: some primary gets much more than another",
            f"{wanted} or more; CLICKSTAGE_BUCKETS is fixed for the life of the keys, so drain first "
            "(docs/guarantees.md)",
        )
    else:
        yield Finding(GOOD, f"{shards} partitions x buckets")


def _worst(info: Mapping[str, Any]) -> Iterator[Finding]:
    """What a worker refuses to start on."""
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        yield Finding(GOOD, "maxmemory-policy noeviction")
    else:
        yield Finding(
            VOID,
            f"maxmemory-policy is {policy}: Redis would drop sessions in silence",
            "set maxmemory-policy noeviction; a full Redis then makes workers wait instead of losing state",
        )
    role = str(info.get("role", "master"))
    if role == "master":
        yield Finding(GOOD, "role master")
    else:
        yield Finding(VOID, f"the server is a {role}: it refuses writes", "point CLICKSTAGE_REDIS at the primary")


def _memory(info: Mapping[str, Any]) -> Iterator[Finding]:
    most, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if most == 0:
        yield Finding(ADVICE, "no maxmemory: the machine's memory is the limit", "set maxmemory below the machine's")
    elif used >= most:
        yield Finding(ADVICE, f"{used / most:.0%} of maxmemory is used: workers wait", "raise maxmemory now")
    elif used > FULL * most:
        yield Finding(ADVICE, f"{used / most:.0%} of maxmemory is used", "raise maxmemory before workers have to wait")
    else:
        yield Finding(GOOD, f"{used / most:.0%} of maxmemory is used")
    if evicted := int(info.get("evicted_keys", 0)):
        yield Finding(
            ADVICE,
            f"{evicted} keys were evicted since this server started: state may be missing",
            "after setting noeviction, `clickstage reprocess` rebuilds it",
        )


def _durability(info: Mapping[str, Any]) -> Iterator[Finding]:
    if int(info.get("aof_enabled", 0)):
        broken = info.get("aof_last_write_status", "ok") != "ok"
        what = "the append-only file cannot be written" if broken else "append-only file on"
        yield Finding(VOID if broken else GOOD, what, "free disk space" if broken else "")
    else:
        yield Finding(
            ADVICE,
            "no append-only file: a restart goes back to the last snapshot, or to nothing",
            "set appendonly yes; without it workers rebuild from Kafka, and decisions are old meanwhile",
        )
    if int(info.get("connected_slaves", 0)) and not int(info.get("min_slaves_good_slaves", 1)):
        yield Finding(ADVICE, "no replica is in step", "look at the replication link; a failover now loses writes")


def kafka_findings(
    topic: Mapping[str, str], partitions: int, replicas: int, recorded: int | None, horizon_ms: int
) -> Iterator[Finding]:
    """What the clicks topic's settings mean.

    Args:
        topic: its configuration, as Kafka names it.
        partitions: how many it has.
        replicas: fewest of a partition.
        recorded: how many it had when the keys were made, None where there are none yet.
        horizon_ms: how far a rebuild goes back.
    """
    kept = int(topic.get("retention.ms", -1))
    if 0 <= kept < horizon_ms:
        yield Finding(
            VOID,
            f"records are kept for {_span(kept)}, a rebuild goes back {_span(horizon_ms)}",
            f"set retention.ms to {horizon_ms} or more, or lower CLICKSTAGE_REBUILD_HORIZON_S",
        )
    else:
        yield Finding(GOOD, "records are kept " + ("for ever" if kept < 0 else f"for {_span(kept)}"))
    if kept < 0 or kept > ERASED_TTL_S * 1_000:
        yield Finding(
            ADVICE,
            f"records outlive the tombstones of erased sessions ({_span(ERASED_TTL_S * 1_000)})",
            "keep clicks for 15 days at most, or repeat erasures after a `clickstage reprocess`",
        )
    if int(topic.get("retention.bytes", -1)) >= 0:
        yield Finding(ADVICE, "retention.bytes may delete records before their time", "set retention.bytes=-1")
    if "compact" in topic.get("cleanup.policy", "delete"):
        yield Finding(
            VOID, "the topic is compacted: all but a session's last event vanish", "set cleanup.policy=delete"
        )
    if recorded is not None and recorded != partitions:
        yield Finding(
            VOID,
            f"the topic has {partitions} partitions, the keys were made for {recorded}",
            "drain first (docs/guarantees.md), then the new count is recorded",
        )
    else:
        few = partitions < 4
        what = f"{partitions} partitions" + (": no more workers than that can share the work" if few else "")
        yield Finding(
            ADVICE if few else GOOD, what, "create topics with 16 or more: the count is hard to change" if few else ""
        )
    yield from _replication(topic, replicas)


def _replication(topic: Mapping[str, str], replicas: int) -> Iterator[Finding]:
    least = int(topic.get("min.insync.replicas", 1))
    if replicas < 2:
        yield Finding(ADVICE, "one replica: a lost disk loses the log", "replication factor 3, min.insync.replicas 2")
    elif least < 2:
        yield Finding(ADVICE, "min.insync.replicas 1: one broker's word is enough", "set min.insync.replicas=2")
    else:
        yield Finding(GOOD, f"{replicas} replicas, {least} in step at least")
    if topic.get("unclean.leader.election.enable", "false") == "true":
        yield Finding(
            VOID, "unclean leader election loses acknowledged clicks", "set unclean.leader.election.enable=false"
        )


def client_findings() -> Iterator[Finding]:
    """The versions of this machine's clients."""
    kafka, store = confluent_kafka.libversion()[0], redis.__version__
    old = _number(kafka) < (2, 15)
    yield Finding(ADVICE if old else GOOD, f"librdkafka {kafka}", "2.15 or newer" if old else "")
    old = _number(store) < (8, 1)
    yield Finding(ADVICE if old else GOOD, f"redis-py {store}", "8.1 or newer" if old else "")


def refuse_worst(client: Client) -> None:
    """Keep a worker from starting where its writes would vanish or be refused.

    Raises:
        Unsafe: the eviction policy drops state, or the server is a replica.
    """
    worst = []
    for where, node in primaries(client).items():
        try:
            info: Any = node.info()
        except redis.RedisError:
            continue  # not allowed to ask; `clickstage check` says so
        worst += [f"{where}: {f.what}; {f.remedy}" for f in _worst(info) if f.level == VOID]
    if worst:
        raise Unsafe("the promise is void at " + "; ".join(worst))


def part_of_cluster(client: "redis.Redis") -> bool:
    """Whether the server is a node of a Redis Cluster."""
    try:
        info: Any = client.info("cluster")
    except redis.RedisError:
        return False  # not allowed to ask
    return bool(int(info.get("cluster_enabled", 0)))


def primaries(client: Client) -> dict[str, "redis.Redis"]:
    """A client of each server that is written to, by the name that findings have."""
    if isinstance(client, redis.Redis):
        return {"Redis": client}
    nodes: list[Any] = client.get_primaries()  # type: ignore[no-untyped-call]
    return {f"Redis {node.name}": client.get_redis_connection(node) for node in nodes}


def look(settings: Settings) -> dict[str, list[Finding]]:
    """Ask both servers; findings by who is to act.

    Raises:
        SettingsError: one cannot be reached, or the topic is missing.
    """
    from worker.wiring import kafka_admin, kafka_topic, namespace_of, redis_client

    topic_id, partitions = kafka_topic(settings)
    client = redis_client(settings)
    store = {where: _store(node) for where, node in primaries(client).items()}
    if isinstance(client, redis.RedisCluster):
        store = {"Redis Cluster": _cluster(client, partitions * settings.buckets)} | store
    config, replicas = _topic(kafka_admin(settings), settings.topic)
    namespace = namespace_of(settings, client, topic_id)
    recorded: Any = client.get(namespace.partitions())
    count = None if recorded is None else int(recorded.decode().split('"partitions": ')[1].split(",")[0])
    log = list(kafka_findings(config, partitions, replicas, count, settings.rebuild_horizon_s * 1_000))
    log += look_at_placement(settings, partitions)
    refused = refused_by_partition(client, namespace, range(partitions))
    store["Redis, who uses it"] = list(shared_findings(deployments(client), namespace, settings.topic))
    log += held_findings(refused, settings.dlq_max_share, settings.dlq_max_consecutive)
    log += ownership_findings(client, settings)
    return {**store, f"Kafka topic {settings.topic}": log, "clients": list(client_findings())}


def ownership_findings(client: Client, settings: Settings) -> Iterator[Finding]:
    """Whose the decisions and the output topics are."""
    mine = deployment_of(settings)
    for what, key in owned(settings).items():
        found = owner(client, key)
        if found is None or found == mine:
            yield Finding(GOOD, f"{what}: {'no owner yet' if found is None else 'of this deployment'}")
        else:
            yield Finding(
                VOID,
                f"{what} belongs to {found}, and this is {mine}",
                "a prefix (CLICKSTAGE_DECISION_PREFIX) and output topics of its own",
            )


def _store(client: "redis.Redis") -> list[Finding]:
    """One server's findings."""
    try:
        info: Any = client.info()
        found = list(redis_findings(info))
    except redis.RedisError as error:
        found = [Finding(ADVICE, f"Redis does not answer INFO ({type(error).__name__})", "let this user run INFO")]
    skew = _skew_ms(client)
    if skew is None:
        found.append(Finding(ADVICE, "Redis does not tell its time", "let this user run TIME"))
    elif skew > 1_000:
        found.append(Finding(ADVICE, f"the clocks of this machine and Redis differ by {skew} ms", "run NTP on both"))
    return found


def _cluster(client: "redis.RedisCluster", shards: int) -> list[Finding]:
    """What the nodes have in common."""
    try:
        info: Any = client.cluster_info()
    except AWAY as error:
        what = f"the Cluster does not answer CLUSTER INFO ({type(error).__name__})"
        return [Finding(ADVICE, what, "let this user run CLUSTER INFO")]
    followers = {nodes[0].name: len(nodes) - 1 for nodes in client.nodes_manager.slots_cache.values()}
    return list(cluster_findings(info, followers, shards))


def _topic(admin: AdminClient, name: str) -> tuple[dict[str, str], int]:
    resource = ConfigResource(ResourceType.TOPIC, name)
    try:
        entries = admin.describe_configs([resource], request_timeout=8.0)[resource].result()
        metadata = admin.list_topics(name, timeout=8.0).topics[name]
    except KafkaException as error:
        raise Unsafe(f"Kafka does not describe topic {name} ({error.args[0].name()}): let this user do so") from None
    config = {key: str(entry.value) for key, entry in entries.items()}
    return config, min(len(p.replicas) for p in metadata.partitions.values())


def _skew_ms(client: "redis.Redis") -> int | None:
    try:
        seconds, micros = client.time()
    except redis.RedisError:
        return None
    return abs(int(seconds) * 1_000 + int(micros) // 1_000 - time.time_ns() // 1_000_000)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _span(ms: int) -> str:
    return f"{ms / _DAY_MS:.1f} days" if ms >= _DAY_MS else f"{ms / 3_600_000:.1f} hours"
