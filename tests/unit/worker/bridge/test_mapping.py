"""A record of another tracker becomes what the edge and a replay make of it, or a dead letter that says why."""

import json
from typing import Any

import pytest

from featurestore.contract.decode import decode
from featurestore.contract.trackers import encode, ga4, segment, snowplow_enriched, snowplow_tracker
from featurestore.errors import InvalidEvent
from worker.bridge.mapping import bridged

NOW = 1_700_000_000_000
GA4 = {"client_id": "c.1", "events": [{"name": "page_view", "params": {"session_id": 7, "page_location": "/a"}}]}
SEGMENT = {"type": "page", "anonymousId": "a", "timestamp": "2023-11-14T22:13:20Z", "sentAt": "2023-11-14T22:13:21Z"}
TRACKED = {"e": "pv", "sid": "s", "duid": "d", "dtm": str(NOW), "stm": str(NOW + 5), "url": "https://shop/a"}
ENRICHED = {
    "event": "page_view",
    "domain_sessionid": "s",
    "derived_tstamp": "2023-11-14 22:13:20.000",
    "page_url": "/a",
}


@pytest.mark.parametrize(
    ("kind", "payload", "mapping"),
    [
        ("ga4", GA4, lambda p: ga4(p, NOW)),
        ("segment", SEGMENT, lambda p: segment(p, NOW)),
        ("segment", {"batch": [SEGMENT, SEGMENT]}, lambda p: segment(p, NOW)),
        ("snowplow", TRACKED, lambda p: snowplow_tracker(p, NOW)),
        ("snowplow", {"schema": "iglu:x/payload_data", "data": [TRACKED]}, lambda p: snowplow_tracker(p, NOW)),
        ("snowplow", ENRICHED, snowplow_enriched),
    ],
)
def test_the_mapping_is_the_one_of_the_edge_and_of_replays(kind: str, payload: Any, mapping: Any) -> None:
    made = bridged(kind, json.dumps(payload).encode(), NOW)
    wanted = mapping(payload).events
    assert wanted
    assert made.problem is None
    assert made.events == [(event["session_id"], encode(event)) for event in wanted]


@pytest.mark.parametrize(
    ("kind", "value", "reason", "events"),
    [
        ("ga4", b"{", "not_json", 0),
        ("ga4", b"[" * 100_000, "not_json", 0),
        ("segment", b"\xff", "not_json", 0),
        ("snowplow", b"app\tweb\t2023-11-14", "not_json", 0),
        ("ga4", b"7", "no_object", 0),
        ("ga4", b'{"client_id":"c"}', "no_action", 0),
        ("ga4", b'{"events":[{"name":"page_view"}]}', "no_session", 0),
        ("segment", b'{"type":"track","userId":"u"}', "no_action", 0),
        ("segment", b'{"type":"page","userId":"undefined"}', "no_session", 0),
        ("segment", json.dumps({"batch": [SEGMENT, 7]}).encode(), "no_object", 1),
    ],
)
def test_what_becomes_no_event_has_a_reason_and_the_rest_of_its_payload_goes_on(
    kind: str, value: bytes, reason: str, events: int
) -> None:
    made = bridged(kind, value, NOW)
    assert made.problem is not None
    assert (made.problem.reason, len(made.events)) == (reason, events)
    assert value.decode(errors="replace")[:20] not in made.problem.detail


def test_what_is_no_action_by_nature_is_no_dead_letter() -> None:
    assert bridged("segment", b'{"type":"identify","userId":"u"}', NOW) == ([], None)


@pytest.mark.parametrize(
    ("kind", "payload"), [("ga4", GA4), ("segment", SEGMENT), ("snowplow", TRACKED), ("snowplow", ENRICHED)]
)
def test_a_raw_record_on_clicks_is_told_to_take_the_bridge(kind: str, payload: Any) -> None:
    with pytest.raises(InvalidEvent, match=f"clickstage bridge --from {kind}") as refused:
        decode(json.dumps(payload).encode())
    assert refused.value.reason == "schema"
