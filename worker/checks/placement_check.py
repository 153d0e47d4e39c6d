"""``clickstage check``: a sample of the topic's newest records: where they lie, and when they claim to be."""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Final, NamedTuple

from confluent_kafka import KafkaException

from featurestore.errors import Unsafe
from worker.checks.findings import ADVICE, GOOD, VOID, Finding
from worker.kafka.placement import REMEDY, placed
from worker.kafka.reading import bounds, reader, records
from worker.kafka.unreadable import Unreadable
from worker.settings import Settings

NEWEST: Final = 50
"""Records of each partition that are read, at most."""
AHEAD_MS: Final = 1_000
"""Clocks of machines that run NTP differ by less."""


class Sample(NamedTuple):
    """The newest records of a topic.

    Attributes:
        keys: by partition.
        ahead_ms: by how much the record that is furthest ahead of this machine's clock is; below 0 where none is.
    """

    keys: dict[int, list[bytes | None]]
    ahead_ms: int


def clock_findings(ahead_ms: int) -> Iterator[Finding]:
    """What record times in the future mean. If `ts` is ahead too, the histogram of clocks does not show it."""
    if ahead_ms > AHEAD_MS:
        yield Finding(
            ADVICE,
            f"records are up to {ahead_ms / 1_000:.0f} s ahead of this machine's clock: silence and session ends "
            "come late by as much",
            "run NTP on brokers, producers and workers",
        )


def placement_findings(keys: Mapping[int, Sequence[bytes | None]], partitions: int) -> Iterator[Finding]:
    """What the keys of a sample of records mean, by the partition in which they lie."""
    found = [placed(partition, part, partitions) for partition, part in keys.items()]
    checked = sum(one.checked for one in found)
    misplaced = sum(sum(one.misplaced.values()) for one in found)
    unkeyed = sum(map(len, keys.values())) - checked
    if misplaced:
        by = ", ".join(sorted({who for one in found for who in one.misplaced}))
        what = f"{misplaced} of {checked} records lie in another partition than their key belongs to ({by})"
        yield Finding(VOID, what + ": sessions are split", REMEDY)
    elif checked:
        yield Finding(GOOD, f"the newest {checked} records lie where their keys belong")
    if unkeyed:
        yield Finding(
            VOID,
            f"{unkeyed} records have no key: the events of a session lie anywhere",
            "produce with session_id as key",
        )


def sampled(settings: Settings, partitions: int) -> Sample:
    """The newest records of the topic.

    Raises:
        KafkaException: this user may not read, or Kafka does not answer.
        Unsafe: Kafka stopped answering.
    """
    keys: dict[int, list[bytes | None]] = {}
    ahead_ms = -1
    with closing(reader(settings, f"clickstage-check-{uuid.uuid4().hex[:8]}")) as consumer:
        whole = bounds(consumer, settings.topic, list(range(partitions)))
        newest = {p: (max(low, high - NEWEST), high) for p, (low, high) in whole.items()}
        for message in records(consumer, settings, settings.topic, newest):
            if not isinstance(message, Unreadable):
                keys.setdefault(message.partition(), []).append(message.key())
                ahead_ms = max(ahead_ms, message.timestamp()[1] - time.time_ns() // 1_000_000)
    return Sample(keys, ahead_ms)


def look_at_placement(settings: Settings, partitions: int) -> list[Finding]:
    """The findings of a sample; says so where it cannot be read."""
    try:
        sample = sampled(settings, partitions)
        return [*placement_findings(sample.keys, partitions), *clock_findings(sample.ahead_ms)]
    except KafkaException as error:
        what = f"no sample of the topic could be read ({error.args[0].name()})"
        return [Finding(ADVICE, what, "let this user READ the topic")]
    except Unsafe as error:
        return [Finding(ADVICE, f"no sample of the topic could be read: {error}")]
