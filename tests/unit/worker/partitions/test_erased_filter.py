"""Ids become pseudonyms that a front end can compute; the past of what was erased stays out."""

import hashlib
import hmac

import msgspec
import pytest

from decisions.intake import Decoded, Records, decode
from featurestore.columns.hashing import hash_text
from featurestore.contract.event import Event
from featurestore.contract.ids import IdKey
from featurestore.errors import SettingsError
from featurestore.store.tombstones import Erased
from worker.partitions.erased_filter import without_erased

KEY = "5f" * 32
NONE = Erased({}, {})


def _decoded(*events: Event, ids: str = "", record_ms: int = -1) -> Decoded:
    values: list[bytes | None] = [msgspec.json.encode(event) for event in events]
    return decode([Records(0, values, [*range(len(events))], [record_ms] * len(events))], IdKey.of(ids))


def _event(session: str, ts: int, visitor: str | None = None) -> Event:
    return Event(session, "click", ts, visitor_id=visitor)


def test_a_pseudonym_is_hmac_sha256_cut_to_sixteen_bytes() -> None:
    """As Node's createHmac and openssl compute it."""
    wanted = hmac.new(bytes.fromhex(KEY), b"session:s1", hashlib.sha256).hexdigest()[:32]
    assert IdKey.of(KEY).session("s1") == wanted
    assert IdKey.of(KEY).visitor("s1") != wanted
    assert IdKey.of("").session("s1") == "s1"


@pytest.mark.parametrize("wrong", ["short", "5f" * 31, "zz" * 32])
def test_a_key_that_is_none_is_refused_and_not_shown(wrong: str) -> None:
    with pytest.raises(SettingsError, match="64 hexadecimal digits") as caught:
        IdKey.of(wrong)
    assert wrong not in str(caught.value)


def test_without_key_and_tombstones_nothing_changes() -> None:
    decoded = _decoded(_event("s1", 1, "v"))
    assert without_erased(decoded, NONE) is decoded


def test_ids_are_replaced_before_anything_else_sees_them() -> None:
    made = _decoded(_event("s1", 1, "v1"), _event("s1", 2), ids=KEY)
    assert list(made.sessions) == [IdKey.of(KEY).session("s1")] * 2
    assert made.hashes.tolist() == [hash_text(IdKey.of(KEY).session("s1"))] * 2
    assert made.rows["visitor"].tolist() == [hash_text(IdKey.of(KEY).visitor("v1")), 0]


def test_only_events_up_to_the_erasure_are_left_out() -> None:
    erased = Erased({hash_text("gone"): 100}, {hash_text("v"): 200})
    events = [
        _event("gone", 99),
        _event("gone", 100),
        _event("gone", 101),
        _event("kept", 1),
        _event("a", 150, "v"),
        _event("b", 201, "v"),
    ]
    made = without_erased(_decoded(*events), erased)
    assert [*zip(made.sessions, made.rows["t"].tolist(), strict=True)] == [("gone", 101), ("kept", 1), ("b", 201)]
    assert made.rows["offset"].tolist() == [2, 3, 5]
    assert made.parts == [(0, 0, 3)]


@pytest.mark.issue(20, line=10, sibling=True)
def test_a_wrong_clock_does_not_carry_an_event_past_its_erasure() -> None:
    """The record's time decides where the event's own is far off."""
    event = _event("gone", 10**12)
    assert not without_erased(_decoded(event, record_ms=50), Erased({hash_text("gone"): 100}, {})).sessions
