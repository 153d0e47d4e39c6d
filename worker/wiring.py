"""Builds a worker out of its settings: the only place that makes real clients."""

import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

import redis
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from prometheus_client import CollectorRegistry

from decisions.engine import Engine
from decisions.policy import Policy, PolicyWatcher
from decisions.settings import PREFIX
from decisions.shipped import DEFAULT_POLICY, load_bundle, load_policy
from featurestore.errors import BundleError, SettingsError, Unsafe
from featurestore.session.fold import FoldConfig
from featurestore.store.cluster.cluster_connection import AWAY
from featurestore.store.connected import session_store
from featurestore.store.keys import Namespace
from featurestore.store.protocols import refusal
from featurestore.store.redis import resp
from featurestore.store.redis.connection import Client, connect_any, is_cluster
from models.bundle.bundle import Bundle
from worker.checks.preflight import part_of_cluster, refuse_worst
from worker.checks.shared_check import note_deployment
from worker.claim import Claim
from worker.clock import Clock, HeldBack, SystemClock
from worker.kafka.group_watch import GroupWatch
from worker.kafka.placement import Placement
from worker.kafka.source import KafkaSource
from worker.kafka.time_order import TimeOrdered
from worker.kafka.topic_watch import TopicWatch
from worker.metrics.drift import DriftMonitor
from worker.metrics.kpis import Kpis
from worker.metrics.metrics import Metrics, new_registry
from worker.partitions.ownership import Ownership
from worker.pipeline.loop import Loop
from worker.pipeline.observe import Observer
from worker.pipeline.outputs import Outputs
from worker.pipeline.past import Past
from worker.settings import TOPICS, Settings

log = logging.getLogger(__name__)

ASKED_MOST: Final = 3
"""How often Kafka is asked for the topic's id."""
PASSING: Final = frozenset(
    {
        KafkaError._TIMED_OUT,  # noqa: SLF001 - the client's names
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.BROKER_NOT_AVAILABLE,
    }
)
"""Answers of a broker that is coming or going."""

T = TypeVar("T")


@dataclass(slots=True)
class Worker:
    """A worker, ready to run."""

    loop: Loop
    registry: CollectorRegistry
    metrics: Metrics
    engine: Engine
    source: KafkaSource


def fold_config(bundle: Bundle) -> FoldConfig:
    """The fold's constants as the bundle's rules set them."""
    return bundle.rules.fold_config()


def kafka_admin(settings: Settings) -> AdminClient:
    """A client for questions about topics."""
    return AdminClient(
        {**settings.kafka_client(), "socket.timeout.ms": 5_000}, logger=logging.getLogger("worker.kafka")
    )


def kafka_topic(settings: Settings) -> tuple[str, int]:
    """Id and partition count of the clicks topic.

    Raises:
        Unsafe: Kafka cannot be reached.
        SettingsError: there is no such topic.
    """
    admin = kafka_admin(settings)
    where = f"Kafka at {settings.kafka}"
    try:
        topics = admin.list_topics(timeout=8.0).topics
    except KafkaException as error:
        raise Unsafe(
            f"{where} does not answer ({error.args[0].name()}): start it, or set CLICKSTAGE_KAFKA to its address"
        ) from None
    wanted = [name for setting in TOPICS if (name := getattr(settings, setting))]
    missing = [name for name in wanted if name not in topics]
    if missing:
        raise SettingsError(
            f"{where} has no topic {', '.join(missing)}, or this user has no right to see it: create it "
            "(deploy/kafka/create-topics.sh), give the right (docs/guarantees.md), or name others with "
            + ", ".join(f"{PREFIX}{setting.upper()}" for setting in TOPICS)
        )
    partitions = len(topics[settings.topic].partitions)
    if settings.topic_id:
        return settings.topic_id, partitions
    return topic_id_of(admin, settings.topic, where), partitions


def largest_records(admin: AdminClient, settings: Settings) -> dict[str, int]:
    """The largest record that each output topic takes, in bytes; topics that Kafka says nothing about are left out.

    It wants the right to describe the topics' configuration. Without it the worker learns by refusals.
    """
    topics = filter(None, (settings.decisions_topic, settings.sessions_topic, settings.dlq_topic))
    asked = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic) for topic in topics], request_timeout=5.0)
    found = {}
    for resource, answer in asked.items():
        try:
            found[resource.name] = int(answer.result()["max.message.bytes"].value)
        except (KafkaException, KeyError, TypeError, ValueError):
            continue
    return found


def topic_id_of(admin: AdminClient, topic: str, where: str) -> str:
    """The topic's id. Asks again if there is no answer: a broker that has just come back may give none."""
    asked = 0
    while True:
        try:
            described = admin.describe_topics(TopicCollection([topic]), request_timeout=8.0)
            return str(described[topic].result().topic_id)
        except KafkaException as error:
            code, name = error.args[0].code(), error.args[0].name()
            if code not in PASSING:
                raise SettingsError(
                    f"{where} does not tell the id of topic {topic} ({name}): brokers from 2.8 do; for older ones set "
                    "CLICKSTAGE_TOPIC_ID and change it whenever the topic is created anew"
                ) from None
            asked += 1
            if asked == ASKED_MOST:
                raise Unsafe(f"{where} does not answer ({name}): try again when it does") from None
            log.warning("%s does not tell the id of topic %s yet (%s)", where, topic, name)


def redis_client(settings: Settings) -> Client:
    """A client that has answered once.

    Raises:
        Unsafe: Redis cannot be reached.
        SettingsError: the URL names one node, which is part of a Cluster; or a Cluster, and the server is not one.
    """
    url = settings.redis.get_secret_value()
    try:
        client = connect_any(url, timeout_s=settings.redis_timeout_s)
        client.ping()
    except AWAY as error:
        raise Unsafe(
            f"Redis does not answer ({refusal(error)}): start it, or set CLICKSTAGE_REDIS to its URL"
            + (" (cluster:// wants nodes of a Redis Cluster)" if is_cluster(url) else "")
        ) from None
    if isinstance(client, redis.Redis) and part_of_cluster(client):
        raise SettingsError(
            "Redis is a node of a Cluster: name it as cluster://host:port,... in CLICKSTAGE_REDIS, and choose "
            "CLICKSTAGE_BUCKETS (docs/guarantees.md)"
        )
    return client


def redis_ms(client: Client) -> int | None:
    """The time by Redis's clock, epoch milliseconds; the earliest of several nodes. None if Redis does not answer."""
    try:
        told: Any = client.time()
    except AWAY:
        return None
    return min(int(seconds) * 1000 + int(micros) // 1000 for seconds, micros in _each(told))


def _each(told: Any) -> list[Any]:
    return list(told.values()) if isinstance(told, dict) else [told]


def namespace_of(settings: Settings, client: Client, topic_id: str) -> Namespace:
    """Whose keys a group uses now; `clickstage reprocess` begins a new generation."""
    namespace = Namespace(
        settings.env,
        settings.group,
        topic_id,
        write_version=settings.write_version,
        prefix=settings.decision_prefix,
    )
    stored: Any = client.get(namespace.generation_key())
    return replace(namespace, generation=int(stored or 0))


def record_partitions(client: Client, namespace: Namespace, partitions: int, buckets: int) -> None:
    """Refuse a partition count other than the one that the keys were made under.

    Raises:
        SettingsError: with the documented way to drain.
    """
    key = namespace.partitions()
    shape = json.dumps({"partitions": partitions, "buckets": buckets})
    client.set(key, shape, nx=True)
    stored: Any = client.get(key)
    if stored is not None and stored.decode() != shape:
        raise SettingsError(
            f"the keys of this group were made for {stored.decode()}, now it is {shape}: a session would change its "
            "partition. Put the old count back, or drain as docs/guarantees.md says (stop producers, let the workers "
            f"finish, delete {key})"
        )


def build(
    settings: Settings, clock: Clock | None = None, *, compiling: AbstractContextManager[None] | None = None
) -> Worker:
    """A worker on real Kafka and Redis.

    Args:
        settings: checked already.
        clock: tells the time; default: the system's.
        compiling: is entered while functions are compiled: minutes, on the first start of a busy machine.

    Raises:
        SettingsError, BundleError, PolicyError: all that is wrong, reported at once.
    """
    bundle, policy, (topic_id, partitions), client = _opened(settings)
    refuse_worst(client)
    held = clock = HeldBack(clock or SystemClock(), lambda: redis_ms(client))
    namespace = namespace_of(settings, client, topic_id)
    record_partitions(client, namespace, partitions, settings.buckets)
    claim = Claim(client, settings, clock)
    note_deployment(client, namespace, settings.topic)
    registry = new_registry()
    metrics = Metrics(registry)
    engine = Engine.of(
        bundle,
        policy,
        namespace,
        config=fold_config(bundle),
        log_decisions=bool(settings.decisions_topic),
        outcomes=settings.outcomes,
    )
    with compiling or nullcontext():
        engine.warm_up()
        resp.warm_up()
    store = session_store(client, namespace)
    source = KafkaSource(settings)
    gap_ms = engine.judge.config.session_gap_ms
    ordered = TimeOrdered(source, clock, gap_ms) if settings.timers == "event" else None
    outputs = Outputs(
        settings,
        largest_records(kafka_admin(settings), settings),
        lambda: metrics.dead_letters.inc("output_too_large"),
    )
    ownership = Ownership(ordered or source, store, outputs, settings, clock, metrics)
    drift = DriftMonitor(bundle.stage.baseline, metrics, clock, min_sample=settings.drift_min_sessions)
    observer = Observer(metrics, bundle, drift, Kpis(metrics, policy))
    metrics.use_bundle(bundle.name, bundle.version, bundle.baseline_digest)
    observer.use_policy(policy)
    admin = kafka_admin(settings)
    group = GroupWatch(
        admin, settings.group, settings.topic, partitions, source.member, source.coordinator_answers, clock
    )
    metrics.topic_partitions.set(float(partitions))
    loop = Loop(settings, engine, ordered or source, outputs, store, ownership, group, observer, clock)
    loop.preparation.placement = Placement(metrics, partitions, clock)
    if ordered is not None:
        loop.preparation.past = Past(ordered, gap_ms)
    watcher = PolicyWatcher(settings.policy or DEFAULT_POLICY, policy, clock.monotonic)
    loop.before_poll += [held.poll, claim.poll, partial(_reload_policy, watcher, engine, observer, metrics)]
    if not settings.topic_id:
        watch = TopicWatch(admin, settings.topic, topic_id, partitions, clock)
        loop.before_poll.append(watch.poll)
    return Worker(loop, registry, metrics, engine, source)


def _opened(settings: Settings) -> tuple[Bundle, Policy, tuple[str, int], Client]:
    """Bundle, policy, the topic's id and partitions, Redis.

    Raises:
        SettingsError, BundleError, PolicyError: all that is wrong, reported at once.
    """
    problems: list[Exception] = []
    bundle = _try(lambda: load_bundle(settings.bundle), problems)
    named = () if bundle is None else bundle.heads.variables
    policy = _try(lambda: load_policy(settings.policy, named), problems)
    topic = _try(lambda: kafka_topic(settings), problems)
    client = _try(lambda: redis_client(settings), problems)
    if problems or bundle is None or policy is None or topic is None or client is None:
        raise combined(problems)
    return bundle, policy, topic, client


def _reload_policy(watcher: PolicyWatcher, engine: Engine, observer: Observer, metrics: Metrics) -> None:
    """Decide by the policy's file as it is now, if it has changed and is right."""
    refused = watcher.refused
    changed = watcher.poll()
    if watcher.refused > refused:
        metrics.policy_reloads.inc("refused")
    if changed is not None:
        metrics.policy_reloads.inc("ok")
        engine.use_policy(changed)
        observer.use_policy(changed)


def combined(problems: list[Exception]) -> Exception:
    """One error that says everything; of the family that decides the exit code."""
    if len(problems) == 1:
        return problems[0]
    text = "\n".join(str(problem) for problem in problems)
    if any(isinstance(p, BundleError) for p in problems):
        return BundleError(text)
    return (Unsafe if all(isinstance(p, Unsafe) for p in problems) else SettingsError)(text)


def _try(make: Callable[[], T], problems: list[Exception]) -> T | None:
    try:
        return make()
    except (SettingsError, BundleError) as error:
        problems.append(error)
        return None
