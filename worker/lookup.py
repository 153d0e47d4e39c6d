"""Finds a session as a worker stores it, for the commands that look or erase."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from decisions.document import Decision, decode_decision
from featurestore.columns.hashing import hash_text
from featurestore.contract.ids import IdKey
from featurestore.errors import CorruptRecord, SettingsError
from featurestore.session.codec import unpack
from featurestore.store.cluster.cluster_connection import AWAY
from featurestore.store.keys import Namespace, Shard, shard_of
from featurestore.store.protocols import unavailable
from featurestore.store.redis.connection import Client
from featurestore.store.set_aside import SetAside, decode
from worker.settings import TOPICS, Settings
from worker.wiring import kafka_topic, namespace_of, redis_client

log = logging.getLogger(__name__)

ACCESS: Final = (
    "kafka",
    "kafka_config",
    "kafka_password",
    "kafka_key_password",
    "kafka_password_file",
    "redis",
    "redis_timeout_s",
    "group",
    "env",
    "decision_prefix",
    *TOPICS,
    "topic_id",
    "buckets",
    "id_key",
)
"""The settings that say where sessions are."""


@dataclass(slots=True)
class Found:
    """What one shard has of a session.

    Attributes:
        session_id: as stored, so hashed where ids are hashed at the edge.
        shard: where it rests; None where there is no state.
        state: one row of `STATE`, and its policy memory; empty where there is no state.
        deadline: where it stands in the idle index, epoch ms: its silence, or its end if it is quiet; None for nowhere.
        decision: the session's current one, of whichever shard; None if there is none.
        corrupt: whether the state cannot be read; the session begins anew with its next event.
        set_aside: what workers could not read of it.
    """

    session_id: str
    shard: Shard | None
    state: NDArray[np.void]
    memory: NDArray[np.void]
    stored_bytes: int
    deadline: int | None
    decision: Decision | None
    corrupt: bool = False
    set_aside: list[SetAside] = field(default_factory=list)


class Lookup:
    """Access to the keys of one group.

    Raises:
        SettingsError: Kafka (for the topic's id) or Redis cannot be reached, or the topic is missing.
    """

    def __init__(self, settings: Settings) -> None:
        topic_id, self.partitions = kafka_topic(settings)
        self.client = redis_client(settings)
        self.namespace = namespace_of(settings, self.client, topic_id)
        self.shards = [Shard(p, b) for p in range(self.partitions) for b in range(settings.buckets)]

        self._ids = IdKey.of(settings.id_key.get_secret_value())
        self._buckets = settings.buckets

    def home(self, sent: str) -> Shard:
        """The shard of a session, by its id as the shop sends it."""
        return shard_of(sent, self.partitions, self._buckets, self._ids.session(sent))

    def find(self, sent: str) -> list[Found]:
        """What is stored of a session, shard by shard, that of its own first; one round trip.

        More than one part means that its producers partition by different rules: each shard has some of its events.
        There is always one: of a session of which nothing is stored, its own shard's.

        Args:
            sent: its id as the shop sends it.

        Raises:
            StoreUnavailable: Redis failed.
        """
        session_id = self._ids.session(sent)
        home = self.home(sent)
        shards = [home, *(shard for shard in self.shards if shard != home)]
        try:
            pipe = self.client.pipeline(transaction=False)
            pipe.get(self.namespace.decision(session_id))
            for shard in shards:
                pipe.hget(self.namespace.states(shard), session_id)
                pipe.zscore(self.namespace.idle(shard), session_id)
                pipe.lrange(self.namespace.set_aside(shard), 0, -1)
            answers: list[Any] = pipe.execute()
        except AWAY as error:
            raise unavailable(error, "looking for a session") from None
        decision = decode_decision(answers[0], session_id) if answers[0] else None
        parts = [
            self._part(session_id, shard, decision, *answers[1 + 3 * i : 4 + 3 * i]) for i, shard in enumerate(shards)
        ]
        return [part for part in parts if part.shard is not None or part.set_aside] or parts[:1]

    def _part(
        self,
        session_id: str,
        shard: Shard,
        decision: Decision | None,
        blob: bytes | None,
        score: float | None,
        kept: Sequence[bytes],
    ) -> Found:
        found = [blob] if blob else []
        states, memory, corrupt = unpack(found, [hash_text(session_id)] * len(found))
        if corrupt.size:
            states, memory = states[:0], memory[:0]
        # A quiet session is in the list of an expiry bucket, whose number its state knows better.
        stands = [at for at in (score, *states["armed"].tolist()) if at]
        return Found(
            session_id,
            shard if blob else None,
            states,
            memory,
            len(blob or b""),
            int(stands[0]) if stands else None,
            decision,
            corrupt=bool(corrupt.size),
            set_aside=[one for one in self._readable(kept) if one.name == session_id],
        )

    def set_aside(self) -> list[SetAside]:
        """All that workers could not read, shard by shard, oldest first.

        Raises:
            StoreUnavailable: Redis failed.
        """
        try:
            pipe = self.client.pipeline(transaction=False)
            for shard in self.shards:
                pipe.lrange(self.namespace.set_aside(shard), 0, -1)
            answers: list[Any] = pipe.execute()
        except AWAY as error:
            raise unavailable(error, "looking for what was set aside") from None
        return [one for part in answers for one in self._readable(part)]

    @staticmethod
    def _readable(stored: Sequence[bytes]) -> Iterator[SetAside]:
        for entry in stored:
            with suppress(CorruptRecord):
                yield decode(entry)


def known_buckets(settings: Settings, client: Client, namespace: Namespace) -> None:
    """Refuse another bucket count than the keys were made for.

    Raises:
        SettingsError: naming the setting.
    """
    stored: Any = client.get(namespace.partitions())
    if stored is not None and f'"buckets": {settings.buckets}' not in stored.decode():
        raise SettingsError(f"the keys of this group were made for {stored.decode()}: set CLICKSTAGE_BUCKETS to match")
