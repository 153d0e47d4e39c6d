"""``clickstage check``: partitions that are held, since too many of their records are no events."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from featurestore.store.keys import Namespace, Shard
from featurestore.store.redis.connection import Client
from featurestore.store.refusals import PASSES, REFUSED, Refused, refused_of
from worker.checks.findings import GOOD, VOID, Finding
from worker.partitions.refusals import Refusals


def refused_by_partition(client: Client, namespace: Namespace, numbers: Iterable[int]) -> dict[int, Refused]:
    """What was refused of each partition, as its owner noted it."""
    found = {}
    for number in numbers:
        reply: Any = client.hmget(namespace.meta(Shard(number)), [REFUSED, PASSES])
        found[number] = refused_of(reply)
    return found


def held_findings(found: Mapping[int, Refused], share: float, consecutive: int) -> Iterator[Finding]:
    """Which partitions are held, where, since when and why.

    Args:
        found: of each partition.
        share: largest share of bad records among the last 1,000.
        consecutive: most bad records in a row.
    """
    held = 0
    for number, refused in found.items():
        refusals = Refusals(share, consecutive, refused)
        if refusals.held_at() is None:
            continue
        held += 1
        since = f"{datetime.fromtimestamp((refused.note.since_ms if refused.note else 0) / 1000, UTC):%F %TZ}"
        yield Finding(
            VOID,
            f"partition {number} is held at offset {refusals.held_at()} since {since}: {refusals.why()}",
            "look at `clickstage dlq list` and at the producer, then "
            f"`clickstage dlq pass --partition {number}` lets what is there pass",
        )
    if not held:
        yield Finding(GOOD, f"no partition is held (per partition: {consecutive} bad in a row, {share:.0%} of 1,000)")
