"""What the edge reads of Redis: decisions, and whose session was withdrawn. Blocks; `Batcher` calls it.

It writes one thing: the mark of a withdrawal, so that every edge refuses that session's token.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import redis

from featurestore.columns.hashing import hash_text
from featurestore.contract.ids import IdKey
from featurestore.errors import ClickstageError, StoreUnavailable
from featurestore.store.cluster.cluster_connection import AWAY
from featurestore.store.keys import Namespace, Shard, decision_key, withdrawn_key
from featurestore.store.protocols import unavailable
from featurestore.store.redis.connection import Client

log = logging.getLogger(__name__)

PAUSE_S: Final = 0.2
"""After a failure everybody is told so for this long; a page waits once, not once a request."""


class Asked(NamedTuple):
    """Whose decision is wanted; with a partition also how far the worker has come there, -1 for none."""

    session_id: str
    partition: int = -1


class Stored(NamedTuple):
    """What is stored for a session; ``applied`` is the offset that its shard has come to, -1 where it is not known."""

    document: bytes | None
    withdrawn: bool
    applied: int


class Outage:
    """Says in the log that Redis fails, once for each reason of an outage: pages see no more than an older decision."""

    def __init__(self) -> None:
        self._said = ""

    def began(self, error: StoreUnavailable) -> StoreUnavailable:
        """A call failed; its error."""
        if (text := str(error)) != self._said:
            log.warning("%s", text)
        self._said = text
        return error

    def over(self) -> None:
        """A call was answered."""
        if self._said:
            log.info("Redis answers again")
        self._said = ""


class EdgeStore:
    """One client of Redis, made when it is first needed and again when it cannot be made.

    Args:
        connect: makes a client that has answered.
        env: of the deployment.
        ids: of the workers; turns a session id into what the keys hold.
        buckets: of a partition.
        prefix: of the decisions' keys.

    Attributes:
        namespace: whose keys the workers use; None while Kafka has not said which topic that is.
    """

    def __init__(self, connect: Callable[[], Client], env: str, ids: IdKey, buckets: int, prefix: str) -> None:
        self._connect = connect
        self._env = env
        self._ids = ids
        self._buckets = buckets
        self._prefix = prefix
        self.namespace: Namespace | None = None
        self._client: Any = None
        self._away_until = 0.0
        self._outage = Outage()

    @property
    def decisions_follow(self) -> bool:
        """Whether a decision can be read only a moment after its session's state: on a Cluster it has another slot."""
        return isinstance(self._client, redis.RedisCluster)

    def read(self, asked: Sequence[Asked]) -> list[Stored]:
        """What is stored for each session.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        names = [self._ids.session(session) for session, _ in asked]
        metas = [self._meta(name, partition) for name, (_, partition) in zip(names, asked, strict=True)]

        def fill(pipe: Any) -> None:
            for name, meta in zip(names, metas, strict=True):
                pipe.get(decision_key(name, self._prefix))
                pipe.exists(withdrawn_key(self._env, name))
                if meta:
                    pipe.hget(meta, "applied")

        answers = iter(self._asked(fill))
        # A decision is read before its shard's offset: what that counts as applied, the decision may lack by a moment.
        return [Stored(next(answers), bool(next(answers)), int((meta and next(answers)) or -1)) for meta in metas]

    def _meta(self, name: str, partition: int) -> str:
        if partition < 0 or self.namespace is None:
            return ""
        return self.namespace.meta(Shard(partition, hash_text(name) % self._buckets))

    def withdraw(self, marks: Sequence[tuple[str, int]]) -> list[None]:
        """Refuse these sessions' tokens for so many seconds.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        keys = [(withdrawn_key(self._env, self._ids.session(session)), life_s) for session, life_s in marks]
        self._asked(lambda pipe: [pipe.set(key, b"1", ex=life_s) for key, life_s in keys])
        return [None] * len(keys)

    def answers(self) -> bool:
        """Whether Redis answers now."""
        try:
            self._asked(lambda pipe: pipe.ping())
        except StoreUnavailable:
            return False
        return True

    def _asked(self, fill: Callable[[Any], Any]) -> list[Any]:
        if time.monotonic() < self._away_until:
            raise StoreUnavailable("Redis did not answer a moment ago; will retry")
        try:
            if self._client is None:
                self._client = self._connect()
            pipe = self._client.pipeline(transaction=False)
            fill(pipe)
            answers: list[Any] = pipe.execute()
        except ClickstageError as error:
            raise self._failed(StoreUnavailable(str(error))) from None
        except AWAY as error:
            raise self._failed(unavailable(error, "reading decisions or marking a withdrawal")) from None
        self._outage.over()
        return answers

    def _failed(self, error: StoreUnavailable) -> StoreUnavailable:
        self._away_until = time.monotonic() + PAUSE_S
        return self._outage.began(error)
