"""Who else uses this Redis: workers of one ``env`` share visitors' profiles and erasures, all share decisions.

Each worker notes at its start under which env, group and topic it runs. `clickstage check` reads the notes.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import redis

from featurestore.store.keys import DEPLOYMENTS, Namespace
from featurestore.store.redis.connection import Client
from worker.checks.findings import ADVICE, GOOD, Finding

log = logging.getLogger(__name__)


class Deployment(msgspec.Struct, frozen=True):
    """What a worker noted.

    Attributes:
        topic: of click events.
        started_ms: of its last start, epoch ms.
    """

    topic: str
    started_ms: int


def note_deployment(client: Client, namespace: Namespace, topic: str) -> None:
    """Note that a worker runs under this namespace; where Redis refuses, `clickstage check` knows less."""
    started = Deployment(topic, time.time_ns() // 1_000_000)
    try:
        client.hset(DEPLOYMENTS, _name(namespace), msgspec.json.encode(started).decode())
    except redis.ResponseError as error:
        log.warning("the key %s could not be written (%s): `clickstage check` cannot say who shares this Redis with "
                    "this worker; let its user write cs:*", DEPLOYMENTS, type(error).__name__)  # fmt: skip


def deployments(client: Client) -> dict[str, Deployment]:
    """Everybody's notes, by ``env:group:topic id``; what cannot be read is left out."""
    reply: Any = client.hgetall(DEPLOYMENTS)
    found = {}
    for name, text in reply.items():
        try:
            found[name.decode()] = msgspec.json.decode(text, type=Deployment)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return found


def shared_findings(found: Mapping[str, Deployment], namespace: Namespace, topic: str) -> Iterator[Finding]:
    """What others share with this group.

    Args:
        found: everybody's notes.
        namespace: of this group.
        topic: that it reads.
    """
    alone = True
    for name, other in sorted(found.items()):
        env, _, rest = name.partition(":")
        group, _, topic_id = rest.rpartition(":")
        started = f"last start {datetime.fromtimestamp(other.started_ms / 1000, UTC):%F}"
        if env == namespace.env and group == namespace.group and other.topic == topic:
            continue  # itself, or its topic before it was created anew
        alone = False
        if env == namespace.env:
            yield Finding(
                ADVICE,
                f"env {env} is also that of group {group} on topic {other.topic} ({started}): both share visitors' "
                "profiles, erasures and decision:<session_id>",
                "fine for topics of one shop; give another shop, or a trial, a CLICKSTAGE_ENV and a Redis of its own",
            )
        elif topic_id:
            yield Finding(
                ADVICE,
                f"env {env} (group {group}, topic {other.topic}, {started}) is in this Redis too: both write "
                "decision:<session_id>",
                "give each env a Redis database of its own, unless no session id is in both",
            )
    if alone:
        yield Finding(GOOD, f"nobody else shares the profiles of env {namespace.env}, or this Redis's decisions")


def _name(namespace: Namespace) -> str:
    return f"{namespace.env}:{namespace.group}:{namespace.topic_id}"
