"""Which deployment owns a prefix of decisions and an output topic: two that share one mix their decisions.

The first one records itself in Redis. All its workers, reloads, replays and generations are the same deployment, and so
is a topic created anew: it is told by env, group and the name of the clicks topic.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from featurestore.errors import Foreign
from featurestore.store.keys import owner_of_prefix, owner_of_topic
from featurestore.store.redis.connection import Client


class Deployment(NamedTuple):
    """Who decides.

    Attributes:
        env: as in every key.
        group: consumer group.
        topic: of clicks, by its name.
    """

    env: str
    group: str
    topic: str

    def __str__(self) -> str:
        return f"env={self.env} group={self.group} topic={self.topic}"


def claimed(prefix: str, cluster: str, topics: Iterable[str]) -> dict[str, str]:
    """What a deployment owns, in words, and the key that records it.

    Args:
        prefix: of its decisions.
        cluster: Kafka's id, since two clusters may have topics of one name.
        topics: of its outputs.
    """
    return {
        f"decisions at {prefix}*": owner_of_prefix(prefix),
        **{f"topic {topic}": owner_of_topic(cluster, topic) for topic in topics},
    }


def look(client: Client, reader: Deployment, prefix: str) -> None:
    """Refuse to read another deployment's decisions as one's own.

    Raises:
        Foreign: a prefix is recorded for another one.
    """
    found = owner(client, owner_of_prefix(prefix))
    if found is not None and found != reader:
        raise Foreign(
            f"decisions at {prefix}* belong to {found}, and this is {reader}: give CLICKSTAGE_ENV, CLICKSTAGE_GROUP, "
            "CLICKSTAGE_TOPIC and CLICKSTAGE_DECISION_PREFIX as the workers have them"
        )


def claim(client: Client, deployment: Deployment, wanted: Mapping[str, str]) -> None:
    """Record a deployment as owner of what nobody owns yet.

    Args:
        client: answers bytes.
        deployment: the one that starts.
        wanted: see `claimed`.

    Raises:
        Foreign: some of it is another deployment's; it names both.
    """
    for key in wanted.values():
        client.set(key, json.dumps(deployment._asdict()), nx=True)
    owners = {what: owner(client, key) for what, key in wanted.items()}
    taken = {what: who for what, who in owners.items() if who is not None and who != deployment}
    if taken:
        lines = [f"{what} belongs to {who} (recorded at {wanted[what]})" for what, who in taken.items()]
        raise Foreign(
            f"this deployment is {deployment}, but\n  "
            + "\n  ".join(lines)
            + "\ngive this one CLICKSTAGE_DECISION_PREFIX and output topics of its own; if the owner is gone for good, "
            "delete the keys that record it"
        )


def owner(client: Client, key: str) -> Deployment | None:
    """Who is recorded at a key; None for nobody, or something that this release cannot read."""
    stored: Any = client.get(key)
    try:
        return Deployment(**json.loads(stored)) if stored else None
    except (ValueError, TypeError):
        return None
