"""The identity check: its log is the same each time and full of every kind, and it sees what differs."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from tests.identity import compare as comparing
from tests.identity.log import DRAINS, PAUSE_MS, Log, Record, make_log
from tests.identity.shoppers import TYPES, Draft
from tests.identity.steady import ENDED_MS, SILENCE_MS, effective_ms, steady

SCHEMA = Path(__file__).parents[3] / "docs" / "schemas" / "event.schema.json"


@pytest.fixture(scope="module")
def log() -> Log:
    return make_log([], 5_000, 7)


def events(log: Log) -> list[tuple[Record, dict[str, Any]]]:
    """The records that are events of the generator's own, with what they say."""
    records = [record for phase in log.phases for record in phase]
    return [(r, json.loads(r.value)) for r in records if r.value and not r.key.startswith(b"bad-")]


def test_one_seed_makes_one_log(log: Log) -> None:
    """The same bytes at each call; another seed makes another log."""
    assert make_log([], 5_000, 7) == log
    assert make_log([], 5_000, 8).phases != log.phases


def test_the_log_has_everything_that_the_contract_allows(log: Log) -> None:
    """All types and fields of c8d4f88, which the contract still has since it only grows, and something of each kind."""
    schema = json.loads(SCHEMA.read_text())
    assert len(TYPES) == 25
    assert set(TYPES) <= set(schema["properties"]["type"]["examples"])
    used = {name for _, event in events(log) for name in event} - {"colour"}
    assert len(used) == 20
    assert used <= set(schema["properties"])
    assert all(log.counts.values()), [name for name, count in log.counts.items() if not count]
    assert {erasure.who for part in log.erasures.values() for erasure in part} == {"session", "visitor"}


def test_records_stand_in_their_phase_and_leave_room_for_erasures(log: Log) -> None:
    """Times never go back; a drain and the erasures after it lie between the records of two phases."""
    times = [record.at for phase in log.phases for record in phase]
    assert all(before <= after for before, after in pairwise(times))
    for drain, (before, after) in zip(DRAINS, pairwise(log.phases), strict=True):
        assert before[-1].at < drain
        assert after[0].at >= drain + PAUSE_MS
    assert all(0 <= e.at - DRAINS[phase - 1] < PAUSE_MS for phase, part in log.erasures.items() for e in part)


def test_no_old_event_comes_after_a_deadline_of_its_session(log: Log) -> None:
    """Else its silence might be decided before it, or not: that depends on the batches."""
    last: dict[str, int] = {}
    old = 0
    for record, event in events(log):
        t = effective_ms(Draft(record.at, "", event))
        name = event["session_id"]
        if t < record.at and name in last:
            old += 1
            assert record.at < last[name] + SILENCE_MS
        last[name] = max(last.get(name, t), t)
    assert old, "the log has late events"


def test_a_visitor_comes_again_only_after_a_drain() -> None:
    """What a session knows of earlier visits must be written before it begins."""
    visit = [Draft(at, name, {"session_id": name, "type": "click", "ts": at, "visitor_id": "v"}) for at, name in VISITS]
    kept = {draft.key for draft in steady(visit, [DRAIN]) if draft.event is not None and "visitor_id" in draft.event}
    assert kept == {"first", "after the drain"}


DRAIN = 10_000_000
VISITS = [
    (DRAIN - ENDED_MS, "first"),
    (DRAIN - 1, "beside the first"),
    (DRAIN + 1, "after the drain"),
    (DRAIN + 2 * ENDED_MS, "no drain since"),
]


class Said:
    """A Kafka message as far as the comparison looks at it."""

    def __init__(self, **told: Any) -> None:
        self._value = json.dumps(told, separators=(",", ":")).encode()

    def value(self) -> bytes:
        return self._value

    def key(self) -> bytes:
        return b"k"

    def partition(self) -> int:
        return 0

    def headers(self) -> None:
        return None


def sessions(*messages: Said) -> dict[str, list[comparing.Document]]:
    made: list[Message] = list(messages)  # type: ignore[arg-type]  # a Message cannot be made from Python
    return comparing.by_session(made)[0]


def decision(**changes: Any) -> Said:
    return Said(**({"session_id": "a", "seq": 256, "stage": "Explorer", "decided_at": 1, "expires_at": 2} | changes))


def test_times_of_computing_are_no_difference() -> None:
    assert not comparing.compare(sessions(decision()), sessions(decision(decided_at=7, expires_at=9)))


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (decision(stage="Evaluator"), "stage"),
        (decision(arm={"offers": "shown@1"}), "arm"),
        (Said(seq=256, session_id="a", stage="Explorer", decided_at=1, expires_at=2), "(order or spelling)"),
    ],
)
def test_a_difference_is_told_by_the_name_of_its_field(other: Said, field: str) -> None:
    found = comparing.compare(sessions(decision()), sessions(other))
    assert (found.other, found.count) == (1, 1)
    assert any(name.startswith(field) for name in found.fields)


def test_missing_extra_and_misplaced_documents_are_differences() -> None:
    first, second = decision(), decision(seq=512)
    assert comparing.compare(sessions(first, second), sessions(first)).missing == 1
    assert comparing.compare(sessions(first), sessions(first, second)).extra == 1
    assert comparing.compare(sessions(first, second), sessions(second, first)).other == 2


def test_an_equal_repeat_is_left_out_and_an_unequal_one_is_not() -> None:
    """Topics carry a document at least once: readers keep one of each identity."""
    assert not comparing.compare(sessions(decision()), sessions(decision(), decision(decided_at=5)))
    assert comparing.compare(sessions(decision()), sessions(decision(), decision(stage="Evaluator"))).extra == 1
