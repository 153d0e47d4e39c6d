"""One process of the edge: its parts, made on the event loop that serves requests, and ended in order."""

import asyncio
import gc
import logging
import multiprocessing
import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from decisions.engine import Engine
from decisions.policy import PolicyWatcher
from decisions.shipped import DEFAULT_POLICY, load_bundle, load_policy
from edge import inbox
from edge.batcher import Batcher
from edge.collector import Collector
from edge.compat import GA4, Segment, Snowplow
from edge.compat.intake import Intake
from edge.decide import Decider
from edge.deciding import Deciding
from edge.document import Presenter
from edge.explain import Explaining
from edge.exposures import Exposures
from edge.gate import Gate
from edge.metrics import EdgeMetrics
from edge.pending import Pending
from edge.publisher import Publisher
from edge.push import Hub, Push
from edge.readiness import Readiness, Works
from edge.reading import Reading
from edge.replay import Replay
from edge.sessions import Sessions
from edge.settings import EdgeSettings
from edge.shops import Shops, demo_shops, load_shops
from edge.spool import Spool
from edge.store import Asked, EdgeStore, Stored
from edge.topic import topic_of_clicks
from edge.watch import Watch
from featurestore.contract.ids import IdKey
from featurestore.contract.pages import Pages
from featurestore.errors import SettingsError, StoreUnavailable
from featurestore.store.cluster.cluster_connection import AWAY
from featurestore.store.connected import session_store
from featurestore.store.deployment import Deployment, look
from featurestore.store.keys import Namespace, decision_key, withdrawn_key
from featurestore.store.protocols import SessionReader, refusal
from featurestore.store.redis.connection import Client, connect_any

log = logging.getLogger(__name__)

MOST_READS: Final = 500
MOST_WAITING: Final = 20_000
EVERY_S: Final = 1.0
KAFKA_AGAIN_S: Final = 3.0
FOLLOW_S: Final = 15.0
"""Between two looks at whose keys the workers use; each asks Kafka and Redis by connections of its own."""
CLOSE_S: Final = 5.0
GC_THRESHOLDS: Final = 200_000, 50, 1_000
"""As the worker's: records that wait for Kafka are no garbage, and there are many."""
SWITCH_S: Final = 0.0005
"""How long a thread may keep the interpreter from another: the loop waits for the deciding thread, and the other way
round. Python's 5 ms would be most of a request."""


class Service:
    """The parts of one process.

    Args:
        settings: of the edge.
        metrics_directory: where the processes keep their metrics and readiness; "" for one process alone.
    """

    def __init__(self, settings: EdgeSettings, metrics_directory: str = "") -> None:
        self.settings = settings
        inbox.warm_up()
        self.metrics = EdgeMetrics(metrics_directory)
        self.readiness = Readiness(metrics_directory, settings.edge_processes)
        self.ids = IdKey.of(settings.id_key.get_secret_value())
        self._bundle = load_bundle(settings.bundle)
        policy = load_policy(settings.policy, self._bundle.heads.variables)
        loop = asyncio.get_running_loop()
        self._policy_watch = PolicyWatcher(settings.policy or DEFAULT_POLICY, policy, loop.time)
        presenter = Presenter(policy)
        self.store = EdgeStore(self._connect, settings.env, self.ids, settings.buckets, settings.decision_prefix)
        self.pending = Pending()
        self.reads: Batcher[Asked, Stored] = Batcher("edge-read", self.store.read, MOST_READS, MOST_WAITING)
        self._marks = EdgeStore(self._connect, settings.env, self.ids, settings.buckets, settings.decision_prefix)
        self._withdrawals: Batcher[tuple[str, int], None] = Batcher(
            "edge-withdraw", self._marks.withdraw, MOST_READS, MOST_WAITING
        )
        self.gate = Gate(settings, shops_of(settings), self._is_withdrawn)
        self.spool = spool_of(settings)
        self.publisher = Publisher(settings.kafka_client(), self.spool, settings.edge_patience_s)
        self._replay = Replay(settings.kafka_client(), self.spool, settings.edge_patience_s) if self.spool else None
        self.hub = Hub(
            self._keys,
            lambda told: Watch(self._connect, told),
            presenter,
            self.metrics,
            settings.edge_streams_most,
            settings.edge_heartbeat_s,
        )
        self.deciding = Deciding(self.reads, self.pending, self.hub, presenter, lambda: self.store.decisions_follow)
        self._decider: Decider | None = None
        self._kafka_was_asked = False
        self.collector = Collector(settings, self.gate, self.publisher, self.pending, self.metrics, self.deciding)
        self.sessions = Sessions(settings, self.gate, self.publisher, self._withdrawals, self.hub)
        self.exposures = Exposures(settings, self.gate, self.publisher, self.ids)
        intake = Intake(settings, self.gate, self.collector)
        self.ga4, self.segment, self.snowplow = GA4(intake), Segment(intake), Snowplow(intake)
        self.reading = Reading(self.gate, self.reads, self.pending, presenter, self.metrics)
        self.push = Push(self.gate, self.hub)
        self.explaining = (
            Explaining(self.gate, settings.buckets, self.ids, lambda: self.reading.presenter)
            if settings.edge_storefront
            else None
        )
        self._counted = {"spooled": 0, "replayed": 0}
        self._tasks = [loop.create_task(self._follow_topic()), loop.create_task(self._each_second())]

    async def close(self) -> None:
        """Deliver or spool what is under way, and end the threads."""
        for task in self._tasks:
            task.cancel()
        self.hub.close()
        await self.publisher.close(CLOSE_S)
        await asyncio.to_thread(self._close_threads)

    def _close_threads(self) -> None:
        if self._replay is not None:
            self._replay.close(CLOSE_S)
        self.deciding.close()
        self.reads.close()
        self._withdrawals.close()

    def works(self) -> Works:
        """What works in this process.

        At the start the spool alone does not count: until Kafka has been asked once, it may decide in a moment.
        """
        kafka = self.store.namespace is not None and not self.publisher.away
        spools = self.spool is not None and (self._kafka_was_asked or self.store.namespace is not None)
        return Works(kafka or spools, kafka, self.deciding.ready)

    async def _is_withdrawn(self, session_id: str) -> bool:
        return (await self.reads.ask(Asked(session_id))).withdrawn

    def _keys(self, session_id: str) -> tuple[str, str]:
        name = self.ids.session(session_id)
        return decision_key(name, self.settings.decision_prefix), withdrawn_key(self.settings.env, name)

    def _connect(self) -> Client:
        client = connect_any(self.settings.redis.get_secret_value(), timeout_s=self.settings.edge_redis_wait_s)
        client.ping()
        return client

    async def _follow_topic(self) -> None:
        """Ask Kafka and Redis again and again whose keys the workers use; nothing is decided before they have answered.

        A topic made anew, partitions that were added and `clickstage reprocess` change it.
        """
        known: tuple[Namespace, int] | None = None
        while True:
            try:
                found = await asyncio.to_thread(self._namespace)
                if found != known:
                    self.store.namespace = found[0]
                    self._decider = await asyncio.to_thread(self._make_decider, *found)
                    self.deciding.use(self._decider)
                    if known is None:
                        _settle_down()
                    else:
                        self.pending.clear()
                        log.info("the topic of clicks, its partitions or the generation changed; decisions follow")
                    known = found
            except SettingsError as error:
                if known is None:
                    log.error("%s; trying again", error)  # noqa: TRY400 - the message is the report
            except AWAY as error:
                if known is None:
                    log.warning("Kafka or Redis is not ready (%s); trying again", refusal(error))
            self._kafka_was_asked = True
            await asyncio.sleep(KAFKA_AGAIN_S if known is None else FOLLOW_S)

    def _namespace(self) -> tuple[Namespace, int]:
        settings = self.settings
        topic_id, partitions = topic_of_clicks(settings)
        namespace = Namespace(settings.env, settings.group, topic_id, prefix=settings.decision_prefix)
        client = self._connect()
        look(client, Deployment(settings.env, settings.group, settings.topic), settings.decision_prefix)
        stored: Any = client.get(namespace.generation_key())
        return replace(namespace, generation=int(stored or 0)), partitions

    def _make_decider(self, namespace: Namespace, partitions: int) -> Decider:
        settings = self.settings
        engine = Engine.of(self._bundle, self._policy_watch.policy, namespace, outcomes=settings.outcomes)
        engine.warm_up()

        def reader() -> SessionReader:
            return session_store(self._connect(), namespace)

        if self.explaining is not None:
            self.explaining.use(self._bundle, self._policy_watch.policy, reader, partitions)
        decider = Decider(
            engine,
            reader,
            partitions,
            settings.buckets,
            self.ids,
            self.metrics,
            Pages.of(settings.page_parameters),
        )
        with suppress(StoreUnavailable):  # it connects when it is asked
            decider.warm_up()
        return decider

    async def _each_second(self) -> None:
        parent = os.getppid()
        while True:
            await asyncio.sleep(EVERY_S)
            if multiprocessing.parent_process() is not None and os.getppid() != parent:
                # The process that started us was killed: its port would stay taken.
                os.kill(os.getpid(), signal.SIGTERM)
            self.metrics.flush()
            self.readiness.tell(self.works())
            changed = self._policy_watch.poll()
            if changed is not None:
                self.reading.presenter = self.hub.presenter = self.deciding.presenter = Presenter(changed)
                if self._decider is not None:
                    self._decider.use_policy(changed)
            self._count("spooled", self.publisher.spooled)
            if self._replay is not None and self.spool is not None:
                self._count("replayed", self._replay.replayed)
                waits = self.spool.waiting()
                self.metrics.spool_bytes.set(await asyncio.to_thread(self.spool.size_bytes) if waits else 0)

    def _count(self, name: str, total: int) -> None:
        counter = self.metrics.spooled if name == "spooled" else self.metrics.replayed
        counter.inc(total - self._counted[name])
        self._counted[name] = total


def _settle_down() -> None:
    """What was made so far stays: the collector need not look at it again. Threads take turns of half a millisecond."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)


def shops_of(settings: EdgeSettings) -> Shops:
    """The shops of the file, or the demo's.

    Raises:
        SettingsError: the file is wrong.
    """
    if settings.edge_keys is not None:
        return load_shops(settings.edge_keys)
    return demo_shops(settings.edge_secret.get_secret_value())


def spool_of(settings: EdgeSettings) -> Spool | None:
    """The spool, None where there is to be none.

    Raises:
        SettingsError: its directory cannot be made or written.
    """
    if settings.edge_spool is None:
        return None
    directory = Path(settings.edge_spool)
    try:
        spool = Spool(directory, settings.edge_spool_mb << 20)
        if not os.access(directory, os.W_OK):
            raise PermissionError
    except OSError as error:
        raise SettingsError(
            f"CLICKSTAGE_EDGE_SPOOL: {directory} cannot be written ({type(error).__name__}); check path and rights"
        ) from None
    return spool
