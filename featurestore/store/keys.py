"""Every Redis key, its type and its life.

| key | type | holds | life |
|---|---|---|---|
| ``cs:{<namespace>:<partition>:<bucket>}:meta`` | hash | ``epoch`` of the owner, ``applied`` offset | 14 days |
| ``cs:{…}:states`` | hash | session id → stored session (`codec`) | a field until its session ends |
| ``cs:{…}:idle`` | zset | session id → deadline of its silence, epoch ms | with the state |
| ``cs:{…}:ends`` | zset | expiry buckets that have a list, by their number | 14 days |
| ``cs:{…}:ends:<slot>`` | list | ids of sessions that end then, or did not | until the slot has passed; 14 days |
| ``cs:{…}:outboxes`` | list | what the last batches produce (`outbox`), oldest first | until Kafka has it; 14 days |
| ``cs:{…}:set_aside`` | list | what could not be read (`set_aside`), the latest 1,000 | 7 days, or an erasure |
| ``cs:{…}:pending`` | hash | on a Cluster: what the last batch writes to other slots | until it is there; 14 days |
| ``cs:{…}:pending:before`` | hash | the same of the batch before it | the same |
| ``cs:<env>:visitor:<hash>`` | string | profile (`visitors`) | 30 days after the visitor's last session |
| ``cs:<env>:partitions:<group>:<topic id>`` | string | the partition count that the keys were made under | for ever |
| ``cs:<env>:generation:<group>:<topic id>`` | string | how often `clickstage reprocess` was run | for ever |
| ``cs:deployments`` | hash | which env, group and topic workers were started under | for ever |
| ``cs:<env>:erased`` | hash | `tombstones`: events older than an erasure are ignored | 15 days after the last one |
| ``decision:<session id>`` | string | decision document; the prefix is the deployment's | until the session ends |
| ``cs:owner:decisions:<prefix>`` | string | the `deployment` whose decisions have that prefix, JSON | for ever |
| ``cs:owner:topic:<Kafka's id>:<topic>`` | string | the deployment that produces to an output topic, JSON | for ever |
| ``cs:<env>:withdrawn:<session id>`` | string | the edge: consent was withdrawn, its token is refused | a token's |
| ``cs:<env>:gone:{<tag>}:<key>`` | string | on a Cluster: that key was deleted | a decision's life and a minute |

The namespace is ``env:group:schema:topic_id`` (``schema.generation`` after `clickstage reprocess`): a re-created topic,
another group never meets old offsets. The keys of one bucket of a partition share a hash tag,
so that one script may touch them on Redis Cluster. The tag of a ``gone`` key puts it into the slot of the key it names.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from featurestore.contract.partitioner import bucket_of, partition_of
from featurestore.versions import RECORD_VERSION

KEY_SCHEMA: Final = 1
"""Which keys there are and what type each has. Versions of records do not change it: old and new workers share keys."""
SHARD_TTL_S: Final = 14 * 86_400
VISITOR_TTL_S: Final = 30 * 86_400
ERASED_TTL_S: Final = 15 * 86_400
"""Longer than `SHARD_TTL_S` and than Kafka should keep clicks: what it blocks must be gone before it."""
DECISION_PREFIX: Final = "decision:"
DEPLOYMENTS: Final = "cs:deployments"
"""Hash: ``env:group:topic id`` → which topic, and when a worker last started."""


class Shard(NamedTuple):
    """What one fenced script covers: a partition, or on Redis Cluster one bucket of it."""

    partition: int
    bucket: int = 0


def shard_of(session_id: str, partitions: int, buckets: int, stored: str | None = None) -> Shard:
    """Where a session rests, if its events were produced with Kafka's own partitioner.

    Args:
        session_id: as it was sent, the key of its records.
        partitions: of the topic.
        buckets: a partition.
        stored: the id under which workers store it, where ids are hashed on the way in.
    """
    return Shard(partition_of(session_id, partitions), bucket_of(stored or session_id, buckets))


@dataclass(frozen=True, slots=True)
class Namespace:
    """Whose keys these are, and in which version records are written under them.

    Attributes:
        env: deployment.
        group: consumer group.
        topic_id: of the clicks topic.
        schema: see `KEY_SCHEMA`.
        generation: how often `clickstage reprocess` was run.
        write_version: of what is written (`versions`); no part of any key.
        prefix: of the decisions' keys; ends with a colon.
    """

    env: str
    group: str
    topic_id: str
    schema: int = KEY_SCHEMA
    generation: int = 0
    write_version: int = RECORD_VERSION
    prefix: str = DECISION_PREFIX

    def __str__(self) -> str:
        generation = f".{self.generation}" if self.generation else ""
        return f"{self.env}:{self.group}:{self.schema}{generation}:{self.topic_id}"

    @property
    def source(self) -> str:
        """What documents name the topic by: eight base64 characters of its id, 48 bits.

        A deployment with a prefix of its own adds it, so that its documents are not taken for another one's.
        """
        own = "" if self.prefix == DECISION_PREFIX else "." + self.prefix.removesuffix(":")
        return self.topic_id[:8] + own

    def decision(self, session_id: str) -> str:
        """Where the front end reads."""
        return self.prefix + session_id

    def meta(self, shard: Shard) -> str:
        """Hash with the fence of a shard."""
        return self._key(shard, "meta")

    def states(self, shard: Shard) -> str:
        """Hash of the shard's sessions."""
        return self._key(shard, "states")

    def idle(self, shard: Shard) -> str:
        """Sorted set of the deadlines of the shard's sessions that await their silence."""
        return self._key(shard, "idle")

    def ends(self, shard: Shard) -> str:
        """Sorted set of the expiry buckets in which sessions of the shard end."""
        return self._key(shard, "ends")

    def ending(self, shard: Shard, slot: int) -> str:
        """List of the sessions that end in a slot; scripts spell it as well."""
        return f"{self.ends(shard)}:{slot}"

    def outboxes(self, shard: Shard) -> str:
        """What the shard's last batch produces."""
        return self._key(shard, "outboxes")

    def cross_slot_outbox(self, shard: Shard) -> str:
        """What the shard's last batch writes to other slots."""
        return self._key(shard, "pending")

    def cross_slot_outbox_before(self, shard: Shard) -> str:
        """What the batch before that writes to other slots."""
        return self._key(shard, "pending:before")

    def set_aside(self, shard: Shard) -> str:
        """List of records that could not be read (`set_aside`)."""
        return self._key(shard, "set_aside")

    def never(self, shard: Shard) -> str:
        """A key that is never there: a script that names it does not run while its slot moves on a Cluster."""
        return self._key(shard, "never")

    def all_of(self, shard: Shard) -> list[str]:
        """Every key of a shard but the lists that `ends` names; they share a slot."""
        parts = (
            self.meta,
            self.states,
            self.idle,
            self.ends,
            self.outboxes,
            self.set_aside,
            self.cross_slot_outbox,
            self.cross_slot_outbox_before,
        )
        return [part(shard) for part in parts]

    def gone(self, key: str) -> str:
        """Beside a decision or a profile, in its slot: that it was deleted."""
        return f"cs:{self.env}:gone:{{{_tags()[slot_of(key)]}}}:{key}"

    def visitor(self, visitor: int) -> str:
        """A visitor's profile; the id is a 64-bit hash already."""
        return f"cs:{self.env}:visitor:{visitor:016x}"

    def partitions(self) -> str:
        """The partition count on record."""
        return f"cs:{self.env}:partitions:{self.group}:{self.topic_id}"

    def generation_key(self) -> str:
        """How often the group was told to read its topic again."""
        return f"cs:{self.env}:generation:{self.group}:{self.topic_id}"

    def erased(self) -> str:
        """Tombstones of erased sessions and visitors; of the whole deployment, so that no namespace resurrects them."""
        return f"cs:{self.env}:erased"

    def _key(self, shard: Shard, part: str) -> str:
        return f"cs:{{{self}:{shard.partition}:{shard.bucket}}}:{part}"


def decision_key(session_id: str, prefix: str = DECISION_PREFIX) -> str:
    """Where the front end reads."""
    return prefix + session_id


def owner_of_prefix(prefix: str) -> str:
    """Whose decisions have a prefix."""
    return f"cs:owner:decisions:{prefix}"


def owner_of_topic(cluster: str, topic: str) -> str:
    """Which deployment produces to a topic of a Kafka cluster."""
    return f"cs:owner:topic:{cluster}:{topic}"


def withdrawn_key(env: str, session_id: str) -> str:
    """Marks a session whose shopper withdrew consent at the edge."""
    return f"cs:{env}:withdrawn:{session_id}"


def slot_of(key: str) -> int:
    """The slot of a key on Redis Cluster."""
    return int(key_slot(key.encode()))


@cache
def _tags() -> list[str]:
    """For each slot a text that hashes to it; any key may hold braces, so a key is no tag for its neighbour."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < REDIS_CLUSTER_HASH_SLOTS:
        tag = str(number)
        found.setdefault(int(key_slot(tag.encode())), tag)
        number += 1
    return [found[slot] for slot in range(REDIS_CLUSTER_HASH_SLOTS)]
