"""Records that lie in another partition than their key belongs to are noticed, and so is who put them there."""

import zlib
from typing import Any

import pytest
from confluent_kafka import Message

from featurestore.contract.partitioner import partition_of
from tests.unit.worker.pipeline.loop_fakes import FakeClock
from worker.checks.findings import GOOD, VOID
from worker.checks.placement_check import clock_findings, placement_findings
from worker.kafka.placement import Placement, placed
from worker.metrics.metrics import Metrics

N = 12
SESSIONS = [f"session-{n}" for n in range(60)]


def _by_java(session: str) -> int:
    return partition_of(session, N)


def _by_librdkafka(session: str) -> int:
    """Its default: CRC32 of the key."""
    return zlib.crc32(session.encode()) % N


@pytest.mark.issue(20, line=5)
def test_a_producer_with_librdkafkas_default_is_recognised() -> None:
    split = [session for session in SESSIONS if _by_java(session) != _by_librdkafka(session)]
    assert len(split) > 40, "nearly every session is halved"
    for session in SESSIONS:
        assert placed(_by_java(session), [session.encode()], N).misplaced == {}
    for session in split:
        assert placed(_by_librdkafka(session), [session.encode()], N) == (1, {"librdkafka_default": 1})


@pytest.mark.issue(20, line=5, sibling=True)
def test_another_key_than_the_partitions_is_told_apart() -> None:
    session = SESSIONS[0]
    elsewhere = next(p for p in range(N) if p not in {_by_java(session), _by_librdkafka(session)})
    assert placed(elsewhere, [session.encode(), None], N) == (1, {"other": 1})


@pytest.mark.issue(20, line=5)
def test_clickstage_check_says_what_a_sample_shows() -> None:
    right = {p: [s.encode() for s in SESSIONS if _by_java(s) == p] for p in range(N)}
    [fine] = placement_findings(right, N)
    assert (fine.level, "60 records" in fine.what) == (GOOD, True)
    wrong = {p: [s.encode() for s in SESSIONS if _by_librdkafka(s) == p] for p in range(N)}
    [bad] = placement_findings(wrong, N)
    assert (bad.level, "librdkafka_default" in bad.what, "murmur2_random" in bad.remedy) == (VOID, True, True)
    [keyless] = placement_findings({0: [None] * 3}, N)
    assert (keyless.level, "no key" in keyless.what) == (VOID, True)
    assert not list(placement_findings({}, N))


@pytest.mark.issue(20, line=5)
def test_a_worker_counts_a_sample_a_second_and_says_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    metrics, clock = Metrics(), FakeClock()
    placement = Placement(metrics, N, clock)
    messages: dict[int, list[Any]] = {
        3: [Message(topic="t", key=s.encode()) for s in SESSIONS if _by_librdkafka(s) == 3]
    }
    expected = sum(_by_java(s) != 3 for s in SESSIONS if _by_librdkafka(s) == 3)
    placement.look(messages)
    placement.look(messages)
    assert [sample.value for sample in metrics.misplaced_records.family().samples] == [expected, 0]
    assert [sample.value for sample in metrics.placement_checked.family().samples] == [len(messages[3])]
    clock.seconds += 2
    placement.look(messages)
    assert metrics.misplaced_records.family().samples[0].value == 2 * expected
    assert caplog.text.count("belong to another partition") == 1
    assert "session-" not in caplog.text


@pytest.mark.issue(20, line=1, sibling=True)
def test_records_of_the_future_are_told_with_what_comes_late() -> None:
    """A host's fast clock stamps the record and the event: no other figure shows it."""
    [found] = clock_findings(600_000)
    assert "600 s ahead" in found.what
    assert "NTP" in found.remedy
    assert not list(clock_findings(900))
    assert not list(clock_findings(-1))
