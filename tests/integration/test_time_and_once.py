"""What wrong clocks, retries and resent purchases do, through Kafka and Redis: one worker, one run for all of them.

Shoppers are named by what is odd about them. Records carry the times that a producer gave them.
"""

import json
import time
from collections import defaultdict
from typing import Any, Final

import pytest
from confluent_kafka import Producer

from featurestore.columns.hashing import hash64
from featurestore.contract.partitioner import PARTITIONER, partition_of
from featurestore.session.codec import unpack
from featurestore.session.features import FEATURES
from featurestore.session.fold import observe
from featurestore.session.state import LIVE
from featurestore.store.keys import Shard
from tests.integration.shopfloor import PARTITIONS, Shopfloor, now_ms, unique_documents
from tests.services.kafka_broker import Kafka

pytestmark = pytest.mark.parametrize("flavour", ["redis"])
DROP_OFF: Final = "Drop-Off Risk"
MINUTE, HOUR = 60_000, 3_600_000
ROUNDS: Final = 6
ROUND_S: Final = 1.2
"""A false silence is decided within a second of the click that a wrong clock puts into the past."""
SLOW_MS: Final = (-300_000, -45_000, 0, 45_000, 240_000, 300_000)
"""How slow the clocks of the fleet are; below 0 they are fast."""
AHEAD: Final = "ahead"
BESIDE: Final = next(n for n in map("beside{}".format, range(99)) if partition_of(n, 4) == partition_of(AHEAD, 4))
"""In the partition of the record that is 58 minutes ahead."""
OFFLINE: Final = {"offline": (0, True), "offline-by-a-slow-clock": (HOUR, True), "offline-and-silent-on-it": (0, False)}
"""How slow the clock is, and whether it says when it sent."""
SPELLINGS: Final[dict[str, Any]] = {"false": False, "denied": "denied", "text": "false", "zero": 0, "nested": {"a": 1}}
ORDERS: Final[dict[str, dict[str, Any]]] = {
    "resent-with-event-id": {"value": 56.0, "event_id": "p-1"},
    "resent-with-order-id": {"value": 50.0, "transaction_id": "T-1"},
    "resent-with-both": {"value": 7.0, "event_id": "p-2", "transaction_id": "T-2"},
    "resent-under-another-event-id": {"value": 9.0, "event_id": "p-3", "transaction_id": "T-3"},
}


class Street:
    """Sends events with the record times that a producer gives them."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "partitioner": PARTITIONER, "linger.ms": 5})
        self._topic = topic

    def send(self, session: str, record_ms: int, ts: int | None = None, **fields: Any) -> None:
        """One event; ``ts`` is the record's time unless it is given."""
        event = {"session_id": session, "type": "view_item", "ts": record_ms if ts is None else ts, **fields}
        self._producer.produce(self._topic, json.dumps(event), session, timestamp=record_ms)

    def flush(self) -> None:
        assert self._producer.flush(20) == 0


def _withdraw(floor: Shopfloor, street: Street) -> None:
    """Each says so in another way; then a retry of the click comes, with its event_id and without."""
    begun = now_ms()
    for name in SPELLINGS:
        street.send(f"withdrawn-{name}", begun, event_id=f"e-{name}")
    street.flush()
    floor.until(lambda: all(floor.decision(f"withdrawn-{name}") for name in SPELLINGS), "decisions before withdrawals")
    withdrew = now_ms()
    for name, consent in SPELLINGS.items():
        street.send(f"withdrawn-{name}", withdrew, consent=consent)
        street.send(f"withdrawn-{name}", withdrew + 1, begun, event_id=f"e-{name}")
        street.send(f"withdrawn-{name}", withdrew + 2, begun)
    street.flush()


def _upload(street: Street, at: int) -> None:
    """Thirteen clicks of two hours ago at once."""
    for session, (slow, says) in OFFLINE.items():
        sent = {"sent_ts": at - slow} if says else {}
        for n in range(13):
            street.send(session, at + n, at - 2 * HOUR + n * 22_500 - slow, page=f"/p/{n}", **sent)
    street.flush()


def _walk(floor: Shopfloor, street: Street) -> dict[str, list[str]]:
    """Everybody clicks once a second; the stages that were shown before each next click."""
    shown: dict[str, list[str]] = defaultdict(list)
    fleet = [f"slow{slow}" for slow in SLOW_MS]
    everybody = [*fleet, AHEAD, BESIDE, "behind"]
    for turn in range(ROUNDS):
        now = now_ms()
        for name, slow in zip(fleet, SLOW_MS, strict=True):
            street.send(name, now, now - slow, page=f"/{turn}")
        street.send(AHEAD, now + 58 * MINUTE * (turn == 2), now, page=f"/{turn}")
        street.send("behind", now - 25 * MINUTE * (turn == 2), now, page=f"/{turn}")
        street.send(BESIDE, now, page=f"/{turn}")
        street.flush()
        time.sleep(ROUND_S)
        for name in everybody:
            document = floor.decision(name)
            if document is not None:
                shown[name].append(document["stage"])
    return shown


@pytest.mark.issue(20, line=1)
@pytest.mark.issue(20, line=10)
@pytest.mark.issue(20, line=11)
def test_wrong_clocks_retries_and_resent_orders_change_nothing_that_is_shown(floor: Shopfloor, kafka: Kafka) -> None:
    street = Street(kafka.bootstrap, floor.topic)
    worker = floor.worker().start(timeout_s=180)
    begun = now_ms()
    ordered = begun - 80 * MINUTE
    for session, fields in ORDERS.items():  # each session has ended before its order is sent again
        street.send(session, ordered - 20_000)
        street.send(session, ordered, type="purchase", **fields)
    _withdraw(floor, street)
    _upload(street, now_ms())
    shown = _walk(floor, street)
    for session, fields in ORDERS.items():
        again = fields | ({"event_id": "p-9"} if session == "resent-under-another-event-id" else {})
        street.send(session, ordered + 45 * MINUTE, ordered, type="purchase", **again)
    street.flush()
    skipped = "clickstage_duplicates_skipped_total"
    floor.until(lambda: worker.metric(skipped) >= len(ORDERS), "orders that came again are skipped")

    for slow in SLOW_MS:
        assert shown[f"slow{slow}"], "decisions came"
        assert DROP_OFF not in shown[f"slow{slow}"], f"a clock {slow} ms slow is no silence"
    for odd in (AHEAD, BESIDE, "behind"):
        assert DROP_OFF not in shown[odd], f"{odd}: nobody's record time makes a silence"
    features = _features(floor)
    for name in (*(f"slow{slow}" for slow in SLOW_MS), BESIDE, "behind"):
        assert features[name]["num_clicks"] == ROUNDS
        assert features[name]["session_duration"] < 120, f"{name} was stretched"
    assert features[AHEAD]["session_duration"] < 120, "one record ahead stretches nothing"

    for name in OFFLINE:
        assert floor.decision(name) is None, f"{name}: an old upload decides nothing"
        assert features[name]["num_clicks"] == 13
        assert features[name]["session_duration"] == pytest.approx(12 * 22.5, abs=0.1), "its spacing is kept"
    historic = 'clickstage_events_total{outcome="historic"}'
    # By its record's time, the odd click of AHEAD was 58 minutes old when it came.
    assert worker.metric(historic) == 13 * len(OFFLINE) + 1

    for name in SPELLINGS:
        assert floor.decision(f"withdrawn-{name}") is None
        assert f"withdrawn-{name}" not in features, "a retry brings nothing back"

    floor.until(lambda: len(_of_orders(floor)) >= len(ORDERS), "their sessions have ended")
    sold: dict[str, float] = defaultdict(float)
    for summary in unique_documents(_of_orders(floor)).values():
        sold[summary["session_id"]] += summary["value"]
    assert sold == {session: fields["value"] for session, fields in ORDERS.items()}
    uploads = {document["session_id"] for document in floor.decisions()} & OFFLINE.keys()
    assert not uploads
    for name in SPELLINGS:  # what happens after a withdrawal begins a new visit
        street.send(f"withdrawn-{name}", now_ms())
    street.flush()
    floor.until(lambda: all(floor.decision(f"withdrawn-{name}") for name in SPELLINGS), "new visits are decided")


def _features(floor: Shopfloor) -> dict[str, dict[str, float]]:
    """The features of each live session."""
    found: dict[str, dict[str, float]] = {}
    for number in range(PARTITIONS):
        sessions: Any = floor.client.hgetall(floor.namespace.states(Shard(number)))
        if not sessions:
            continue
        states = unpack(list(sessions.values()), hash64([name.decode() for name in sessions])).states
        rows = zip(sessions, states["flags"], observe(states).tolist(), strict=True)
        found |= {name.decode(): dict(zip(FEATURES, row, strict=True)) for name, flags, row in rows if flags & LIVE}
    return found


def _of_orders(floor: Shopfloor) -> list[dict[str, Any]]:
    return [summary for summary in floor.summaries() if summary["session_id"] in ORDERS]
